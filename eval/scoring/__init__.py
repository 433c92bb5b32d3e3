"""Wavs to rows of scores."""
