"""Errors the user can fix: one message, no traceback, exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error in what the user supplied. The message says what is wrong, where, and what to do."""


class MisplacedValueError(ValueError):
    """A value that contradicts another one, raised by a validator that sees both.

    Attributes:
        keys: dotted keys of the contradicting values; the first is the one to change.
    """

    def __init__(self, message: str, *keys: str) -> None:
        super().__init__(message)
        self.keys = keys


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most similar to a misspelt one, or None if none is similar."""
    near = difflib.get_close_matches(word.lower(), sorted(set(known)), n=1, cutoff=0.6)
    return near[0] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the most similar known word, or a list of known words if none is similar."""
    words = sorted(set(known))
    near = nearest(word, words)
    if near is not None:
        return f" Did you mean {near!r}?"
    shown = ", ".join(words[:20]) + (", …" if len(words) > 20 else "")
    return f" Known: {shown}." if words else ""
