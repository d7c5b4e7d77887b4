"""What runs leave on disk, and what a matrix still lacks."""
