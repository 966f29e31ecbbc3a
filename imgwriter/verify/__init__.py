"""Verify an image: container, partition table and file systems, each against its specification."""
