"""Transfer learning on greyscale images: a matrix of runs, measured, tabulated and reported."""

PROTOCOL_VERSION = 1
"""Version of the measuring protocol (README, "Protocol"). Raising it makes older records stale."""
