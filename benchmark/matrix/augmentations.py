"""Augmentations that a matrix can name, with their parameters; `benchmark.training.augment` applies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.matrix.choices import Choice, Parameter, Vocabulary

AUGMENTATIONS: Mapping[str, Mapping[str, Parameter]] = {
    # shrunk to a random resolution and enlarged again; the smallest share of the side, uniform up to 1
    "resize": {"low": Parameter(0.05, 1, default=0.5)},
    # a random part enlarged to the full size, sides 3:4 to 4:3; the smallest share of the area, uniform up to 1
    "crop": {"area": Parameter(0.05, 1, default=0.7)},
    # left and right, top and bottom exchanged
    "hflip": {"probability": Parameter(0, 1, default=0.5)},
    "vflip": {"probability": Parameter(0, 1, default=0.5)},
    # turned about the centre, the corners filled by reflection; the largest angle either way, uniform
    "rotation": {"degrees": Parameter(0, 180, default=15)},
    # moved, the margin filled by reflection; the largest move either way, of the side, uniform
    "translation": {"share": Parameter(0, 0.5, default=0.1)},
    # enlarged or shrunk about the centre, the margin filled by reflection; the factor uniform in
    # 1 - strength … 1 + strength
    "scaling": {"strength": Parameter(0, 0.9, default=0.2)},
    # shrunk into a black frame; the widest frame on each side, of the side, uniform from 0
    "padding": {"share": Parameter(0, 0.4, default=0.1)},
    # times a factor, uniform in 1 - strength … 1 + strength: all pixels; their distance from the image's mean luma;
    # from each pixel's luma
    "brightness": {"strength": Parameter(0, 1, default=0.2)},
    "contrast": {"strength": Parameter(0, 1, default=0.2)},
    "saturation": {"strength": Parameter(0, 1, default=0.2)},
    # hue turned (HSV); the largest turn either way, of the full circle, uniform
    "hue": {"turns": Parameter(0, 0.5, default=0.05)},
    # Gaussian noise on every value; the standard deviation, grey levels of 255
    "noise": {"sigma": Parameter(0, 128, default=8)},
    # colour replaced by luma on all three channels
    "random-greyscale": {"probability": Parameter(0, 1, default=0.1)},
}

NEED_COLOUR = ("saturation", "hue", "random-greyscale")
"""Augmentations refused for grey input modes, where they would have no effect or add colour."""

Step = Choice
"""One augmentation with all of its parameters."""

VOCABULARY = Vocabulary("augmentation", AUGMENTATIONS, bare=("hflip", "vflip"))
parse = VOCABULARY.parse
as_entry = VOCABULARY.entry


def describe(step: Step) -> str:
    """Return a step's name and its parameters, except for a flip with the default probability."""
    return step.name if isinstance(as_entry(step), str) else str(step)


def list_needing_colour(steps: Sequence[Step]) -> list[str]:
    """Return the names of the steps that cannot be used with a grey input mode."""
    return [step.name for step in steps if step.name in NEED_COLOUR]
