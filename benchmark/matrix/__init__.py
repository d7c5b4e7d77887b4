"""What is asked for: the file, its vocabulary, the runs that it expands into."""
