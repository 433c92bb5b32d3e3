"""Long readings: whether errors, voice, pitch and level change from their beginning to their end."""
