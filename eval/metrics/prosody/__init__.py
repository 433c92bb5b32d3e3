"""Pitch, rhythm and spectrum of a reading against another reading of the same text."""
