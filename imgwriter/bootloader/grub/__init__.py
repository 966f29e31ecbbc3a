"""GRUB installed without grub-install: images made from the tree's own GRUB, its modules, and a grub.cfg."""
