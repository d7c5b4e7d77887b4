"""Datasets, from a name to decoded arrays with labels, splits and groups."""
