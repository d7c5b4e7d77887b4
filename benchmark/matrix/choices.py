"""Choices in a matrix that may have parameters: optimizers, learning rate schedules, head initialisations.

They are written as ``NAME`` or ``{NAME: {PARAMETER: VALUE}}``, and so are the augmentations
(`benchmark.matrix.augmentations`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from benchmark.errors import did_you_mean


@dataclass(frozen=True)
class Parameter:
    """A parameter of a choice: a number or a list of numbers.

    Attributes:
        low, high: the smallest and the largest value.
        default: value if the matrix gives none, or None if the parameter is required.
        excluded: low or high, if that value is not accepted.
        integer: whether only whole numbers are accepted.
        several: whether a list of ascending numbers is accepted.
    """

    low: float
    high: float
    default: float | None = None
    excluded: float | None = None
    integer: bool = False
    several: bool = False

    def read(self, value: object) -> float | tuple[float, ...]:
        """Convert a value in a matrix to this parameter's number or numbers.

        Raises:
            ValueError: the value is not such a number, is out of range, or is not an ascending list.
        """
        if not self.several:
            return self._number(value)
        if not isinstance(value, list | tuple) or not value:
            raise ValueError(f"{value!r} is not a list of numbers")
        numbers = tuple(self._number(each) for each in value)
        if list(numbers) != sorted(set(numbers)):
            raise ValueError(f"{list(numbers)} must be in ascending order")
        return numbers

    def _number(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int if self.integer else int | float):
            raise ValueError(f"{value!r} is not a {'whole number' if self.integer else 'number'}")
        if not self.low <= value <= self.high or value == self.excluded:
            without = "" if self.excluded is None else f", {self.excluded:g} excluded"
            limits = f"{self.low:g} or more" if math.isinf(self.high) else f"in {self.low:g} … {self.high:g}{without}"
            raise ValueError(f"{value} is not {limits}")
        return value if self.integer else float(value)


@dataclass(frozen=True)
class Choice:
    """A choice with all of its parameters; hashable, and equal to any choice with the same meaning.

    Attributes:
        name: name of the choice.
        parameters: (name, value) pairs in the order of the vocabulary.
    """

    name: str
    parameters: tuple[tuple[str, float | tuple[float, ...]], ...] = ()

    def __getitem__(self, parameter: str) -> Any:
        """Return a parameter's value: a number, or a tuple of them if the parameter takes several."""
        return dict(self.parameters)[parameter]

    def __str__(self) -> str:
        given = ", ".join(f"{name} {_text(value)}" for name, value in self.parameters)
        return f"{self.name} ({given})" if given else self.name


def _text(value: float | tuple[float, ...]) -> str:
    return " and ".join(map(_text, value)) if isinstance(value, tuple) else f"{value:.10g}"


