"""What each input mode costs: time, throughput, parameters, memory. Means over the done runs, by Markdown table."""

from __future__ import annotations

from benchmark.analysis.results import Cell, Results
from benchmark.inputs import INPUT_MODES
from benchmark.report.tables import mean_of
from benchmark.report.text import escape, shown, table
from benchmark.report.times import Field, mean_time

NOTE = (
    "Times are means over the done runs that did not wait for a processor; with ≤ or ≥ every run of the cell waited, "
    "and they are bounds. Train: seconds of all training steps of a run. Images per second: forward and backward in "
    "training, forward alone in evaluation. Input: one image as the network gets it, in fp32. Peak: resident memory of "
    "the worker, or on a GPU what was allocated there. Times on different hardware do not compare."
)

FP32_BYTES = 4


def costs(results: Results) -> str:
    """Return a row a cell with a done run: seconds, images per second, parameters, input bytes, peak memory."""
    several = len(results.matrix.models) > 1
    header = [
        *("dataset", *(["model"] if several else []), "input mode", "policy"),
        *("train (s)", "train (images/s)", "evaluation (images/s)", "parameters (M)", "input (kB)", "peak (MB)"),
    ]
    rows = []
    for cell in results.cells.values():
        if not cell.records:
            continue
        dataset, mode, policy, model = cell.key
        side = results.matrix.training.image_size
        names = [dataset, *([model] if several else []), mode, policy]
        numbers = [
            _time(cell, "train_seconds", 1, "≤"),
            _time(cell, "train_images_per_second", 0, "≥"),
            _time(cell, "eval_images_per_second", 0, "≥"),
            shown(mean_of(cell, "model.parameters"), 1e6, 3),
            shown(INPUT_MODES[mode].channels * side**2 * FP32_BYTES, 1e3, 1),
            shown(_peak(cell), 1e6, 0),
        ]
        rows.append([*(escape(name) for name in names), *numbers])
    return f"{NOTE}\n\n{table(header, rows, left=len(header) - 6)}"


def _time(cell: Cell, field: Field, decimals: int, sign: str) -> str:
    mean = mean_time(cell, field)
    if mean is None:
        return ""
    return (f"{sign} " if mean.bound else "") + shown(mean.value, 1, decimals)


def _peak(cell: Cell) -> float | None:
    on_device = mean_of(cell, "memory.peak_device_bytes")
    return mean_of(cell, "memory.peak_rss_bytes") if on_device is None else on_device
