"""Reuse of finished runs: find, restore, predict, export."""
