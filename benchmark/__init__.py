"""Transfer learning on greyscale images: a matrix of runs, measured, tabulated and reported.

The functions are those of `benchmark.api`, imported on first use: this package loads neither torch nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Results",
    "__version__",
    "compare",
    "expand",
    "load_matrix",
    "load_results",
    "merge",
    "plan",
    "predict",
    "run",
]

if TYPE_CHECKING:
    from benchmark.api import Results, compare, expand, load_matrix, load_results, merge, plan, predict, run
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from benchmark import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
