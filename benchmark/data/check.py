"""What is wrong, or worth knowing, with a dataset's images: one pass over all files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmark.data.check_file import inspect
from benchmark.data.decoding.pool import Progress, map_files
from benchmark.data.listing import Listing
from benchmark.data.splits.near_duplicates import near_pairs

Severity = Literal["error", "warning", "note"]

KINDS: Mapping[str, tuple[Severity, str]] = {
    "unreadable": ("error", "cannot be decoded"),
    "truncated": ("error", "ends before its last pixel"),
    "zero-byte": ("error", "empty file"),
    "non-image": ("error", "not an image"),
    "enormous": ("error", "too many pixels, refused"),
    "animated": ("warning", "only the first frame is used"),
    "CMYK": ("warning", "converted to RGB without a colour profile"),
    "16-bit": ("warning", "scaled to 8 bits"),
    "palette": ("note", "palette replaced by its colours"),
    "RGBA": ("note", "alpha composited on white"),
    "EXIF-rotated": ("note", "turned as the camera says"),
}
"""What can be unusual about one file: how bad it is, and what happens to it."""

NEAR = 0.15
"""Largest distance between near-duplicates: `groups.distances` of thumbnails with mean 0 and standard deviation 1, so
that one scene under two exposures counts. A fixed limit, below what unrelated images reach: where splits are drawn a
needless link costs nothing and the limit follows the dataset (`groups.chance_limit`); here it is a false alarm."""

FEWEST_IN_CLASS = 10
"""Images of a class in the training split, below which it is reported."""

LARGEST_IMBALANCE = 10.0
"""Images of the largest class for each of the smallest, above which it is reported."""


@dataclass(frozen=True)
class Finding:
    """One kind of thing found.

    Attributes:
        kind: a short name.
        severity: ``error`` where results would be wrong, ``warning`` where they may mislead, ``note`` else.
        meaning: one line for people.
        images: ids of the images concerned, sorted; empty where it concerns the dataset as a whole.
        details: more about single images, by id.
    """

    kind: str
    severity: Severity
    meaning: str
    images: tuple[str, ...]
    details: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return the finding as plain data."""
        return {
            "kind": self.kind,
            "severity": self.severity,
            "meaning": self.meaning,
            "count": len(self.images),
            "images": list(self.images),
            "details": dict(self.details),
        }


def check(listing: Listing, progress: Progress | None = None) -> list[Finding]:
    """Return everything found, errors first.

    Args:
        listing: the dataset's files.
        progress: told "checking".
    """
    inspected = map_files(inspect, [file.path for file in listing.files], stage="checking", progress=progress)
    facts = {file.id: found for file, found in zip(listing.files, inspected, strict=True)}
    found = [
        *_unusual_files(facts),
        *_duplicates(listing, facts),
        *_near_duplicates(listing, facts),
        *_groups(listing),
        *_classes(listing, facts),
        *_colours(facts),
        *(_finding("incomplete", "error", note, []) for note in listing.notes),
    ]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _finding(
    kind: str, severity: Severity, meaning: str, images: list[str], details: Mapping[str, str] | None = None
) -> Finding:
    return Finding(kind, severity, meaning, tuple(sorted(images)), details or {})


