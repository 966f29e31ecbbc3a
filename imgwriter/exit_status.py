"""The exit statuses of the command line, as docs/command-line.md lists them."""

DONE = 0

REFUSED = 1
"""Refused; or an answer: the images differ, there are findings, the parsers do not agree."""

USAGE = 2
"""Wrong usage; and any error of a command whose 1 is an answer."""

BUG = 3

SIGNALLED = 128
"""Added to a signal's number, as a shell reports it."""
