"""Train, validation and test images, drawn without separating what belongs together."""
