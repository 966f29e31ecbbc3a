"""Fuzzing imgwriter's own readers: see docs/fuzzing.md."""
