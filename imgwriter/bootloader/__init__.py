"""Boot loaders that are installed without running anything: their files and their boot code, as values."""
