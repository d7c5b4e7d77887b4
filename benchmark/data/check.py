"""Errors, warnings and notes about a dataset's images, from a scan of its files.

An error in a folder prevents its runs (`require_usable`), and `datasets check` and `run` print the same message. The
splits of catalogue datasets are official ones, so leaks between them are only counted in the notes of records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import OUTSIDE, SPLITS
from benchmark.data.decoding.window import FEWEST_LEVELS
from benchmark.data.scan import Scan
from benchmark.data.splits.distances import find_alike
from benchmark.data.splits.rules import FEWEST_OF_A_CLASS, LARGEST_SHARE, OnBadImage, OnLeak
from benchmark.errors import UserError
from benchmark.words import count

Severity = Literal["error", "warning", "note"]

KINDS: Mapping[str, tuple[Severity, str]] = {
    "unreadable": ("error", "cannot be decoded"),
    "truncated": ("error", "incomplete: ends before its last pixel"),
    "zero-byte": ("error", "empty file"),
    "non-image": ("error", "not an image"),
    "enormous": ("error", "too many pixels, refused"),
    "several": ("error", "several images in one file"),
    "CMYK": ("warning", "converted to RGB without a colour profile"),
    "not 8-bit": ("note", "scaled to 8 bits"),
    "palette": ("note", "palette replaced by its colours"),
    "RGBA": ("note", "alpha composited on white"),
    "EXIF-rotated": ("note", "rotated as EXIF states"),
}
"""Unusual properties of a file: the severity, and a meaning or the file's treatment."""

COPIES = "duplicates across splits"
GROUPS = "group across splits"
LEAKS = (COPIES, GROUPS)
"""Kinds of findings to which ``on_leak`` applies."""

NEAR = 0.15
"""Largest distance between near-duplicates: `distances` of thumbnails normalised to mean 0 and standard deviation 1, so
that one scene at two exposures counts. The limit is fixed, and smaller than distances of unrelated images: a false link
would be a false alarm here, while it does no harm when splits are drawn, where the limit follows the dataset
(`near_duplicates.chance_limit`)."""

FEWEST_TO_TRAIN = 10
"""Number of training images of a class, below which the class is reported."""

LARGEST_IMBALANCE = 10.0
"""Ratio of the largest class to the smallest, above which the imbalance is reported."""

MOST_NAMED = 3
"""Maximum number of duplicates listed for one image."""

MOST_SHOWN = 20
"""Maximum number of images per finding in the message that ends a run."""


@dataclass(frozen=True)
class Finding:
    """One finding and the images that it concerns.

    Attributes:
        kind: a short name.
        severity: ``error`` if results would be wrong, ``warning`` if they may mislead, else ``note``.
        meaning: an explanation of one line.
        images: ids of these images, sorted; empty if it concerns the entire dataset.
        details: image id -> more about this image.
    """

    kind: str
    severity: Severity
    meaning: str
    images: Sequence[str] = ()
    details: Mapping[str, str] = field(default_factory=dict)

    def lines(self, most: int | None = None) -> list[str]:
        """Return one line per image, at most ``most``, or one line about the dataset."""
        if not self.images:
            return [f"{self.kind}: {self.meaning}"]
        details = ((image, self.details.get(image, self.meaning)) for image in self.images[:most])
        more = [f"{self.kind}: … and {len(self.images) - most} more"] if most and len(self.images) > most else []
        return [*(f"{self.kind}: {image}: {detail}" for image, detail in details), *more]


def check(scanned: Scan) -> list[Finding]:
    """Return all findings, errors first."""
    found = [
        *_windows(scanned),
        *_unusual_files(scanned),
        *_copies(scanned),
        *_near_duplicates(scanned),
        *_groups(scanned),
        *_classes(scanned, None),
        *_colours(scanned),
        *_notes(scanned),
    ]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.severity))


