"""Text normalisation and word counts."""
