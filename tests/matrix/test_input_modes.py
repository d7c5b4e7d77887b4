from __future__ import annotations

import pytest

from benchmark.matrix.input_modes import INPUT_MODES, group_identical_modes, needs_pretrained_stem

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNIFORM = ((0.1, 0.1, 0.1), (0.7, 0.7, 0.7))


@pytest.mark.parametrize("mode", [name for name, mode in INPUT_MODES.items() if mode.shared])
def test_modes_that_share_a_normalisation_take_the_averages_on_every_channel(mode: str) -> None:
    mean, std = INPUT_MODES[mode].normalisation(*IMAGENET)
    assert len(mean) == len(std) == INPUT_MODES[mode].channels
    assert set(mean) == {sum(IMAGENET[0]) / 3}
    assert set(std) == {sum(IMAGENET[1]) / 3}


@pytest.mark.parametrize("mode", INPUT_MODES)
def test_a_mean_that_is_the_same_on_three_channels_is_used_to_the_last_bit(mode: str) -> None:
    assert sum(UNIFORM[0]) / 3 != UNIFORM[0][0], "the average would be another number"
    mean, std = INPUT_MODES[mode].normalisation(*UNIFORM)
    assert (set(mean), set(std)) == ({0.1}, {0.7})


def test_only_ablations_of_the_stem_need_a_pretrained_one() -> None:
    needy = [mode for mode in INPUT_MODES if needs_pretrained_stem(mode)]
    assert needy == [
        *("grey-1ch-mean", "grey-1ch-random-stem", "grey-1ch-folded"),
        *("grey-1ch-red", "grey-1ch-luma", "grey-1ch-scaled-random"),
    ]


def test_identical_modes_depend_on_the_normalisation_and_on_whether_the_stem_is_trained() -> None:
    modes = list(INPUT_MODES)
    assert group_identical_modes(modes, *IMAGENET, stem_is_trained=True) == ()
    assert group_identical_modes(modes, *IMAGENET, stem_is_trained=False) == (("grey-1ch", "grey-3ch-shared-norm"),)
    assert group_identical_modes(modes, *UNIFORM, stem_is_trained=True) == (
        ("grey-3ch", "grey-3ch-shared-norm"),
        ("grey-1ch", "grey-1ch-folded"),
    )
    assert group_identical_modes(modes, *UNIFORM, stem_is_trained=False) == (
        ("grey-3ch", "grey-1ch", "grey-3ch-shared-norm", "grey-1ch-folded"),
    )


def test_equal_means_alone_make_no_modes_identical() -> None:
    assert group_identical_modes(list(INPUT_MODES), UNIFORM[0], IMAGENET[1], stem_is_trained=True) == ()


def test_modes_that_are_not_asked_for_are_in_no_group() -> None:
    assert group_identical_modes(["grey-3ch-shared-norm", "grey-1ch"], *UNIFORM, stem_is_trained=True) == ()
    assert group_identical_modes(["rgb", "grey-1ch-mean"], *UNIFORM, stem_is_trained=False) == ()
