"""From a model's name and an input mode to a network ready to train."""
