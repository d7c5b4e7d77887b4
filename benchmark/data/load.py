"""Loading of a matrix's dataset entry: decoded images with splits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.data.catalogue import CATALOGUE, OUTSIDE, SplitName
from benchmark.data.check import Finding, check, is_safe_to_draw, require_usable
from benchmark.data.dataset import PreparedDataset, Split, check_splits
from benchmark.data.decoding.cache import decoded_images
from benchmark.data.decoding.pool import Progress
from benchmark.data.folders import list_folder
from benchmark.data.index import Index, open_index
from benchmark.data.layouts import list_dataset, unpack_dataset
from benchmark.data.listing import Listing
from benchmark.data.scan import scan
from benchmark.data.source import DatasetSource
from benchmark.data.splits.draw import draw_limited
from benchmark.data.splits.rules import (
    FEWEST,
    FOLDS,
    LEAST_OF_A_CLASS,
    Evaluation,
    OnBadImage,
    OnLeak,
    count_limited_validation,
)
from benchmark.errors import UserError, did_you_mean

Labels = NDArray[np.int64]


def list_files(source: DatasetSource, data_dir: Path | None = None) -> Listing:
    """Return the files of all classes of a dataset.

    Raises:
        UserError: it is missing or does not have its layout.
    """
    return list_folder(source) if source.is_folder else list_dataset(CATALOGUE[source.name], data_dir)


def list_unpacked(source: DatasetSource, data_dir: Path | None = None, progress: Progress | None = None) -> Listing:
    """Return `list_files`, with the files of an archive written; ``progress`` is called with "unpacking"."""
    listing = list_files(source, data_dir)
    if not source.is_folder:
        unpack_dataset(CATALOGUE[source.name], data_dir, progress)
    return listing


def load_dataset(
    source: DatasetSource,
    *,
    split_seed: int,
    image_size: int,
    grey: bool,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    seed: int = 0,
    on_bad_image: OnBadImage = "refuse",
    on_leak: OnLeak = "refuse",
    progress: Progress | None = None,
) -> PreparedDataset:
    """Return a dataset decoded at one size, with complete splits, after ``limit`` and ``classes``.

    The index, the drawn splits and the decoded images are made first if they are missing, once for all processes. If
    they exist, the files are only listed, and the images mapped into memory.

    Args:
        source: the images.
        split_seed: seed of a missing validation split, and of the images under ``limit``.
        image_size: both sides after resizing, pixels.
        grey: whether to return one channel of luma, computed before resizing, instead of three of colour.
        data_dir: see `data_directory`.
        evaluation: how a dataset without an official test split is tested, see `rules.uses_folds`.
        seed: the run's seed; here it only chooses the fold (seed modulo 5) of a cross-validation.
        on_bad_image: whether images that cannot be decoded are refused, or left out and counted in the notes.
        on_leak: see `rules.OnLeak`.
        progress: called with (stage, items done, items in total).

    Raises:
        UserError: the dataset is missing or does not have its layout, has images that cannot be decoded, has no colour
            but is to be loaded in colour, or the cache folder cannot be written.
    """
    colourless = f"dataset {source.name} has no colour: rgb would be grey-3ch under another name. Use a grey mode."
    if not grey and not source.has_colour:
        raise UserError(colourless)
    index = open_splits(
        source,
        split_seed=split_seed,
        data_dir=data_dir,
        evaluation=evaluation,
        seed=seed,
        on_bad_image=on_bad_image,
        on_leak=on_leak,
        progress=progress,
    )
    if not grey and not index.scanned.has_colour:
        raise UserError(colourless)
    listing, facts = index.scanned.listing, index.scanned.facts
    files = [(file.path, each.sha256) for file, each in zip(listing.files, facts, strict=True)]
    images = decoded_images(
        listing.name,
        index.content,
        files,
        size=image_size,
        grey=grey,
        reading=index.scanned.reading,
        progress=progress,
    )
    return _prepare(source, split_seed, evaluation, images, index)


def load_thumbnails(
    source: DatasetSource,
    *,
    split_seed: int,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    seed: int = 0,
    on_bad_image: OnBadImage = "refuse",
    on_leak: OnLeak = "refuse",
) -> PreparedDataset:
    """Return `load_dataset` for grey images of `THUMBNAIL` pixels; they are in the scan, so nothing is decoded.

    Raises:
        UserError: as `load_dataset`.
    """
    index = open_splits(
        source,
        split_seed=split_seed,
        data_dir=data_dir,
        evaluation=evaluation,
        seed=seed,
        on_bad_image=on_bad_image,
        on_leak=on_leak,
    )
    return _prepare(source, split_seed, evaluation, index.scanned.thumbnails, index)


def _prepare(
    source: DatasetSource,
    split_seed: int,
    evaluation: Evaluation,
    images: NDArray[np.uint8],
    index: Index,
) -> PreparedDataset:
    """Return the dataset of images in the listing's order, after ``limit`` and ``classes``."""
    listing = index.scanned.listing
    classes, new_label = source.classes or listing.classes, _new_labels(source, listing.classes)
    train, validation = _split(index, "train", new_label), _split(index, "validation", new_label)
    if source.limit is not None and source.limit < len(train):
        of_validation = count_limited_validation(source.limit, len(train), len(validation), len(classes))
        groups = index.groups[validation.rows]
        groups[groups < 0] = -1 - np.arange((groups < 0).sum())  # unknown: each image is its own group
        kept = draw_limited(
            validation.labels, groups, of_validation, classes, split_seed, least_of_a_class=LEAST_OF_A_CLASS
        )
        validation = _part(validation, kept)
        train = _part(train, draw_limited(train.labels, np.arange(len(train)), source.limit, classes, split_seed))
    return PreparedDataset(
        images=images,
        classes=tuple(classes),
        fingerprint=index.fingerprint,
        train=train,
        validation=validation,
        test=_split(index, "test", new_label),
        notes=(
            *index.scanned.notes,
            *index.notes,
            *_own_tests(listing, evaluation),
            *(remark.text for remark in listing.important),
        ),
        test_groups=_test_groups(index),
        folds=None if index.fold is None else FOLDS,
    )


