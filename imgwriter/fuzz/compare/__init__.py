"""Many parsers look at the same images: what each saw is brought into one form, and compared.

::

    corpus ── Case ─┬─ a private copy ── parsers/*, programs that run starts ─┐
                    ├─ own: imgwriter's reader, in this process ──────────────┼─ View ─ classify ─ report
                    └─ dissect, kernel: many cases at once, read only ────────┘

No program that might write is given a file of the corpus: each case is copied, and a copy that a parser wrote
to is made anew, which is a result like any other. So is a parser that crashes, or does not end in time.

A :class:`~imgwriter.fuzz.compare.values.View` is what all parsers can be asked for: the kind of table, the
copy of it that is used, and the partitions. What a parser does not tell is None there, and agrees with
everything.
"""
