"""Datasets: fetched, verified, indexed and decoded once. `benchmark.datasets.opening.load_dataset` does all of it."""
