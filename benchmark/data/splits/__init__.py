"""Training, validation and test splits, drawn without separating images that belong together."""
