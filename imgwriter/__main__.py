"""``python -m imgwriter``."""

import sys

from imgwriter.cli import main

if __name__ == "__main__":
    sys.exit(main())
