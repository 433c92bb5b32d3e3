"""Stage prosody: finished evaluations against the recordings of their sentences."""
