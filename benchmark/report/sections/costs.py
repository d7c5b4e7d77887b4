"""Costs of each cell: time, throughput, parameters, memory."""

from __future__ import annotations

from benchmark.analysis.results import Cell, Results, TimeField
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.report.tables import place, table_of
from benchmark.report.text import format_value

NOTE = (
    "Times are means over the done runs that did not wait for a processor; with ≤ or ≥ they are bounds, because "
    "every run of the cell waited. Train: seconds of all training steps of a run. Images per second: forward and "
    "backward in training, forward only in evaluation. Input: one image as the network gets it, in fp32. Peak: "
    "resident memory of the worker, or on a GPU the memory allocated there. Times on different hardware "
    "are not comparable."
)

FP32_BYTES = 4


def costs(results: Results) -> str:
    """Return a table of the cells with a done run: seconds, images per second, parameters, input bytes, peak memory."""
    pixels = results.matrix.training.image_size**2
    rows = []
    for cell in results.done_cells():
        dataset, mode, policy, model = cell.key
        on_device = cell.mean("memory.peak_device_bytes")
        peak = cell.mean("memory.peak_rss_bytes") if on_device is None else on_device
        rows.append(
            place(results, dataset, model, input_mode=mode, policy=policy)
            | {
                "train (s)": _time(cell, "train_seconds", 1, "≤"),
                "train (images/s)": _time(cell, "train_images_per_second", 0, "≥"),
                "evaluation (images/s)": _time(cell, "eval_images_per_second", 0, "≥"),
                "parameters (M)": format_value(cell.mean("model.parameters"), 1e6, 3),
                "input (kB)": format_value(INPUT_MODES[mode].channels * pixels * FP32_BYTES, 1e3, 1),
                "peak (MB)": format_value(peak, 1e6, 0),
            }
        )
    return f"{NOTE}\n\n{table_of(rows, right=6)}"


def _time(cell: Cell, field: TimeField, decimals: int, sign: str) -> str:
    mean = cell.mean_time(field)
    if mean is None:
        return ""
    return (f"{sign} " if mean.bound else "") + format_value(mean.value, 1, decimals)
