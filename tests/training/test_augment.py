"""Augmentations: per image, reproducible, and each doing what its name says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from benchmark.matrix.augmentations import AUGMENTATIONS, NEED_COLOUR, Step, list_needing_colour, parse
from benchmark.training.augment import augment
from tests.factories import picture

COLOURLESS = [name for name in AUGMENTATIONS if name not in NEED_COLOUR]


def batch(count: int, side: int = 32, mode: str = "RGB") -> Tensor:
    arrays = [np.asarray(picture(k, side).convert(mode)).reshape(side, side, -1) for k in range(count)]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).contiguous()


def step(name: str, **parameters: float) -> Step:
    return parse({name: parameters})


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_an_image_gets_the_same_whatever_its_batch_and_the_input_is_not_changed(name: str) -> None:
    images, seeds = batch(6), list(range(100, 106))
    before = images.clone()
    complete = augment(images, [parse(name)], seeds)
    order = [3, 0, 5]
    part = augment(images[order], [parse(name)], [seeds[k] for k in order])
    assert torch.equal(part, complete[order])
    assert torch.equal(complete, augment(images, [parse(name)], seeds))
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_each_image_is_treated_by_its_own_seed(name: str) -> None:
    same = batch(1).expand(40, -1, -1, -1)
    treated = augment(same, [parse(name)], list(range(40)))
    different = {image.numpy().tobytes() for image in treated}
    assert len(different) == 2 if name in ("hflip", "vflip", "random-greyscale") else len(different) > 10


@pytest.mark.parametrize("name", [name for name in COLOURLESS if name != "noise"])  # noise is drawn for every value
def test_one_channel_is_treated_like_three_equal_ones(name: str) -> None:
    grey = batch(5, mode="L")
    one = augment(grey, [parse(name)], range(5))
    three = augment(grey.expand(-1, 3, -1, -1), [parse(name)], range(5))
    assert one.shape == grey.shape
    assert torch.equal(one.expand(-1, 3, -1, -1), three)


@pytest.mark.parametrize("name", [name for name in AUGMENTATIONS if name != "crop"])
def test_strength_zero_changes_nothing(name: str) -> None:
    images = batch(4)
    (parameter,) = AUGMENTATIONS[name]
    nothing = step(name, **{parameter: float(name == "resize")})
    difference = (augment(images, [nothing], range(4)).int() - images.int()).abs().max()
    assert difference <= 1  # rounding


def test_flips_are_exact() -> None:
    images = batch(4)
    assert torch.equal(augment(images, [step("hflip", probability=1)], range(4)), images.flip(3))
    assert torch.equal(augment(images, [step("vflip", probability=1)], range(4)), images.flip(2))


def test_greyscale_is_the_luma_that_pillow_calls_l() -> None:
    grey = augment(batch(1), [step("random-greyscale", probability=1)], [0])[0]
    expected = torch.from_numpy(np.asarray(picture(0).convert("L")).copy())
    for channel in grey:
        assert torch.equal(channel, expected)


def test_a_quarter_turn_is_a_quarter_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    def quarter(generators: object, low: float, high: float, images: Tensor) -> Tensor:
        return torch.full((len(images), 1, 1, 1), 90.0)

    monkeypatch.setattr("benchmark.training.augment._uniform", quarter)
    images = batch(2)
    turned = augment(images, [step("rotation", degrees=90)], range(2))
    ways = [torch.rot90(images, k, (2, 3)) for k in (1, 3)]
    assert min((turned.int() - way.int()).abs().max() for way in ways) <= 1


def test_brightness_multiplies_and_saturates() -> None:
    white = torch.full((50, 1, 4, 4), 200, dtype=torch.uint8)
    values = augment(white, [step("brightness", strength=0.5)], range(50)).float().mean(dim=(1, 2, 3))
    assert values.min() >= 100
    assert values.max() == 255


def test_padding_makes_a_black_frame() -> None:
    white = torch.full((20, 1, 32, 32), 255, dtype=torch.uint8)
    framed = augment(white, [step("padding", share=0.4)], range(20))
    assert (framed[:, :, 0, 0] == 0).float().mean() > 0.5
    assert (framed[:, :, 16, 16] == 255).all()


def test_steps_are_applied_in_their_order_and_drawn_apart() -> None:
    images = batch(20)
    twice = augment(images, [parse("hflip"), parse("hflip")], range(20))
    unchanged = [torch.equal(a, b) for a, b in zip(twice, images, strict=True)]
    assert 3 < sum(unchanged) < 17, "two flips of one image must not share their coin"


def test_colour_steps_are_refused_on_grey_images() -> None:
    assert list_needing_colour([parse("hue"), parse("hflip"), parse("saturation")]) == ["hue", "saturation"]
    with pytest.raises(ValueError, match="hue needs colour"):
        augment(batch(1, mode="L"), [parse("hue")], [0])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("rotate", "Did you mean 'rotation'"),
        ({"rotation": {"degree": 3}}, "Did you mean 'degrees'"),
        ({"rotation": {"degrees": 300}}, "not in 0 … 180"),
        ({"rotation": {"degrees": "many"}}, "not a number"),
        ({"rotation": {"degrees": True}}, "not a number"),
        ({"rotation": 3}, "a mapping"),
        ({"rotation": {}, "hflip": {}}, "one name"),
    ],
)
def test_a_wrong_entry_is_reported(entry: str | dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(entry)


def test_a_name_alone_means_the_defaults() -> None:
    assert parse("rotation") == parse({"rotation": {"degrees": 15}})
    assert hash(parse("hflip")) == hash(parse({"hflip": {}}))


def test_hue_of_red_turned_by_a_third_is_green_or_blue() -> None:
    red = torch.tensor([255, 0, 0], dtype=torch.uint8).reshape(1, 3, 1, 1).expand(30, 3, 4, 4)
    turned = augment(red, [step("hue", turns=0.5)], range(30))
    assert (turned.amax(dim=1) >= 254).all()
    assert len({tuple(image[:, 0, 0].tolist()) for image in turned}) > 20
    assert Image.fromarray(turned[0].permute(1, 2, 0).numpy()).mode == "RGB"
