"""Groups of near-duplicates, and splits that keep them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmark.data.catalogue import CATALOGUE, SplitName
from benchmark.data.listing import ListedFile, make_listing
from benchmark.data.splits.assign import Assignment, assign
from benchmark.data.splits.distances import distances
from benchmark.data.splits.draw import draw, draw_limited
from benchmark.data.splits.near_duplicates import QUANTILE, chance_limit, find_groups
from benchmark.data.splits.rules import (
    FEWEST_OF_A_CLASS,
    LARGEST_SHARE,
    LARGEST_SHARE_OF_TEST,
    Evaluation,
    count_limited_validation,
    uses_folds,
)

Thumbnails = NDArray[np.uint8]


def scenes(clips: int, frames: int, noise: int, seed: int = 0) -> Thumbnails:
    """Return random scenes, ``frames`` thumbnails of each that differ by ``noise``; shape (clips * frames, 576)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (clips, 6, 6)).repeat(4, axis=1).repeat(4, axis=2).reshape(clips, 576)
    thumbnails = coarse.repeat(frames, axis=0)
    return (thumbnails + rng.integers(-noise, noise + 1, thumbnails.shape)).astype(np.uint8)


def groups_of(
    thumbnails: Thumbnails,
    labels: NDArray[np.int64],
    *,
    copies: Sequence[str] | None = None,
    clips: Sequence[str] | None = None,
    share: float = LARGEST_SHARE,
) -> NDArray[np.int64]:
    contents = copies or [str(k) for k in range(len(labels))]
    return find_groups(thumbnails, labels, contents, clips or [None] * len(labels), share)[0]


def test_frames_of_one_clip_are_one_group() -> None:
    thumbnails = scenes(clips=20, frames=6, noise=10)
    labels = np.arange(120, dtype=np.int64) // 60
    groups = groups_of(thumbnails, labels).reshape(20, 6)
    assert (groups == groups[:, :1]).all()
    assert len(set(groups[:, 0].tolist())) >= 17


def test_unrelated_images_stay_apart() -> None:
    rng = np.random.default_rng(0)
    thumbnails = rng.integers(0, 256, (300, 576)).astype(np.uint8)
    labels = rng.integers(0, 3, 300)
    groups = groups_of(thumbnails, labels)
    assert len(set(groups.tolist())) > 285


def test_equal_files_are_one_group_even_under_two_labels() -> None:
    thumbnails = scenes(clips=40, frames=1, noise=0)
    labels = np.arange(40, dtype=np.int64) % 2
    copies = [str(7 if k == 20 else k) for k in range(40)]
    groups = groups_of(thumbnails, labels, copies=copies)
    assert groups[7] == groups[20]


def test_clips_of_known_names_are_the_groups() -> None:
    thumbnails = scenes(clips=1, frames=12, noise=1)
    clips = [f"clip{k // 3}" for k in range(12)]
    groups = groups_of(thumbnails, np.arange(12) % 2, clips=clips)
    assert len(set(groups.tolist())) == 4
    assert groups.reshape(4, 3).T.tolist() == [list(dict.fromkeys(groups.tolist()))] * 3


def test_classes_that_look_nothing_alike_are_not_one_group_each() -> None:
    dark, bright = scenes(clips=30, frames=1, noise=0) // 4, 255 - scenes(clips=30, frames=1, noise=0, seed=1) // 4
    labels = np.arange(60, dtype=np.int64) // 30
    groups = groups_of(np.concatenate([dark, bright]), labels)
    for label in (0, 1):
        assert np.bincount(groups[labels == label]).max() <= LARGEST_SHARE * 30


def test_a_group_of_test_images_may_hold_more_of_its_class_than_one_to_be_split() -> None:
    thumbnails = scenes(clips=6, frames=10, noise=3)
    labels = np.arange(60, dtype=np.int64) // 30
    assert np.bincount(groups_of(thumbnails, labels)).max() <= LARGEST_SHARE * 30
    assert np.bincount(groups_of(thumbnails, labels, share=LARGEST_SHARE_OF_TEST)).max() == 10


def test_a_dataset_of_one_class_has_groups_of_equal_files_only() -> None:
    thumbnails = scenes(clips=4, frames=2, noise=1)
    assert len(set(groups_of(thumbnails, np.zeros(8, np.int64)).tolist())) == 8


def test_the_distance_of_equal_thumbnails_is_zero_and_of_black_and_white_255() -> None:
    pair = np.stack([np.zeros(576), np.full(576, 255)]).astype(np.uint8)
    assert distances(pair, pair).tolist() == [[0.0, 255.0], [255.0, 0.0]]


