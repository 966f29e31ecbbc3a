"""``python -m imgwriter``."""

from imgwriter.cli import run

if __name__ == "__main__":
    run()
