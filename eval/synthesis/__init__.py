"""Systems under test and what they say."""
