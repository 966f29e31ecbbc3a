"""What Nix says about store paths, and the root it makes of them; no nix is needed, and no store is touched.

::

    closure (registrations, exportReferencesGraph ...) ┐
                                                       ├─> PathInfo of each path ──> store_db: the database
    export (nix-store --export) ── nar ────────────────┘
                                    └─> Inodes of each path ──> prepare_root: the tree
"""