def test_groups(
    source: DatasetSource,
    *,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    on_bad_image: OnBadImage = "refuse",
    on_leak: OnLeak = "refuse",
) -> tuple[dict[str, str], str]:
    """Return `PreparedDataset.test_groups` of a dataset, and its fingerprint; only its index is made.

    Raises:
        UserError: as `load_dataset`.
    """
    index = open_splits(
        source,
        split_seed=0,
        data_dir=data_dir,
        evaluation=evaluation,
        on_bad_image=on_bad_image,
        on_leak=on_leak,
    )
    return _test_groups(index), index.fingerprint


def open_splits(
    source: DatasetSource,
    *,
    split_seed: int,
    data_dir: Path | None = None,
    evaluation: Evaluation = "split",
    seed: int = 0,
    on_bad_image: OnBadImage = "refuse",
    on_leak: OnLeak = "refuse",
    progress: Progress | None = None,
) -> Index:
    """Return the images that runs use, with their splits; the arguments are those of `load_dataset`.

    Raises:
        UserError: as `load_dataset`.
    """
    scanned = scan(list_unpacked(source, data_dir, progress), source, progress)
    scanned.require(source.content)
    fold = seed % FOLDS if scanned.listing.uses_folds(evaluation) else None
    return open_index(require_usable(scanned, on_bad_image, on_leak, source.classes), split_seed, fold=fold)


def _new_labels(source: DatasetSource, classes: Sequence[str]) -> Labels:
    """Return each class's label in the matrix's entry, -1 if it is left out."""
    new_label = np.full(len(classes), -1)
    for label, name in enumerate(source.classes or classes):
        if name not in classes:
            raise UserError(f"dataset {source.name} has no class {name!r}.{did_you_mean(name, classes)}")
        new_label[classes.index(name)] = label
    return new_label


def _test_groups(index: Index) -> dict[str, str]:
    """Return the name of each test image's group: its clip if it is exactly one clip, else the id of its first image.

    No two groups share a name, whatever the names of clips.
    """
    files = index.scanned.listing.files
    tested = [row for row, split in enumerate(index.splits) if split == "test" or index.fold is not None]
    members: dict[int, list[int]] = {}
    for row in tested:
        members.setdefault(int(index.groups[row]), []).append(row)
    names: dict[str, str] = {}
    taken = {files[row].clip for row in tested}
    for rows in members.values():
        clips = {files[row].clip for row in rows}
        name = next(iter(clips)) if len(clips) == 1 else None
        if name is None:
            name = files[rows[0]].id
            while name in taken:
                name += "*"
            taken.add(name)
        names.update({files[row].id: name for row in rows})
    return {files[row].id: names[files[row].id] for row in tested}


def _own_tests(listing: Listing, evaluation: Evaluation) -> tuple[str, ...]:
    """Return a note if an official test split is kept although it is small, or although folds were requested."""
    tests = listing.sizes["test"]
    small = listing.source.startswith(OUTSIDE) and tests < FEWEST
    return (
        (f"test split: the given one of {tests} images is kept",) if tests and (small or evaluation == "folds") else ()
    )


def _split(index: Index, split: SplitName, new_label: Labels) -> Split:
    """Return a split's images of the wanted classes, labels renumbered."""
    rows = index.positions(split)
    labels = new_label[index.labels[rows]]
    rows, labels = rows[labels >= 0], labels[labels >= 0]
    return Split(rows, labels, tuple(index.scanned.listing.files[row].id for row in rows.tolist()))


def _part(split: Split, kept: Labels) -> Split:
    """Return some images of a split, by their positions."""
    return Split(split.rows[kept], split.labels[kept], tuple(split.image_ids[i] for i in kept.tolist()))


def check_dataset(
    source: DatasetSource, data_dir: Path | None = None, progress: Progress | None = None
) -> tuple[Listing, list[Finding]]:
    """Return a dataset's files and all findings about them, errors first.

    Raises:
        UserError: the dataset is missing or does not have its layout.
    """
    scanned = scan(list_unpacked(source, data_dir, progress), source, progress)
    found = check(scanned)
    if source.is_folder and all(each.severity != "error" for each in found) and not is_safe_to_draw(scanned):
        seeds = range(FOLDS) if scanned.listing.uses_folds("split") else (0,)
        problems = dict.fromkeys(_split_problems(source, seeds, data_dir))
        found = [*(Finding("splits", "error", problem) for problem in problems), *found]
    return scanned.listing, found


def _split_problems(source: DatasetSource, seeds: Iterable[int], data_dir: Path | None) -> Iterator[str]:
    for seed in seeds:
        try:
            check_splits(source.name, load_thumbnails(source, split_seed=0, data_dir=data_dir, seed=seed))
        except UserError as error:
            yield str(error)
