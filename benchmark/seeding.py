"""Every random number of a run comes from here: one seed and the name of what it is for."""

from __future__ import annotations

import hashlib
import operator


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, independent of every other purpose.

    SHA-256 of the parts, joined so that no two lists of parts give the same text; the first eight bytes,
    without the sign bit. Independent of Python's hash randomisation, of the platform and of the order of calls.

    Args:
        seed: the run's or the split's seed.
        purpose: what the numbers are for, e.g. ``("order", epoch)``; any kind of integer (NumPy's too) counts as int.

    Raises:
        TypeError: a number that is not an integer.
        ValueError: a text that holds the separator, U+001F.
    """
    text = "\x1f".join([str(operator.index(seed)), *(_named(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _named(part: str | int) -> str:
    if not isinstance(part, str):
        return f"int:{operator.index(part)}"
    if "\x1f" in part:
        raise ValueError(f"a purpose cannot hold the separator: {part!r}")
    return f"str:{part}"
