"""Seeds of a run's random numbers, from one seed and the name of a purpose."""

from __future__ import annotations

import hashlib
import operator


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, independent of every other purpose.

    SHA-256 of the parts, joined so that no two lists of parts give the same text; the first eight bytes,
    without the sign bit. Independent of Python's hash randomisation, of the platform and of the order of calls.

    Args:
        seed: the run's or the split's seed.
        purpose: use of the numbers, e.g. ``("order", epoch)``; any kind of integer (NumPy's too) counts as int.

    Raises:
        TypeError: a number that is not an integer.
        ValueError: a text with the separator, U+001F.
    """
    text = "\x1f".join([str(operator.index(seed)), *(_tagged(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _tagged(part: str | int) -> str:
    if not isinstance(part, str):
        return f"int:{operator.index(part)}"
    if "\x1f" in part:
        raise ValueError(f"a purpose cannot contain the separator: {part!r}")
    return f"str:{part}"
