"""Numbers as text, tables, figures and files."""