def require_usable(
    scanned: Scan, on_bad_image: OnBadImage, on_leak: OnLeak, classes: Collection[str] | None = None
) -> Scan:
    """Return the images that runs may use.

    Args:
        scanned: a dataset's images.
        on_bad_image: treatment of images that cannot be decoded.
        on_leak: treatment of training images of a folder with a copy, or another image of the group, among the test
            images.
        classes: the classes that are used, or None for all.

    Raises:
        UserError: an image cannot be used, a folder has another error, or a class has no images left.
    """
    listing = scanned.listing
    readable = [each.problem is None for each in scanned.facts]
    if on_bad_image == "drop" and not all(readable):
        left_out = f"{readable.count(False)} of {len(readable)} images dropped: they cannot be decoded"
        scanned = scanned.part(readable, left_out)
    is_folder = listing.source.startswith(OUTSIDE)
    leaked = _leaked(scanned)
    many = count(sum(leaked), "training or validation image")
    leaks = f"{many} with a copy, or another image of the group, in a later split"
    if any(leaked) and (on_leak != "refuse" or not is_folder):
        is_dropped = is_folder and on_leak == "drop-train"
        how = "left out" if is_dropped else "kept" if is_folder else "kept, as in the original"
        scanned = scanned.part([not (each and is_dropped) for each in leaked], f"{leaks}: {how}")
    found = [*_unusual_files(scanned)]
    if is_folder:
        found += [*_copies(scanned), *_groups(scanned), *_classes(scanned, classes)]
    errors = [each for each in found if each.severity == "error" and not (each.kind in LEAKS and on_leak == "keep")]
    if errors:
        raise UserError(_message(scanned, errors))
    return scanned


def _message(scanned: Scan, errors: Sequence[Finding]) -> str:
    source = scanned.listing.source
    bad = sum(each.problem is not None for each in scanned.facts)
    cannot = f"{bad} of {len(scanned.facts)} images cannot be used. " if bad else ""
    remedies = ["fix or remove them"]
    if bad:
        remedies.append("`--set on_bad_image=drop` leaves out those that cannot be decoded")
    if any(each.kind in LEAKS for each in errors):
        remedies.append(
            "`--set on_leak=drop-train` leaves the leaked images out of training and validation, `--set on_leak=keep` "
            "keeps them"
        )
    lines = [line for each in errors for line in each.lines(MOST_SHOWN)]
    return "\n".join(
        [
            f"dataset {source}: {cannot}`python -m benchmark datasets check {source}` lists all errors; "
            f"{'; '.join(remedies)}.",
            *lines,
        ]
    )


def is_safe_to_draw(scanned: Scan) -> bool:
    """Return whether every possible draw of a dataset's missing splits leaves images of every class in every split.

    This holds if no image has a clip, the existing splits have every class, each class has `FEWEST_OF_A_CLASS` images
    to draw from, and no set of copies makes up more than `LARGEST_SHARE` of a class (groups of near-duplicates never
    do). A test draws from such datasets.
    """
    files = scanned.listing.files
    splits = {file.split for file in files}
    given = [split for split in SPLITS if split in splits]
    per_split = {split: Counter(file.label for file in files if file.split == split) for split in splits}
    pool = per_split.get("train", Counter()) + per_split.get(None, Counter())
    copies = Counter((file.label, each.pixels) for file, each in zip(files, scanned.facts, strict=True))
    labels = range(len(scanned.listing.classes))
    return (
        all(file.clip is None for file in files)
        and all(per_split[split][label] for split in given for label in labels)
        and (len(given) == len(SPLITS) or all(pool[label] >= FEWEST_OF_A_CLASS for label in labels))
        and all(number == 1 or number <= LARGEST_SHARE * pool[label] for (label, _), number in copies.items())
    )


def _unusual_files(scanned: Scan) -> Iterator[Finding]:
    files = scanned.listing.files
    for kind, (severity, meaning) in KINDS.items():
        named = {file.id: each.problem for file, each in zip(files, scanned.facts, strict=True) if kind in each.kinds}
        if named:
            details = {image: problem for image, problem in named.items() if problem is not None}
            yield Finding(kind, severity, meaning, sorted(named), details)


