"""Batches: images normalised, in the epoch's order, some of them mirrored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from benchmark.data.decoding.derived import derive
from benchmark.matrix.augmentations import parse
from benchmark.training.batches import EpochBatches, Normaliser, SplitImages, derive_of, mirrored_positions
from tests import factories

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def photo(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (37, 53, 3), dtype=np.uint8))


def test_grey_3ch_is_normalised_as_the_three_equal_channels_of_torchvisions_grayscale() -> None:
    luma = torch.from_numpy(np.asarray(photo().convert("L")).copy())[None, None]
    theirs = torch.from_numpy(np.asarray(v2.Grayscale(num_output_channels=3)(photo())).copy()).permute(2, 0, 1)[None]
    normalise = Normaliser(*IMAGENET, torch.device("cpu"))
    assert torch.equal(normalise(luma), normalise(theirs))


def test_normalisation_agrees_with_torchvisions() -> None:
    image = photo()
    theirs = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET)])(image)
    pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None]
    ours = Normaliser(*IMAGENET, torch.device("cpu"))(pixels)
    torch.testing.assert_close(ours[0], theirs, rtol=1e-5, atol=1e-5)
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_colour_image_cannot_feed_a_network_of_one_channel() -> None:
    with pytest.raises(ValueError, match="images with 3 channels do not fit a network with 1"):
        Normaliser((0.5,), (0.5,), torch.device("cpu"))(torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


def test_an_epochs_batches_hold_every_image_once_and_change_with_seed_and_epoch() -> None:
    batches = EpochBatches(100, 32, seed=3)
    first = list(batches)
    assert sorted(position for batch in first for position in batch) == list(range(100))
    assert list(batches) == first
    batches.epoch = 2
    assert list(batches) != first
    assert list(EpochBatches(100, 32, seed=4)) != first


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [
        (500, 16, [16] * 30 + [20]),
        (40, 16, [16, 16, 8]),
        (39, 16, [16, 23]),
        (17, 8, [8, 9]),
        (3, 2, [3]),
        (5, 8, [5]),
        (1, 8, [1]),
        (3, 1, [1, 1, 1]),
    ],
)
def test_a_last_batch_smaller_than_half_a_batch_or_of_one_image_joins_the_one_before(
    images: int, batch_size: int, sizes: list[int]
) -> None:
    batches = EpochBatches(images, batch_size, seed=0)
    assert [len(batch) for batch in batches] == sizes
    assert len(batches) == len(sizes)


def test_mirroring_is_fair_and_repeatable() -> None:
    share = mirrored_positions(10_000, 0, 1).float().mean()
    assert share == pytest.approx(0.5, abs=0.02)
    assert torch.equal(mirrored_positions(50, 0, 1), mirrored_positions(50, 0, 1))
    assert not torch.equal(mirrored_positions(50, 0, 1), mirrored_positions(50, 0, 2))


@pytest.mark.parametrize("mode", ["colormap", "views"])
@pytest.mark.parametrize("resident", [False, True])
def test_three_channels_are_made_of_the_complete_image_before_it_is_mirrored_and_cropped(
    mode: str, resident: bool
) -> None:
    spec, data = factories.spec(input_modes=[mode], colormap="magma"), factories.dataset(size=48)
    shown, normalise = derive_of(spec), Normaliser(*IMAGENET, torch.device("cpu"))
    assert shown is not None
    every = SplitImages(data.images, data.train, normalise, torch.device("cpu"), 40, derive=shown, resident=resident)
    whole = torch.from_numpy(shown(data.images[data.train.rows])).permute(0, 3, 1, 2)
    positions = [3, 0, 11]
    assert torch.equal(every.plain(positions), normalise(whole[positions])[..., 4:44, 4:44])
    assert torch.equal(every.plain(positions, mirrored=True), normalise(whole[positions].flip(-1))[..., 4:44, 4:44])
    every.augment([parse({"hflip": {"probability": 1}}), parse({"vflip": {"probability": 1}})], 0, 1)
    batch, _ = every.__getitems__(positions)
    assert torch.equal(batch, normalise(whole[positions].flip(-1).flip(-2))[..., 4:44, 4:44])
    joined, (where,) = SplitImages.joined([every])
    assert torch.equal(joined.plain(where[positions].tolist()), every.plain(positions))


def test_grey_through_a_grey_map_would_be_grey_3ch() -> None:
    """Why the map ``gray`` is refused."""
    images = factories.dataset().images
    np.testing.assert_array_equal(derive("map", "gray")(images), images.repeat(3, axis=-1))
