"""Networks ready to train, built from a model name and an input mode."""
