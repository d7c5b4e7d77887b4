"""Intervals and tests, for seeds and test images as crossed random effects."""
