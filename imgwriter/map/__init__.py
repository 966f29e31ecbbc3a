"""Draw what is where on a disk: a picture (SVG), or a page to look around in (HTML).

::

    OpenedDisk ── examine.owners ──> regions ── model ──> parts, panels, runs ──┬─ svg ──> one picture
                                                    └───── data ──> every run ──┴─ page ──> HTML, its script

A disk has more files than a picture has room. Neighbours too small to be seen are merged into one run, whose
hover names the first, the last and how many there are; so a picture has a few thousand elements, whatever the
disk. The page has all runs as data, and merges anew for what is looked at.

Names come from the image, and so from anybody: they reach a picture only as text, and what does not print as
escapes.
"""