def _unusual_files(facts: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    for kind, (severity, meaning) in KINDS.items():
        images = [name for name, fact in facts.items() if kind in fact["kinds"]]
        if images:
            details = {name: facts[name]["detail"] for name in images if facts[name]["detail"]}
            yield _finding(kind, severity, meaning, images, details)


def _duplicates(listing: Listing, facts: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    sets: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(listing.files):
        if facts[file.id]["detail"] is None:
            sets[facts[file.id]["sha256"]].append(index)
    yield from _related(listing, [members for members in sets.values() if len(members) > 1], exact=True)


def _near_duplicates(listing: Listing, facts: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    usable = [i for i, file in enumerate(listing.files) if facts[file.id]["detail"] is None]
    if not usable:
        return
    found = [facts[listing.files[i].id] for i in usable]
    joined = b"".join(fact["thumbnail"] for fact in found)
    pixels = np.frombuffer(joined, np.uint8).reshape(len(usable), -1).astype(np.float64)
    contrast = np.maximum(pixels.std(axis=1, keepdims=True), 1)  # images of one even grey are near each other
    pairs = [
        [usable[first], usable[second]]
        for i, j, _ in near_pairs((pixels - pixels.mean(axis=1, keepdims=True)) / contrast, NEAR)
        for first, second in zip(i.tolist(), j.tolist(), strict=True)
        if found[first]["sha256"] != found[second]["sha256"]
    ]
    yield from _related(listing, pairs, exact=False)


def _related(listing: Listing, sets: list[list[int]], *, exact: bool) -> Iterator[Finding]:
    """Report sets of images that are the same, or look it: the worst thing that is true of each set."""
    word = "duplicates" if exact else "near-duplicates"
    kinds: dict[str, tuple[Severity, str]] = {
        f"{word} with conflicting labels": (
            "error" if exact else "warning",
            "one of the labels is wrong" if exact else "look at them",
        ),
        f"{word} across splits": (
            "error" if exact else "warning",
            "leakage: what is tested was trained on" if exact else "leakage, if they are",
        ),
        word: ("warning" if exact else "note", "counted more than once" if exact else "hardly differ"),
    }
    images: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for members in sets:
        files = [listing.files[i] for i in members]
        labels, splits = {file.label for file in files}, {file.split for file in files}
        applicable = [len(labels) > 1, len(splits) > 1, len(labels) == len(splits) == 1]
        for kind, applies in zip(kinds, applicable, strict=True):
            if applies:
                for file in files:
                    others = ", ".join(other.id for other in files if other.id != file.id)
                    images[kind].setdefault(file.id, f"same as {others}" if exact else f"looks like {others}")
    for kind, (severity, meaning) in kinds.items():
        if images[kind]:
            yield _finding(kind, severity, meaning, list(images[kind]), images[kind])


def _groups(listing: Listing) -> Iterator[Finding]:
    """Report images of one clip, patient or other known group that stand in different splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for file in listing.files:
        if file.clip is not None and file.split is not None:
            splits[file.clip].add(file.split)
    parted = {clip for clip, found in splits.items() if len(found) > 1}
    images = {file.id: f"of {file.clip}, in {file.split}" for file in listing.files if file.clip in parted}
    if images:
        meaning = "leakage: what is tested was trained on"
        yield _finding("group across splits", "error", meaning, list(images), images)


def _classes(listing: Listing, facts: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    readable = [file for file in listing.files if facts[file.id]["detail"] is None]
    counts = Counter(file.label for file in readable if file.split in (None, "train"))
    few = [f"{name} ({counts[label]})" for label, name in enumerate(listing.classes) if counts[label] < FEWEST_IN_CLASS]
    if few:
        yield _finding(
            "few images", "warning", f"classes with under {FEWEST_IN_CLASS} to train on: {', '.join(few)}", []
        )
    sizes = [counts[label] for label in range(len(listing.classes))]
    if min(sizes) and max(sizes) / min(sizes) > LARGEST_IMBALANCE:
        largest, smallest = (listing.classes[sizes.index(size)] for size in (max(sizes), min(sizes)))
        meaning = (
            f"{largest} has {max(sizes)} images to train on, {smallest} {min(sizes)}: accuracy hides the small class"
        )
        yield _finding("class imbalance", "warning", meaning, [])


def _colours(facts: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    grey = [name for name, fact in facts.items() if fact["grey"] is True]
    coloured = [name for name, fact in facts.items() if fact["grey"] is False]
    if grey and not coloured:
        meaning = "no image has colour: rgb would be grey-3ch under another name, do not compare them"
        yield _finding("no colour", "note", meaning, [])
    elif grey and len(grey) <= len(coloured):
        yield _finding("greyscale in a colour set", "warning", "rgb and grey are the same for these", grey)
    elif grey:
        yield _finding("colour in a greyscale set", "warning", "colour may give their class away", coloured)
