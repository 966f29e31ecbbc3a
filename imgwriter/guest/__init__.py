"""What a guest is made of: kernel, modules, busybox, initramfs, its job; all of it values.

::

    kernel, modules, busybox ──> initramfs ──┐
    Job (what to mount, what to run) ────────┴─ session.prepare ──> GuestRequest ── vm.run_guest

Only ``imgwriter.vm`` starts a program. The modules here find things, in a tree or on the host, and put bytes
together: the same files and the same job make the same initramfs.
"""
