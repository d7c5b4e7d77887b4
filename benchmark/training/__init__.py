"""Execution of one run: from images through stages to a record."""
