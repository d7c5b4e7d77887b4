"""From a dataset's name to decoded arrays with labels, splits and groups."""
