"""Sections of the report, as Markdown."""
