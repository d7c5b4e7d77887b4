"""Records of runs on disk, and the runs still missing from a matrix."""
