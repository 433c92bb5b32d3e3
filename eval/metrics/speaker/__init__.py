"""Speaker encoders, one file each."""