@pytest.mark.parametrize(("clips", "classes"), [(2, 2), (40, 3), (190, 2), (190, 190)])
def test_the_limit_of_near_duplicates_is_the_quantile_of_distances_to_another_class(clips: int, classes: int) -> None:
    thumbnails = scenes(clips, frames=3, noise=12)
    labels = np.minimum(np.random.default_rng(0).geometric(0.1, 3 * clips), classes) - 1  # the last ones are rare
    labels[:2] = 0, 1
    wide = thumbnails.astype(np.int64)
    apart = np.stack([np.sqrt(((wide - one) ** 2).sum(axis=1) / 576) for one in wide])
    apart[labels[:, None] == labels[None]] = np.inf
    assert chance_limit(thumbnails, labels) == np.quantile(apart.min(axis=1), QUANTILE)


def test_few_pairs_of_many_images_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counted(some: Thumbnails, others: Thumbnails) -> NDArray[np.float64]:
        nonlocal compared
        compared += len(some) * len(others)
        return distances(some, others)

    for module in ("distances", "near_duplicates"):
        monkeypatch.setattr(f"benchmark.data.splits.{module}.distances", counted)
    thumbnails = scenes(clips=2000, frames=2, noise=8)
    labels = np.random.default_rng(0).integers(0, 5, 2000).repeat(2)
    assert 1990 < len(set(groups_of(thumbnails, labels).tolist())) <= 2000
    assert compared < len(labels) ** 2 / 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 30), st.integers(1, 6))
def test_a_draw_never_splits_a_group_and_never_takes_all_of_a_class(seed: int, clips: int, frames: int) -> None:
    thumbnails = scenes(clips, frames, noise=4, seed=seed % 100)
    groups = np.arange(clips, dtype=np.int64).repeat(frames)
    labels = groups % 2
    drawn = draw(labels, groups, thumbnails, fraction=0.15, seed=seed, purpose="validation")
    assert all(len(set(drawn[groups == group])) == 1 for group in range(clips))
    assert not any(drawn[labels == label].all() for label in (0, 1))
    again = draw(labels, groups, thumbnails, fraction=0.15, seed=seed, purpose="validation")
    assert (drawn == again).all()


def test_a_draw_holds_few_distances_at_a_time_however_many_images_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def noted(some: Thumbnails, others: Thumbnails) -> NDArray[np.float64]:
        held.append(len(some) * len(others))
        return distances(some, others)

    monkeypatch.setattr("benchmark.data.splits.draw.distances", noted)
    monkeypatch.setattr("benchmark.data.splits.draw._PAIRS", 100_000)
    thumbnails = scenes(clips=1500, frames=1, noise=4)
    draw(np.arange(1500) % 3, np.arange(1500), thumbnails, fraction=0.15, seed=0, purpose="test")
    assert 90_000 < max(held) <= 100_000
    assert sum(held) == 1500**2


@pytest.mark.parametrize("seed", range(5))
def test_every_class_gives_its_share(seed: int) -> None:
    labels = np.array([0] * 400 + [1] * 100, dtype=np.int64)
    groups = np.concatenate([np.arange(200).repeat(2), 200 + np.arange(100)])
    thumbnails = np.random.default_rng(seed).integers(0, 256, (500, 576)).astype(np.uint8)
    drawn = draw(labels, groups, thumbnails, fraction=0.15, seed=seed, purpose="test")
    assert np.bincount(labels[drawn]).tolist() == [60, 15]


@settings(deadline=None)
@given(st.lists(st.integers(0, 2), min_size=3, max_size=80), st.integers(1, 90), st.integers(1, 90), st.integers(0, 9))
def test_limits_are_nested_and_keep_each_class_share_to_one_image(
    words: list[int], first: int, second: int, seed: int
) -> None:
    labels = np.array(words, dtype=np.int64)
    alone = np.arange(len(labels))
    small, large = (draw_limited(labels, alone, limit, ("a", "b", "c"), seed) for limit in sorted((first, second)))
    assert set(small.tolist()) <= set(large.tolist())
    assert len(large) == min(max(first, second), len(labels))
    for label in range(3):
        share = len(large) * (labels == label).mean()
        assert abs((labels[large] == label).sum() - share) <= 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=4, max_size=30), st.integers(4, 60), st.integers(0, 9))
def test_under_a_limit_groups_stay_complete_but_for_the_last_of_a_class_and_each_class_has_its_least(
    sizes: list[int], count: int, seed: int
) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = (groups % 4 == 0).astype(np.int64)
    kept = draw_limited(labels, groups, count, ("many", "few"), seed, least_of_a_class=2)
    assert len(kept) == min(count, len(labels))
    for label in (0, 1):
        own = kept[labels[kept] == label]
        assert len(own) >= min(2, (labels == label).sum())
        cut = [group for group in set(groups[own].tolist()) if (groups[own] == group).sum() < sizes[group]]
        assert len(cut) <= 1
    more = draw_limited(labels, groups, count + 7, ("many", "few"), seed, least_of_a_class=2)
    assert set(kept.tolist()) <= set(more.tolist())


