"""Every random number of a run comes from here: one seed and the name of what it is for."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, independent of every other purpose.

    SHA-256 of the parts, joined so that no two lists of parts give the same text; the first eight bytes,
    without the sign bit. Independent of Python's hash randomisation, of the platform and of the order of calls.

    Args:
        seed: the run's or the split's seed.
        purpose: what the numbers are for, e.g. ``("order", epoch)``.
    """
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
