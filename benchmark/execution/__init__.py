"""Execution of many runs: workers, claims, order, checks before the first epoch."""
