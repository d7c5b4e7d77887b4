"""A matrix of runs: its file, its vocabulary and its expansion."""
