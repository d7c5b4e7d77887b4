"""One run: images through stages to a record."""
