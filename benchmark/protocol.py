"""Version of the measuring protocol."""

PROTOCOL_VERSION = 2
"""Version of the measuring protocol (docs/protocol.md). Raising it makes older records stale."""
