"""Everything wrong, or worth knowing, about a dataset's images: one pass over all files."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ImageChops

from benchmark.data.decoding.pixels import (
    ORIENTATION,
    WHOLE,
    BadImage,
    Deep,
    open_image,
    read_file,
    resized,
    thumbnail,
    to_image,
)
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
    "several": ("error", "several images in one file"),
    "CMYK": ("warning", "converted to RGB without a colour profile"),
    "not 8-bit": ("warning", "scaled to 8 bits"),
    "palette": ("note", "palette replaced by its colours"),
    "RGBA": ("note", "alpha composited on white"),
    "EXIF-rotated": ("note", "turned as the camera says"),
}
"""Everything that can be unusual about one file: its severity, and what happens to it."""

NEAR = 0.15
"""Largest distance between near-duplicates: `near_duplicates.distances` of thumbnails with mean 0 and standard
deviation 1, so that one scene under two exposures counts. A fixed limit, below what unrelated images reach: a needless
link is a false alarm here, while it costs nothing where splits are drawn, with a limit that follows the dataset
(`near_duplicates.chance_limit`)."""

FEWEST_IN_CLASS = 10
"""Images of a class in the training split, below which it is reported."""

LARGEST_IMBALANCE = 10.0
"""Images of the largest class per image of the smallest, above which it is reported."""

GREY_TOLERANCE = 3
"""Largest difference between channels, grey levels, of an image that counts as grey."""

_SIDE = 64  # pixels, at which colour is looked for


@dataclass(frozen=True)
class Finding:
    """Images with one thing in common.

    Attributes:
        kind: a short name.
        severity: ``error`` if results would be wrong, ``warning`` if they may mislead, else ``note``.
        meaning: one line for people.
        images: ids of the images concerned, sorted; empty if it concerns the dataset in general.
        details: more about single images, by id.
    """

    kind: str
    severity: Severity
    meaning: str
    images: Sequence[str] = ()
    details: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _File:
    """One inspected file.

    Attributes:
        kinds: what is unusual about it, words of `KINDS`.
        detail: why it cannot be decoded, or None if it can.
        sha256: of its content.
        thumbnail: see `pixels.thumbnail`; empty if it cannot be decoded.
        grey: whether the pixels are without colour, or None if it cannot be decoded.
    """

    kinds: Sequence[str]
    detail: str | None
    sha256: str = ""
    thumbnail: bytes = b""
    grey: bool | None = None


def check(listing: Listing, progress: Progress | None = None) -> list[Finding]:
    """Return everything found, errors first.

    Args:
        listing: the dataset's files.
        progress: called with "checking".
    """
    inspected = map_files(_inspect, [file.path for file in listing.files], stage="checking", progress=progress)
    files = {file.id: found for file, found in zip(listing.files, inspected, strict=True)}
    found = [
        *_unusual_files(files),
        *_duplicates(listing, files),
        *_near_duplicates(listing, files),
        *_groups(listing),
        *_classes(listing, files),
        *_colours(files),
        *(Finding("incomplete", "error", note) for note in listing.notes),
    ]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _inspect(path: Path) -> _File:
    try:
        content = path.read_bytes()
    except OSError as error:
        return _File(["unreadable"], f"cannot be read: {error.strerror}")
    sha256 = hashlib.sha256(content).hexdigest()
    kinds = _container(content)
    try:
        decoded = read_file(content)
        image = to_image(decoded, WHOLE)
    except BadImage as error:
        return _File([*kinds, error.kind], str(error), sha256)
    kinds += ["not 8-bit"] * isinstance(decoded, Deep)
    pairs = itertools.combinations(resized(image, _SIDE, grey=False).split(), 2)
    beyond = (ImageChops.difference(*pair).histogram()[GREY_TOLERANCE + 1 :] for pair in pairs)
    return _File(kinds, None, sha256, thumbnail(image), grey=not any(map(any, beyond)))


def _container(content: bytes) -> list[str]:
    """Return the kinds that a file's header shows."""
    try:
        with open_image(content) as image:
            kinds = {
                "CMYK": image.mode == "CMYK",
                "palette": image.mode in ("P", "PA"),
                "RGBA": image.has_transparency_data and image.mode != "P",
                "EXIF-rotated": image.getexif().get(ORIENTATION, 1) != 1,
            }
    except Exception:  # not Pillow's, or damaged: `read_file` says it
        return []
    return [kind for kind, applies in kinds.items() if applies]


