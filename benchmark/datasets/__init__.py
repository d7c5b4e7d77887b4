"""Datasets: fetched, verified, indexed, decoded once. ``open_dataset`` is the door.

It is imported when it is asked for, so that the processes that decode images start without the rest.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmark.datasets.opening import open_dataset

__all__ = ["open_dataset"]


def __getattr__(name: str) -> object:
    if name == "open_dataset":
        from benchmark.datasets.opening import open_dataset

        return open_dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
