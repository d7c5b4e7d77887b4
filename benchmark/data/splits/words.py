"""Common names of splits, in folders and tables."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

from benchmark.data.catalogue import SplitName
from benchmark.words import listed

Word = Literal["train", "validation", "test", "evaluation"]
"""Meaning of a name: a split, or ``evaluation``: validation or test, the other splits decide."""

_WORDS: dict[str, Word] = {
    **dict.fromkeys(("train", "training", "trn", "tr", "learn"), "train"),
    **dict.fromkeys(("val", "valid", "validate", "validation", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "tst", "te", "holdout", "heldout"), "test"),
    **dict.fromkeys(("eval", "evaluate", "evaluation"), "evaluation"),
}
_ENDINGS = ("", "set", "data", "dataset", "split", "images", "image", "imgs", "img", "samples", "folder")
_CERTAIN = {word + ending: meaning for word, meaning in _WORDS.items() for ending in _ENDINGS}
_FOLD = re.compile(r"(k?fold|cv|split|part|partition)[\W_]*\d+")


def meaning(name: str) -> Word | None:
    """Return the split that a name means, or None if it does not mean a split.

    Case, spaces, hyphens and underscores do not matter: ``Test Set`` and ``test_set`` are ``test``.
    """
    return _CERTAIN.get(re.sub(r"[\s_.-]+", "", unicodedata.normalize("NFKC", name).casefold()))


def hints(name: str) -> set[str]:
    """Return the splits suggested by parts of a name: ``train`` for ``train_2019``, ``fold`` for ``fold1``."""
    text = unicodedata.normalize("NFKC", name)
    parts = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", text)
    found: set[str] = {_WORDS[part.lower()] for part in parts if part.lower() in _WORDS}
    return found | ({"fold"} if _FOLD.fullmatch(text.casefold()) else set())


def resolve(names: Iterable[str]) -> dict[str, SplitName]:
    """Return the split of each name; each has a `meaning`.

    Of two splits the second one is the test split, whatever it is called.

    Raises:
        ValueError: none is of training, or they are more than three splits.
    """
    meant = {name: word for name in names if (word := meaning(name))}
    found = set(meant.values())
    if "train" not in found:
        raise ValueError("one must be train")
    if found >= {"evaluation", "validation", "test"}:
        raise ValueError(f"{listed(list(meant))} are more than train, validation and test")
    second: SplitName = "validation" if "test" in found else "test"
    resolved: dict[str, SplitName] = {}
    for name, word in meant.items():
        if word == "evaluation":
            resolved[name] = second
        elif word == "validation":
            resolved[name] = "validation" if found & {"test", "evaluation"} else "test"
        else:
            resolved[name] = word
    return resolved
