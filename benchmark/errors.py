"""Errors that are a user's to mend: told in one message, without a traceback, with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave is wrong. The message says what, where, and what to do."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest known word, or the list of them when none is near.

    Args:
        word: what the user wrote.
        known: the words that are accepted.
    """
    words = sorted(set(known))
    near = difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    shown = ", ".join(words[:20]) + (", …" if len(words) > 20 else "")
    return f" Known: {shown}." if words else ""
