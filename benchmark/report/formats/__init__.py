"""File formats of the report."""