def _unusual_files(files: Mapping[str, _File]) -> Iterator[Finding]:
    for kind, (severity, meaning) in KINDS.items():
        images = sorted(name for name, file in files.items() if kind in file.kinds)
        if images:
            details = {name: detail for name in images if (detail := files[name].detail)}
            yield Finding(kind, severity, meaning, images, details)


def _duplicates(listing: Listing, files: Mapping[str, _File]) -> Iterator[Finding]:
    sets: dict[str, list[int]] = defaultdict(list)
    for index, file in enumerate(listing.files):
        if files[file.id].detail is None:
            sets[files[file.id].sha256].append(index)
    yield from _related(listing, [members for members in sets.values() if len(members) > 1], exact=True)


def _near_duplicates(listing: Listing, files: Mapping[str, _File]) -> Iterator[Finding]:
    usable = [index for index, file in enumerate(listing.files) if files[file.id].detail is None]
    if not usable:
        return
    found = [files[listing.files[index].id] for index in usable]
    joined = b"".join(file.thumbnail for file in found)
    pixels = np.frombuffer(joined, np.uint8).reshape(len(usable), -1).astype(np.float64)
    contrast = np.maximum(pixels.std(axis=1, keepdims=True), 1)  # images of one even grey are near each other
    pairs = [
        [usable[first], usable[second]]
        for i, j, _ in near_pairs((pixels - pixels.mean(axis=1, keepdims=True)) / contrast, NEAR)
        for first, second in zip(i.tolist(), j.tolist(), strict=True)
        if found[first].sha256 != found[second].sha256
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
            yield Finding(kind, severity, meaning, sorted(images[kind]), images[kind])


def _groups(listing: Listing) -> Iterator[Finding]:
    """Report images of one clip, patient or other known group that are in different splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for file in listing.files:
        if file.clip is not None and file.split is not None:
            splits[file.clip].add(file.split)
    images = {
        file.id: f"of {file.clip}, in {file.split}"
        for file in listing.files
        if file.clip is not None and len(splits[file.clip]) > 1
    }
    if images:
        yield Finding("group across splits", "error", "leakage: what is tested was trained on", sorted(images), images)


def _classes(listing: Listing, files: Mapping[str, _File]) -> Iterator[Finding]:
    readable = [file for file in listing.files if files[file.id].detail is None]
    counts = Counter(file.label for file in readable if file.split in (None, "train"))
    sizes = {name: counts[label] for label, name in enumerate(listing.classes)}
    few = [f"{name} ({size})" for name, size in sizes.items() if size < FEWEST_IN_CLASS]
    if few:
        meaning = f"classes with under {FEWEST_IN_CLASS} to train on: {', '.join(few)}"
        yield Finding("few images", "warning", meaning)
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    if sizes[smallest] and sizes[largest] / sizes[smallest] > LARGEST_IMBALANCE:
        meaning = (
            f"{largest} has {sizes[largest]} images to train on, {smallest} {sizes[smallest]}: "
            "accuracy hides the small class"
        )
        yield Finding("class imbalance", "warning", meaning)


def _colours(files: Mapping[str, _File]) -> Iterator[Finding]:
    grey = sorted(name for name, file in files.items() if file.grey is True)
    coloured = sorted(name for name, file in files.items() if file.grey is False)
    if grey and not coloured:
        meaning = "no image has colour: rgb would be grey-3ch under another name, do not compare them"
        yield Finding("no colour", "note", meaning)
    elif grey and len(grey) <= len(coloured):
        yield Finding("greyscale in a colour set", "warning", "rgb and grey are the same for these", grey)
    elif grey:
        yield Finding("colour in a greyscale set", "warning", "colour may give their class away", coloured)
