"""From a matrix's dataset entry to decoded images with splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import CATALOGUE, FOLDER, SplitName
from benchmark.data.dataset import PreparedDataset, Split
from benchmark.data.decoding.cache import decoded_images
from benchmark.data.decoding.pool import Progress
from benchmark.data.folders import list_folder
from benchmark.data.index import Index, open_index, scan, thumbnails, without_bad_images
from benchmark.data.layouts import list_dataset
from benchmark.data.listing import Listing
from benchmark.data.source import DatasetSource
from benchmark.data.splits.draw import limited
from benchmark.data.splits.rules import FEWEST, FOLDS, LEAST_OF_A_CLASS, Evaluation, count_limited_validation
from benchmark.errors import UserError, did_you_mean

Labels = NDArray[np.int64]


def list_files(source: DatasetSource, data_dir: Path | None = None) -> Listing:
    """Return the files of a dataset, of all its classes.

    Raises:
        UserError: it is missing, or not in its layout.
    """
    return list_folder(source) if source.is_folder else list_dataset(CATALOGUE[source.name], data_dir)


def load_dataset(
    source: DatasetSource,
    *,
    split_seed: int,
    image_size: int,
    grey: bool,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    seed: int = 0,
    drop_bad_images: bool = False,
    progress: Progress | None = None,
) -> PreparedDataset:
    """Return a dataset decoded at one size, its splits complete, ``limit`` and ``classes`` applied.

    Whatever is missing is made first, once for all processes: the index, the drawn splits, the decoded images. If they
    exist, this only lists the files and maps the images into memory.

    Args:
        source: the images.
        split_seed: draws a missing validation split and chooses the images under ``limit``.
        image_size: both sides after resizing, pixels.
        grey: one channel of luma, taken before resizing, instead of three of colour.
        data_dir: see `data_directory`.
        evaluation: how a dataset without a test split of its own is tested, see `rules.uses_folds`.
        seed: of the run; chooses the fold (seed modulo 5) of a cross-validation, nothing else.
        drop_bad_images: leave out images that cannot be decoded, and say how many in the notes, instead of refusing.
        progress: called with (what is being done, items done, items in all).

    Raises:
        UserError: the dataset is missing or not in its layout, has images that cannot be decoded, has no colour and is
            asked for it, or the cache folder cannot be written.
    """
    colourless = f"dataset {source.name} has no colour: rgb would be grey-3ch under another name. Use a grey mode."
    if not grey and not source.has_colour:
        raise UserError(colourless)
    listing, index, new_label = _open(source, split_seed, evaluation, seed, data_dir, drop_bad_images, progress)
    if not grey and not index.colour:
        raise UserError(colourless)
    files = [(file.path, sha256) for file, sha256 in zip(listing.files, index.sha256, strict=True)]
    images = decoded_images(listing.name, index.content, files, size=image_size, grey=grey, progress=progress)
    return _prepared(source, split_seed, evaluation, images, listing, index, new_label)


def load_thumbnails(
    source: DatasetSource,
    *,
    split_seed: int,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    seed: int = 0,
    drop_bad_images: bool = False,
) -> PreparedDataset:
    """Return what `load_dataset` does for grey images of `THUMBNAIL` pixels; the index has them, nothing is decoded.

    Raises:
        UserError: as `load_dataset`.
    """
    listing, index, new_label = _open(source, split_seed, evaluation, seed, data_dir, drop_bad_images, None)
    return _prepared(source, split_seed, evaluation, thumbnails(scan(listing)), listing, index, new_label)


def _prepared(
    source: DatasetSource,
    split_seed: int,
    evaluation: Evaluation,
    images: NDArray[np.uint8],
    listing: Listing,
    index: Index,
    new_label: Labels,
) -> PreparedDataset:
    """Return the dataset of images in the listing's order, ``limit`` and ``classes`` applied."""
    classes, folds = source.classes or listing.classes, listing.uses_folds(evaluation)
    train, validation = _split(index, "train", new_label), _split(index, "validation", new_label)
    if source.limit is not None and source.limit < len(train):
        of_validation = count_limited_validation(source.limit, len(train), len(validation), len(classes))
        groups = index.groups[validation.rows]
        groups[groups < 0] = -1 - np.arange((groups < 0).sum())  # unknown: each image by itself
        kept = limited(validation.labels, groups, of_validation, classes, split_seed, least_of_a_class=LEAST_OF_A_CLASS)
        validation = _part(validation, kept)
        train = _part(train, limited(train.labels, np.arange(len(train)), source.limit, classes, split_seed))
    return PreparedDataset(
        images=images,
        classes=tuple(classes),
        fingerprint=index.fingerprint,
        train=train,
        validation=validation,
        test=_split(index, "test", new_label),
        notes=(*index.notes, *_own_tests(listing, evaluation)),
        test_groups=_test_groups(listing, index, new_label, folds),
        folds=FOLDS if folds else None,
    )


