"""Look at images that are there: what is on a disk, and where."""
