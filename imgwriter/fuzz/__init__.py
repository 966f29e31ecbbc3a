"""The fuzzing kit: images that are wrong in one way that has a name, and what a correct reader makes of them.

::

    tables, file_systems, containers     Image: the writers' records, any field of which may be set
            │
    catalogue/  Deviation: name, section, verdict, change ──┬─> corpus      files and a manifest
                                                            ├─> strategies  for Hypothesis
    mutator     bytes in, bytes out, checksums right again  └─> (your own tests)

What a planner refuses can be written here: a header whose MyLBA is 0 and whose checksum is right. That is the
kind of damage that a byte flipped at random never is, and that a reader has to be tried with.

::

    from imgwriter.fuzz.tables import gpt_disk

    disk = gpt_disk().with_record("primary", my_lba=0).sealed()
    disk.volume()          # the bytes, as a Volume

docs/fuzzing.md has a tutorial, the catalogue and the manifest.
"""