def test_groups(
    source: DatasetSource,
    *,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    drop_bad_images: bool = False,
) -> tuple[dict[str, str], str]:
    """Return `PreparedDataset.test_groups` of a dataset, and its fingerprint; nothing is decoded beyond its index.

    Raises:
        UserError: as `load_dataset`.
    """
    listing, index, new_label = _open(source, 0, evaluation, 0, data_dir, drop_bad_images, None)
    return _test_groups(listing, index, new_label, listing.uses_folds(evaluation)), index.fingerprint


def _open(
    source: DatasetSource,
    split_seed: int,
    evaluation: Evaluation,
    seed: int,
    data_dir: Path | None,
    drop_bad_images: bool,
    progress: Progress | None,
) -> tuple[Listing, Index, Labels]:
    """Return a dataset's files, their index, and each class's label in the matrix's entry, -1 if it is left out."""
    listing = list_files(source, data_dir)
    if drop_bad_images:
        listing = without_bad_images(listing, progress)
    fold = seed % FOLDS if listing.uses_folds(evaluation) else None
    index = open_index(listing, split_seed, fold=fold, progress=progress)
    new_label = np.full(len(listing.classes), -1)
    for label, name in enumerate(source.classes or listing.classes):
        if name not in listing.classes:
            raise UserError(f"dataset {source.name} has no class {name!r}.{did_you_mean(name, listing.classes)}")
        new_label[listing.classes.index(name)] = label
    return listing, index, new_label


def _test_groups(listing: Listing, index: Index, new_label: Labels, folds: bool) -> dict[str, str]:
    """Return the name of each test image's group: its clip if it is exactly one clip, else its first image's id.

    No two groups share a name, whatever clips are called.
    """
    tested = [
        row
        for row, split in enumerate(index.splits)
        if (split == "test" or folds) and new_label[index.labels[row]] >= 0
    ]
    members: dict[int, list[int]] = {}
    for row in tested:
        members.setdefault(int(index.groups[row]), []).append(row)
    names: dict[str, str] = {}
    taken = {listing.files[row].clip for row in tested}
    for rows in members.values():
        clips = {listing.files[row].clip for row in rows}
        name = next(iter(clips)) if len(clips) == 1 else None
        if name is None:
            name = index.ids[rows[0]]
            while name in taken:
                name += "*"
            taken.add(name)
        names.update({index.ids[row]: name for row in rows})
    return {index.ids[row]: names[index.ids[row]] for row in tested}


def _own_tests(listing: Listing, evaluation: Evaluation) -> tuple[str, ...]:
    """Return a note where an official test split is kept that is small, or that folds could have replaced."""
    tests = listing.sizes["test"]
    small = listing.source.startswith(FOLDER) and tests < FEWEST
    return (f"test split: its own, {tests} images, is kept",) if tests and (small or evaluation == "folds") else ()


def _split(index: Index, split: SplitName, new_label: Labels) -> Split:
    """Return a split's images of the wanted classes, labels renumbered."""
    rows = index.positions(split)
    labels = new_label[index.labels[rows]]
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    return Split(rows, labels, tuple(index.ids[row] for row in rows.tolist()))


def _part(split: Split, kept: Labels) -> Split:
    """Return some images of a split, by their positions."""
    return Split(split.rows[kept], split.labels[kept], tuple(split.image_ids[i] for i in kept.tolist()))
