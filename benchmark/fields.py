"""The base of all pydantic models, and constrained types of their fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

Item = TypeVar("Item", bound=Hashable)


class Frozen(BaseModel):
    """Base class: immutable, without unknown keys, with finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, allow_inf_nan=False)


def distinct(items: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the items.

    Raises:
        ValueError: an item is a duplicate.
    """
    for item, count in Counter(items).items():
        if count > 1:
            raise ValueError(f"{item!r} is a duplicate")
    return items


def _as_items(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) else (value,)


def _as_written(items: tuple[Any, ...]) -> Any:
    return items[0] if len(items) == 1 else list(items)


NonEmpty = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1, strict=True)]
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
Positive = Annotated[float, Field(gt=0, strict=True)]
NotNegative = Annotated[float, Field(ge=0, strict=True)]
Some = Annotated[tuple[Item, ...], Field(min_length=1), AfterValidator(distinct)]
"""A list of at least one item, without duplicates."""
OneOrSome = Annotated[Some[Item], BeforeValidator(_as_items), PlainSerializer(_as_written)]
"""One item or a list like `Some`; always a tuple in Python."""
