"""Version of the measuring protocol."""

PROTOCOL_VERSION = 2
"""Version of the measuring protocol (README, "Protocol"). Raising it makes older records stale."""
