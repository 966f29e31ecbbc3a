"""The judges: one module for each real tool whose word counts.

Each is a few functions that run the tool and turn what it says into values or a failed assertion.
``tests/compat/test_oracles_object.py`` shows that each of them objects to a damaged image.
"""