@pytest.mark.parametrize(
    ("limit", "train", "validation", "classes", "kept"),
    [
        (500, 1557, 333, 2, 107),  # quick's elpv, in proportion
        (60, 1557, 333, 2, 20),
        (60, 1557, 333, 30, 60),  # two of each class
        (40, 200, 15, 2, 15),  # there are no more
    ],
)
def test_validation_is_limited_in_proportion_to_twenty_images_and_two_of_a_class(
    limit: int, train: int, validation: int, classes: int, kept: int
) -> None:
    assert count_limited_validation(limit, train, validation, classes) == kept


@pytest.mark.parametrize(
    ("images", "evaluation", "expected"),
    [
        (CATALOGUE["elpv"].images, "split", False),
        (CATALOGUE["elpv"].images, "folds", True),
        (CATALOGUE["beans"].images, "folds", False),
        (CATALOGUE["neu"].images, "split", True),
        (CATALOGUE["magnetic-tile"].images, "split", True),
        ({"train": 1999}, "split", True),
        ({"train": 2000}, "split", False),
        ({"train": 2000}, "folds", True),
        ({"train": 90, "test": 5}, "split", False),
        ({"train": 90, "test": 5}, "folds", False),
    ],
)
def test_folds_are_for_datasets_without_a_test_split_and_by_themselves_for_small_ones(
    images: Mapping[SplitName, int], evaluation: Evaluation, expected: bool
) -> None:
    assert uses_folds(images, evaluation) is expected


def assigned(split_seed: int, fold: int | None = None, split: SplitName | None = None) -> Assignment:
    """Assign sixty clips of four frames, half of each class."""
    thumbnails = scenes(clips=60, frames=4, noise=3)
    files = [ListedFile(f"{k:03}.png", Path("none"), k % 2, split, f"clip {k // 4}") for k in range(240)]
    listing = make_listing("cells", "folder:cells", ("a", "b"), files)
    return assign(listing, thumbnails, [str(k) for k in range(240)], split_seed, fold)


@pytest.mark.parametrize("fold", [None, 2])
def test_another_split_seed_draws_another_validation_split_and_the_same_test_split(fold: int | None) -> None:
    drawn = [assigned(split_seed, fold) for split_seed in range(3)]
    of_split = {
        split: {tuple(word == split for word in each.splits) for each in drawn} for split in ("test", "validation")
    }
    assert (len(of_split["test"]), len(of_split["validation"])) == (1, 3)
    assert len({tuple(each.comparable) for each in drawn}) == 1, "they are the same images, as their fingerprint says"
    assert all((each.groups == drawn[0].groups).all() for each in drawn)


def test_validation_and_test_are_complete_groups_in_every_fold() -> None:
    for fold in range(5):
        each = assigned(split_seed=0, fold=fold)
        clips = np.array(each.splits).reshape(60, 4)
        assert (clips == clips[:, :1]).all()
        assert set(each.splits) == {"train", "validation", "test"}


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=14), min_size=2, max_size=4),
    st.sampled_from([None, 0, 1, 2, 3, 4]),
    st.integers(0, 9),
)
def test_groups_of_at_most_the_largest_share_of_a_class_of_ten_leave_no_split_without_the_class(
    classes: list[list[int]], fold: int | None, split_seed: int
) -> None:
    """The promise of `check.is_safe_to_draw`, without which `check` draws the splits to see."""
    files = []
    for label, wanted in enumerate(classes):
        count = max(FEWEST_OF_A_CLASS, sum(wanted))
        sizes = [min(size, int(LARGEST_SHARE * count)) for size in wanted]
        sizes += [1] * (count - sum(sizes))
        groups = np.repeat(np.arange(len(sizes)), sizes)
        files += [
            ListedFile(f"{label}/{k:04}.png", Path("none"), label, None, f"{label} {group}")
            for k, group in enumerate(groups.tolist())
        ]
    names = tuple(f"class {label}" for label in range(len(classes)))
    listing = make_listing("cells", "folder:cells", names, files)
    thumbnails = np.random.default_rng(0).integers(0, 256, (len(files), 4)).astype(np.uint8)
    drawn = assign(listing, thumbnails, range(len(files)), split_seed, fold)
    for split in ("train", "validation", "test"):
        found = {file.label for file, word in zip(listing.files, drawn.splits, strict=True) if word == split}
        assert found == set(range(len(classes)))
