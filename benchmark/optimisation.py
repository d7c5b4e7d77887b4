"""Optimizers, learning rate schedules and head initialisations that a matrix can name. Data only; no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

Row = Annotated[int, Field(ge=0, strict=True)]


class _Named(BaseModel):
    """A word with parameters: ``NAME``, or ``{NAME: {PARAMETER: VALUE}}``."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)

    name: str

    @property
    def parameters(self) -> dict[str, object]:
        """Those that are given, by name."""
        return self.model_dump(mode="json", exclude={"name"}, exclude_none=True)

    def _takes(self, **wanted: tuple[str, ...]) -> None:
        """Check that exactly the parameters of this name are given."""
        known = wanted.get(self.name, ())
        for key in self.parameters:
            if key not in known:
                raise ValueError(f"{self.name} has no parameter {key!r}")
        for key in known:
            if key not in self.parameters:
                raise ValueError(f"{self.name} needs {key}: write {{{self.name}: {{{', '.join(known)}: …}}}}")

    def __str__(self) -> str:
        given = ", ".join(f"{key} {value}" for key, value in self.parameters.items())
        return f"{self.name} ({given})" if given else self.name


class OptimizerChoice(_Named):
    """Which optimizer of ``torch.optim`` takes the steps; what is not named here has PyTorch's default.

    ``adamw``: weight decay decoupled (Loshchilov and Hutter 2019); ``adam`` and ``sgd``: added to the gradient (L2).
    """

    name: Literal["adamw", "adam", "sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1, strict=True)] | None = None
    """Of ``sgd``; without dampening or Nesterov's correction."""

    @model_validator(mode="after")
    def _whole(self) -> OptimizerChoice:
        self._takes(sgd=("momentum",))
        return self


class ScheduleChoice(_Named):
    """How the learning rate goes over a stage: a factor on the stage's ``lr``.

    ``cosine``: per step, (1 + cos(pi step / steps)) / 2, to zero over the stage (Loshchilov and Hutter 2017, without
    restarts or warm-up); ``step``: times ``gamma`` after every ``size`` epochs of the stage; ``constant``: 1.
    """

    name: Literal["cosine", "step", "constant"]
    size: Annotated[int, Field(ge=1, strict=True)] | None = None
    """Of ``step``: epochs."""
    gamma: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    """Of ``step``."""

    @model_validator(mode="after")
    def _whole(self) -> ScheduleChoice:
        self._takes(step=("size", "gamma"))
        return self


class HeadChoice(_Named):
    """What the new head starts from.

    ``default``: PyTorch's own initialisation of the layer; ``xavier``: weights uniform within
    sqrt(6 / (inputs + outputs)) (Glorot and Bengio 2010), biases zero; ``source-rows``: the pretrained head's rows of
    the named source classes, the others as ``default``.
    """

    name: Literal["default", "xavier", "source-rows"]
    rows: Mapping[str, Row] | None = None
    """Of ``source-rows``: class of the dataset -> row of the pretrained head, counted from 0."""

    @property
    def parameters(self) -> dict[str, object]:
        """The rows themselves."""
        return dict(self.rows or {})

    @model_validator(mode="after")
    def _whole(self) -> HeadChoice:
        if (self.name == "source-rows") != bool(self.rows):
            raise ValueError("source-rows, and it alone, names classes: {source-rows: {hotdog: 934}}")
        return self


def _fields(entry: Any) -> Any:
    """Return the fields that an entry means: the inverse of `_entry`."""
    if isinstance(entry, str):
        return {"name": entry}
    if isinstance(entry, Mapping) and len(entry) == 1:
        ((name, given),) = entry.items()
        if name == "source-rows":
            return {"name": name, "rows": given}
        if name != "name" and isinstance(given, Mapping):
            return {**given, "name": name}
    return entry


def _entry(choice: _Named) -> str | dict[str, object]:
    """Return what stands in a file: the name, or the name with its parameters."""
    return {choice.name: choice.parameters} if choice.parameters else choice.name


Optimizer = Annotated[OptimizerChoice, BeforeValidator(_fields), PlainSerializer(_entry)]
Schedule = Annotated[ScheduleChoice, BeforeValidator(_fields), PlainSerializer(_entry)]
Head = Annotated[HeadChoice, BeforeValidator(_fields), PlainSerializer(_entry)]

ADAMW = OptimizerChoice(name="adamw")
COSINE = ScheduleChoice(name="cosine")
DEFAULT_HEAD = HeadChoice(name="default")
