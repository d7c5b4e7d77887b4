"""Networks ready to train, from a model's name and an input mode."""