def _windows(scanned: Scan) -> Iterator[Finding]:
    """Report the black and the white value of deep files, and the files with values outside of them."""
    if scanned.unclear is not None:
        yield Finding("value range", "error", scanned.unclear)
        return
    for line in scanned.described:
        yield Finding("value range", "note", line)
    clipped = {
        file.id: f"{each.clipped:,} values"
        for file, each in zip(scanned.listing.files, scanned.facts, strict=True)
        if each.clipped
    }
    if dim := scanned.dim:
        meaning = (
            f"fewer than {FEWEST_LEVELS} grey levels are left of more values: dark, or with fewer bits than the others"
        )
        yield Finding("few grey levels", "warning", meaning, dim)
    if clipped:
        yield Finding("clipped", "note", "values outside of the window", sorted(clipped), clipped)


def _sets(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Return the positions of each key that occurs more than once; None does not count."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, key in enumerate(keys):
        if key is not None:
            members[key].append(position)
    return [positions for positions in members.values() if len(positions) > 1]


def _leaked(scanned: Scan) -> list[bool]:
    """Return for each image whether a copy of it, or an image of its clip, is in a later one of `SPLITS`."""
    files = scanned.listing.files
    leaked = [False] * len(files)
    for members in (*_sets([each.pixels for each in scanned.facts]), *_sets([file.clip for file in files])):
        places = [SPLITS.index(files[i].split or "train") for i in members]
        for position, place in zip(members, places, strict=True):
            leaked[position] = leaked[position] or place < max(places)
    return leaked


def _copies(scanned: Scan) -> Iterator[Finding]:
    """Report sets of images with equal pixels, as conflict or leakage (or both), otherwise as plain duplicates."""
    files = scanned.listing.files
    kinds: dict[str, tuple[Severity, str]] = {
        "duplicates with conflicting labels": ("error", "one of the labels is wrong"),
        COPIES: ("error", "leakage: tested on what was trained on"),
        "duplicates": ("warning", "counted more than once"),
    }
    images: dict[str, dict[str, str]] = {kind: {} for kind in kinds}
    for members in _sets([each.pixels for each in scanned.facts]):
        labels, splits = ({getattr(files[i], key) for i in members} for key in ("label", "split"))
        applicable = [len(labels) > 1, len(splits) > 1, len(labels) == len(splits) == 1]
        for kind, applies in zip(kinds, applicable, strict=True):
            for i in members if applies else ():
                others = [files[other].id for other in members[: MOST_NAMED + 1] if other != i][:MOST_NAMED]
                images[kind][files[i].id] = f"same as {_listed(others, len(members) - 1)}"
    for kind, (severity, meaning) in kinds.items():
        if images[kind]:
            yield Finding(kind, severity, meaning, sorted(images[kind]), images[kind])


def _listed(names: Sequence[str], number: int) -> str:
    return ", ".join(names) + (f" and {number - len(names)} more" if number > len(names) else "")


def _near_duplicates(scanned: Scan) -> Iterator[Finding]:
    """Report images that look the same but are not copies."""
    readable = [i for i, each in enumerate(scanned.facts) if each.problem is None]
    if not readable:
        return
    pixels = scanned.thumbnails.reshape(len(readable), -1).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    pixels /= np.maximum(pixels.std(axis=1, keepdims=True), 1)  # uniformly grey images are near each other
    files = [scanned.listing.files[i] for i in readable]
    copies, labels, splits = (
        _equal(values)
        for values in (
            [scanned.facts[i].pixels for i in readable],
            [file.label for file in files],
            [file.split for file in files],
        )
    )
    kinds: dict[str, tuple[Severity, str]] = {
        "near-duplicates with conflicting labels": ("warning", "check these images"),
        "near-duplicates across splits": ("warning", "leakage, if they are duplicates"),
        "near-duplicates": ("note", "almost identical"),
    }
    found = find_alike(
        pixels,
        NEAR,
        [
            lambda i, j: ~copies(i, j) & ~labels(i, j),
            lambda i, j: ~copies(i, j) & ~splits(i, j),
            lambda i, j: ~copies(i, j) & labels(i, j) & splits(i, j),
        ],
    )
    for (kind, (severity, meaning)), alike in zip(kinds.items(), found, strict=True):
        details = {
            files[i].id: f"looks like {_listed([files[alike.nearest[i]].id], int(alike.counts[i]))}"
            for i in np.flatnonzero(alike.counts).tolist()
        }
        if details:
            yield Finding(kind, severity, meaning, sorted(details), details)


def _equal(values: Sequence[Hashable]) -> Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]:
    """Return a function that compares the values at pairs of positions."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    codes = np.array([numbers[value] for value in values])
    return lambda i, j: codes[i] == codes[j]


def _groups(scanned: Scan) -> Iterator[Finding]:
    """Report images of one clip, patient or other known group that are in different splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for file in scanned.listing.files:
        if file.clip is not None and file.split is not None:
            splits[file.clip].add(file.split)
    images = {
        file.id: f"of {file.clip}, in {file.split}"
        for file in scanned.listing.files
        if file.clip is not None and len(splits[file.clip]) > 1
    }
    if images:
        yield Finding(GROUPS, "error", "leakage: tested on what was trained on", sorted(images), images)


