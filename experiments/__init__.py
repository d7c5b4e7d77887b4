"""Matrices, published figures and claims, and studies."""
