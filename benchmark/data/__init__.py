"""Datasets: fetched, verified, indexed and decoded once. `benchmark.data.load.load_dataset` does all of it."""
