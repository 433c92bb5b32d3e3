"""The board: static pages of finished evaluations."""
