"""Records of runs on disk, and the runs that a matrix still lacks."""
