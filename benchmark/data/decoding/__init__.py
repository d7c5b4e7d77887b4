"""Image files decoded once, into arrays that all processes share."""
