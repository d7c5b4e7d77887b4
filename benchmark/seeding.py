"""Random seeds derived from one seed and the name of a purpose."""

from __future__ import annotations

import hashlib
import operator


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for one purpose, independent of every other purpose.

    The first eight bytes, without the sign bit, of the SHA-256 of the parts, which are joined so that different parts
    give different texts. Independent of Python's hash randomisation, the platform and the order of calls.

    Args:
        seed: the run's or the split's seed.
        purpose: use of the random numbers, e.g. ``("order", epoch)``; NumPy integers count as int.

    Raises:
        TypeError: a number is not an integer.
        ValueError: a text contains the separator, U+001F.
    """
    text = "\x1f".join([str(operator.index(seed)), *(_tagged(part) for part in purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _tagged(part: str | int) -> str:
    if not isinstance(part, str):
        return f"int:{operator.index(part)}"
    if "\x1f" in part:
        raise ValueError(f"a purpose cannot contain the separator: {part!r}")
    return f"str:{part}"