@dataclass(frozen=True)
class Vocabulary:
    """Choices accepted by one key of a matrix.

    Attributes:
        what: kind of the choices, for messages.
        words: parameters per choice, by name; or one Parameter for any number of names, at least one.
        bare: choices written without parameters if all of these have their defaults. Other choices are written with
            all parameters, so that an entry keeps its meaning if defaults change.
    """

    what: str
    words: Mapping[str, Mapping[str, Parameter] | Parameter]
    bare: Collection[str] = ()

    def parse(self, entry: object) -> Choice:
        """Convert an entry of a matrix to a choice; a choice is returned unchanged.

        Raises:
            ValueError: the name or a parameter is unknown or missing, or a value is out of range.
        """
        if isinstance(entry, Choice):
            return entry
        name: object = entry
        given: Any = {}
        if isinstance(entry, Mapping) and len(entry) == 1:
            ((name, given),) = entry.items()
        if not isinstance(name, str):
            example = next(word for word, parameters in self.words.items() if parameters)
            raise ValueError(f"write a name, or one name with its parameters: {self._usage(example)}")
        if name not in self.words:
            raise ValueError(f"unknown {self.what} {name!r}.{did_you_mean(name, self.words)}")
        if not isinstance(given, Mapping):
            raise ValueError(f"{name}: parameters are a mapping, e.g. {self._usage(name)}")
        known = self.words[name]
        if isinstance(known, Parameter):
            known = dict.fromkeys(given, known) or {"NAME": known}
        for key in given:
            if key not in known:
                raise ValueError(f"{name}: unknown parameter {key!r}.{did_you_mean(str(key), known) if known else ''}")
        values = []
        for key, parameter in known.items():
            value = given.get(key, parameter.default)
            if value is None:
                raise ValueError(f"{name} needs {key}: write {self._usage(name)}")
            try:
                values.append((key, parameter.read(value)))
            except ValueError as error:
                raise ValueError(f"{name}.{key}: {error}") from None
        return Choice(name, tuple(values))

    def entry(self, choice: Choice) -> str | dict[str, object]:
        """Convert a choice to an entry of a matrix; the inverse of `parse`."""
        if not choice.parameters or (choice.name in self.bare and choice == self.parse(choice.name)):
            return choice.name
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in choice.parameters}
        return {choice.name: values}

    def _usage(self, name: str) -> str:
        known = self.words[name]
        keys = ["NAME"] if isinstance(known, Parameter) else known
        return f"{{{name}: {{{', '.join(f'{key}: …' for key in keys)}}}}}"


OPTIMIZERS = Vocabulary("optimizer", {"adamw": {}, "adam": {}, "sgd": {"momentum": Parameter(0, 1, excluded=1)}})
"""Optimizers of ``torch.optim``; other parameters have PyTorch's defaults.

``adamw``: weight decay decoupled (Loshchilov and Hutter 2019); ``adam`` and ``sgd``: added to the gradient (L2);
``sgd``: without dampening or Nesterov's correction.
"""

_STEP = {"size": Parameter(1, math.inf, integer=True), "gamma": Parameter(0, 1, excluded=0)}
_MULTISTEP = {
    "milestones": Parameter(0, 1, excluded=0, several=True),
    "gamma": Parameter(0, 1, excluded=0),
}
SCHEDULES = Vocabulary("schedule", {"cosine": {}, "step": _STEP, "multistep": _MULTISTEP, "constant": {}})
"""Learning rate schedules of a stage, as a factor on its ``lr``.

``cosine``: per step, (1 + cos(pi step / steps)) / 2, to zero over the stage (Loshchilov and Hutter 2017, without
restarts or warm-up); ``step``: times ``gamma`` after every ``size`` epochs of the stage; ``multistep``: times ``gamma``
when each share in ``milestones`` of the stage's epochs is done (PyTorch's ``MultiStepLR`` at share x epochs, rounded
up); ``constant``: 1.
"""

_ROW = Parameter(0, math.inf, integer=True)
HEADS = Vocabulary("initialisation", {"default": {}, "xavier": {}, "source-rows": _ROW})
"""Initialisations of the new head.

``default``: PyTorch's own initialisation of the layer; ``xavier``: weights uniform within sqrt(6 / (inputs + outputs))
(Glorot and Bengio 2010), biases zero; ``source-rows``: a row of the pretrained head, counted from 0, for each named
class of the dataset, and ``default`` for the others.
"""

Optimizer = Annotated[Choice, BeforeValidator(OPTIMIZERS.parse), PlainSerializer(OPTIMIZERS.entry)]
Schedule = Annotated[Choice, BeforeValidator(SCHEDULES.parse), PlainSerializer(SCHEDULES.entry)]
Head = Annotated[Choice, BeforeValidator(HEADS.parse), PlainSerializer(HEADS.entry)]

ADAMW = OPTIMIZERS.parse("adamw")
COSINE = SCHEDULES.parse("cosine")
DEFAULT_HEAD = HEADS.parse("default")
