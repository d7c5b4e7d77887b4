"""Downloading, verifying and unpacking of datasets."""
