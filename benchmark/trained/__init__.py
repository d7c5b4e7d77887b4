"""A finished run used again: find, restore, predict, export."""
