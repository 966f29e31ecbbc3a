"""``python -m imgwriter``."""

from imgwriter.start import run

if __name__ == "__main__":
    run()