def _classes(scanned: Scan, classes: Collection[str] | None) -> Iterator[Finding]:
    listing = scanned.listing
    wanted = [(label, name) for label, name in enumerate(listing.classes) if classes is None or name in classes]
    readable = [file for file, each in zip(listing.files, scanned.facts, strict=True) if each.problem is None]
    in_all = Counter(file.label for file in readable)
    few = [f"{name} ({in_all[label]})" for label, name in wanted if in_all[label] < FEWEST_OF_A_CLASS]
    if few and listing.source.startswith(OUTSIDE):
        meaning = (
            f"{', '.join(few)}: a class needs {FEWEST_OF_A_CLASS} for training, validation and testing, and about "
            "fifty to be learned at all"
        )
        yield Finding("too few images", "error", meaning)
    counts = Counter(file.label for file in readable if file.split in (None, "train"))
    sizes = {name: counts[label] for label, name in wanted}
    few = [f"{name} ({size})" for name, size in sizes.items() if size < FEWEST_TO_TRAIN]
    if few:
        meaning = f"classes with fewer than {FEWEST_TO_TRAIN} training images: {', '.join(few)}"
        yield Finding("few images", "warning", meaning)
    largest, smallest = max(sizes, key=sizes.__getitem__), min(sizes, key=sizes.__getitem__)
    if sizes[smallest] and sizes[largest] / sizes[smallest] > LARGEST_IMBALANCE:
        meaning = (
            f"{largest} has {sizes[largest]} training images, {smallest} {sizes[smallest]}: "
            "accuracy hides the small class"
        )
        yield Finding("class imbalance", "warning", meaning)


def _colours(scanned: Scan) -> Iterator[Finding]:
    known = [(file.id, each.colour) for file, each in zip(scanned.listing.files, scanned.facts, strict=True)]
    grey, coloured = (sorted(image for image, colour in known if colour is wanted) for wanted in (False, True))
    if grey and not coloured:
        meaning = "no image has colour: rgb would be grey-3ch under another name, so do not compare them"
        yield Finding("no colour", "note", meaning)
    elif grey and len(grey) <= len(coloured):
        yield Finding("greyscale in a colour set", "warning", "rgb and grey are the same for these", grey)
    elif grey:
        yield Finding("colour in a greyscale set", "warning", "colour may reveal their class", coloured)


def _notes(scanned: Scan) -> Iterator[Finding]:
    is_folder = scanned.listing.source.startswith(OUTSIDE)
    for remark in scanned.listing.remarks:
        kind = remark.text.partition(":")[0]
        yield Finding(kind, "warning" if remark.matters else "note", remark.text, remark.names)
    for note in scanned.listing.notes:
        yield Finding("left out", "warning", note) if is_folder else Finding("incomplete", "error", note)
