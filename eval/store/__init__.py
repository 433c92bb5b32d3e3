"""Finished evaluations on disk: files, provenance, what was scored."""
