"""Tables, pages and boards for readers."""
