"""The augmentations that a matrix can name, with their parameters. Data only; no torch. `augment` carries them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from benchmark.errors import did_you_mean


@dataclass(frozen=True)
class Parameter:
    """One number of an augmentation.

    Attributes:
        default: taken where a matrix names none.
        low, high: the values that are accepted, both included.
        meaning: one line, with the unit.
    """

    default: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True)
class Augmentation:
    """One kind of augmentation.

    Attributes:
        name: the word in a matrix's ``augment`` list.
        summary: one line for people.
        parameters: by name.
        needs_colour: refused on a grey input mode, where it would do nothing or add colour.
    """

    name: str
    summary: str
    parameters: Mapping[str, Parameter]
    needs_colour: bool = False


_CHANCE = Parameter(0.5, 0.0, 1.0, "probability for each image")


def _strength(default: float) -> Parameter:
    return Parameter(default, 0.0, 1.0, "the factor is uniform in 1 - strength … 1 + strength")


_KNOWN = (
    Augmentation(
        "resize",
        "shrunk to a random resolution and enlarged again",
        {"low": Parameter(0.5, 0.05, 1.0, "smallest share of the side; uniform up to 1")},
    ),
    Augmentation(
        "crop",
        "a random part, enlarged to the whole",
        {"area": Parameter(0.7, 0.05, 1.0, "smallest share of the area; uniform up to 1, sides 3:4 to 4:3")},
    ),
    Augmentation("hflip", "left and right exchanged", {"probability": _CHANCE}),
    Augmentation("vflip", "top and bottom exchanged", {"probability": _CHANCE}),
    Augmentation(
        "rotation",
        "turned about the centre, the corners filled by reflection",
        {"degrees": Parameter(15.0, 0.0, 180.0, "largest angle either way, uniform")},
    ),
    Augmentation(
        "translation",
        "moved, the margin filled by reflection",
        {"share": Parameter(0.1, 0.0, 0.5, "largest move of the side either way, uniform")},
    ),
    Augmentation(
        "scaling",
        "enlarged or shrunk about the centre, the margin filled by reflection",
        {"strength": Parameter(0.2, 0.0, 0.9, "the factor is uniform in 1 - strength … 1 + strength")},
    ),
    Augmentation(
        "padding",
        "shrunk into a black frame",
        {"share": Parameter(0.1, 0.0, 0.4, "widest frame on each side, of the side; uniform from 0")},
    ),
    Augmentation("brightness", "all pixels times one factor", {"strength": _strength(0.2)}),
    Augmentation("contrast", "distance from the image's mean luma times one factor", {"strength": _strength(0.2)}),
    Augmentation("saturation", "distance from each pixel's luma times one factor", {"strength": _strength(0.2)}, True),
    Augmentation(
        "hue",
        "hue turned (HSV)",
        {"turns": Parameter(0.05, 0.0, 0.5, "largest turn either way, of the full circle, uniform")},
        True,
    ),
    Augmentation(
        "noise",
        "Gaussian noise on every value",
        {"sigma": Parameter(8.0, 0.0, 128.0, "standard deviation, grey levels of 255")},
    ),
    Augmentation(
        "random-greyscale",
        "colour replaced by luma on all three channels",
        {"probability": Parameter(0.1, 0.0, 1.0, "probability for each image")},
        True,
    ),
)

AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType({each.name: each for each in _KNOWN})


@dataclass(frozen=True)
class Step:
    """One augmentation with every parameter given; hashable, and equal when it does the same.

    Attributes:
        name: a key of `AUGMENTATIONS`.
        parameters: (name, value) pairs in the order of the names.
    """

    name: str
    parameters: tuple[tuple[str, float], ...]

    def __getitem__(self, parameter: str) -> float:
        """Return a parameter's value."""
        return dict(self.parameters)[parameter]


def as_entry(step: Step) -> str | dict[str, dict[str, float]]:
    """Return the item of an ``augment`` list that means a step: the inverse of `parse`.

    The flips' default is written as the bare name; every other parameter is written out, so that the entry keeps its
    meaning whatever the defaults become.
    """
    if step == parse(step.name) and step.name in ("hflip", "vflip"):
        return step.name
    return {step.name: dict(step.parameters)}


def in_words(step: Step) -> str:
    """Return a step for people: the name, and its parameters unless it is a flip of the usual probability."""
    if isinstance(as_entry(step), str):
        return step.name
    return f"{step.name} ({', '.join(f'{name} {value:g}' for name, value in step.parameters)})"


def parse(entry: str | Mapping[str, object] | Step) -> Step:
    """Return the step that an item of a matrix's ``augment`` list means.

    Args:
        entry: a name, or a mapping of one name to its parameters, e.g. ``{"rotation": {"degrees": 30}}``; a step is
            returned as it is.

    Raises:
        ValueError: the name or a parameter is unknown, or a value is out of its range.
    """
    if isinstance(entry, Step):
        return entry
    given: object = {}
    if isinstance(entry, str):
        name = entry
    elif isinstance(entry, Mapping) and len(entry) == 1:
        ((name, given),) = entry.items()
    else:
        raise ValueError("an augmentation is a name, or one name with its parameters: {rotation: {degrees: 30}}")
    if name not in AUGMENTATIONS:
        raise ValueError(f"unknown augmentation {name!r}.{did_you_mean(name, AUGMENTATIONS)}")
    known = AUGMENTATIONS[name].parameters
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: parameters are a mapping, e.g. {{{name}: {{{next(iter(known))}: …}}}}")
    values = {key: parameter.default for key, parameter in known.items()}
    for key, value in given.items():
        if key not in known:
            raise ValueError(f"{name}: unknown parameter {key!r}.{did_you_mean(str(key), known)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name}.{key}: {value!r} is not a number")
        if not known[key].low <= value <= known[key].high:
            raise ValueError(f"{name}.{key}: {value} is not in {known[key].low:g} … {known[key].high:g}")
        values[key] = float(value)
    return Step(name, tuple(sorted(values.items())))


def needing_colour(steps: Sequence[Step]) -> list[str]:
    """Return the names of the steps that a grey input mode must refuse."""
    return [step.name for step in steps if AUGMENTATIONS[step.name].needs_colour]
