"""Version of the measuring protocol."""

PROTOCOL_VERSION = 1
"""Version of the measuring protocol (README, "Protocol"). Raising it makes older records stale."""
