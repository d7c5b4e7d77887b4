"""Drawing of the figures: one colour per mode and one marker per policy everywhere, legends outside the axes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from benchmark.data.decoding.derived import derive
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.policies import POLICIES
from benchmark.report.figures.letters import columns_of, shortened

_COLOURS = (
    *("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D00"),
    *("#332288", "#882255", "#999999", "#DDCC77"),
)
"""Eight of Okabe and Ito (2008), "Color Universal Design", and four of Paul Tol's "muted": distinguishable with any
colour vision."""

MODE_COLOURS = {mode: _COLOURS[index % len(_COLOURS)] for index, mode in enumerate(INPUT_MODES)}
"""Colour of each mode in every figure."""

_MARKERS = "osD^vPX*<>phd8"


PANELS_PER_ROW = 3
GREY = "#666666"

_SMALL = 6.5
"""Size of the text at a tile, points."""


def _marker(policy: str, policies: Sequence[str]) -> str:
    """Return a policy's marker, the same in every figure; a matrix's own policies have those that its others leave."""
    shipped = {each: _MARKERS[index % len(_MARKERS)] for index, each in enumerate(POLICIES)}
    if policy in shipped:
        return shipped[policy]
    taken = {shipped[each] for each in policies if each in shipped}
    free = [marker for marker in _MARKERS if marker not in taken] or list(_MARKERS)
    own = [each for each in policies if each not in shipped]
    return free[own.index(policy) % len(free)]


def accuracy(data: Any) -> Figure:
    """Draw accuracy (%) against policy, one panel per dataset, one colour per mode."""
    modes, policies = data["modes"], data["policies"]
    figure, panels = _panels(data, width=1.1 + 0.75 * len(policies))
    step = 0.7 / max(len(modes), 1)
    for axes, cells in panels:
        offsets = [(modes.index(cell["mode"]) - (len(modes) - 1) / 2) * step for cell in cells]
        places = [policies.index(cell["policy"]) + offset for cell, offset in zip(cells, offsets, strict=True)]
        _bars(axes, places, cells, ["o"] * len(cells))
        axes.set_xticks(range(len(policies)), [policy.replace("-", "-\n", 1) for policy in policies])
        axes.set_xlim(-0.5, len(policies) - 0.5)
        axes.xaxis.set_tick_params(length=0)
        for edge in range(1, len(policies)):
            axes.axvline(edge - 0.5, color="#dddddd", linewidth=0.8, zorder=0)
    _floor_lines(panels, data)
    _accuracy_axis(panels)
    _legend(figure, _mode_handles(modes, "o"), above=len(panels) > PANELS_PER_ROW)
    return figure


def _floor_lines(panels: Sequence[tuple[Axes, object]], data: Any) -> None:
    """Draw each dataset's floor rows with their names: the best one, and thinner the majority's where the axis is."""
    axes_of = {title: axes for title, (axes, _) in zip(data["datasets"], panels, strict=True)}
    for line in sorted(data["floor"], key=lambda line: not line["best"]):  # all panels share the axis of the best ones
        axes, y = axes_of[line["dataset"]], 100 * line["mean"]
        low, high = axes.get_ylim()
        if line["best"] or low <= y <= high:
            width, style = (1.2, "--") if line["best"] else (0.6, "-")
            axes.axhline(y, color=GREY, linewidth=width, linestyle=style, zorder=1)
            right = axes.get_xlim()[1]
            name = axes.annotate(line["method"], (right, y), (2, 0), textcoords="offset points", va="center")
            name.set(color=GREY, fontsize=_SMALL)


def cost(data: Any) -> Figure:
    """Draw accuracy (%) against training seconds, one panel per dataset, colour = mode, marker = policy."""
    figure, panels = _panels(data, width=3.2)
    for axes, cells in panels:
        seconds = [cell["seconds"] for cell in cells]
        _bars(axes, seconds, cells, [_marker(cell["policy"], data["policies"]) for cell in cells])
        if min(seconds) > 0 and max(seconds) > 10 * min(seconds):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_xlim(0, 1.08 * max(seconds) or 1)
        axes.set_xlabel("training time (s, mean of the seeds)")
    _accuracy_axis(panels)
    markers = [
        Line2D([], [], color=GREY, marker=_marker(p, data["policies"]), linestyle="", markersize=5, label=p)
        for p in data["policies"]
        if any(cell["policy"] == p for cell in data["cells"])
    ]
    _legend(figure, [*_mode_handles(data["modes"], ""), *markers], above=len(panels) > PANELS_PER_ROW)
    return figure


def curves(data: Any) -> Figure:
    """Draw training loss and validation accuracy against the epoch, one column per policy, one colour per mode."""
    policies = list(dict.fromkeys(cell["policy"] for cell in data))
    modes = list(dict.fromkeys(cell["mode"] for cell in data))
    figure = Figure(figsize=(max(2.6 * len(policies) + 0.6, 3.8), 4.8), layout="constrained")
    grid = figure.subplots(2, len(policies), sharex="col", sharey="row", squeeze=False)
    for column, policy in enumerate(policies):
        for row, (what, factor) in enumerate((("train_loss", 1), ("val_accuracy", 100))):
            axes: Axes = grid[row][column]
            for cell in (c for c in data if c["policy"] == policy):
                epochs, *shares = zip(*cell[what], strict=True)
                mean, low, high = ([factor * y for y in values] for values in shares)
                colour = MODE_COLOURS[cell["mode"]]
                width = 1.1 + 0.7 * (len(modes) - 1 - modes.index(cell["mode"]))  # lines that coincide stay visible
                axes.plot(epochs, mean, color=colour, linewidth=width)
                axes.fill_between(epochs, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.grid(axis="y")
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        grid[0][column].set_title(policy, fontsize=10)
        grid[1][column].set_xlabel("epoch")
    grid[0][0].set_ylabel("training loss (nats per image)")
    grid[1][0].set_ylabel("validation accuracy (%)")
    _legend(figure, _mode_handles(modes, ""))
    return figure


def forest(data: Any) -> Figure:
    """Draw paired differences (points) one under the other, grouped by question."""
    lines: list[tuple[str, Any]] = []
    for question in dict.fromkeys(row["question"] for row in data):
        lines.append((question, None))
        lines.extend((f"{r['dataset']}: {r['text']}\n{r['context']}", r) for r in data if r["question"] == question)
    figure = Figure(figsize=(7.6, 0.7 + 0.36 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(0, color=GREY, linewidth=1)
    places, rows = zip(*((y, row) for y, (_, row) in enumerate(lines) if row), strict=True)
    means = [100 * row["mean"] for row in rows]
    lows = [mean - 100 * (row["half_width"] or 0) for mean, row in zip(means, rows, strict=True)]
    highs = [mean + 100 * (row["half_width"] or 0) for mean, row in zip(means, rows, strict=True)]
    _intervals(axes.hlines, places, lows, highs, ["black"] * len(rows), [row["seeds"] for row in rows])
    colours = ["black" if row["sign"] else "white" for row in rows]
    axes.scatter(means, places, s=36, color=colours, edgecolors="black", linewidths=1, zorder=3)
    left, right = min(0.0, *lows), max(0.0, *highs)
    span = max(right - left, 1.0)
    axes.set_xlim(left - 0.06 * span, right + 0.06 * span)
    axes.set_ylim(len(lines) - 0.5, -0.6)
    axes.set_yticks(range(len(lines)), [text for text, _ in lines], fontsize=8)
    for label, (_, row) in zip(axes.get_yticklabels(), lines, strict=True):
        if row is None:
            label.set_fontweight("bold")
    axes.yaxis.set_tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference in test accuracy (percent points)")
    return figure


def confusion(data: Any) -> Figure:
    """Draw confusion matrices in percent of the true class, one row per mode, one column per policy.

    They share one pair of axes, on which a class is one unit wide: separate axes cost a second for 25 matrices.
    """
    classes, cells = data["classes"], {(c["mode"], c["policy"]): c["counts"] for c in data["cells"]}
    modes = list(dict.fromkeys(mode for mode, _ in cells))
    policies = list(dict.fromkeys(policy for _, policy in cells))
    short = shortened(classes, 14)
    names = [short[name] for name in classes]
    count, inch = len(names), 0.36
    longest = max(len(name) for name in (*modes, *policies))
    across = max(count + 0.5, (0.075 * longest + 0.1) / inch)  # from one matrix to the next, in classes
    down = count + 0.95  # room for a title of two lines
    width, height = across * (len(policies) - 1) + max(count, across - 0.5), down * len(modes)
    label = 0.065 * max(columns_of(name) for name in names) + 0.45
    size = (max(inch * width + label + 0.1, 3.8), inch * height + 0.87 * label + 0.25)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    for row, mode in enumerate(modes):
        for column, policy in enumerate(policies):
            left, top = across * column, down * row
            middle = left + (count - 1) / 2
            axes.text(middle, top - 0.6, f"{mode}\n{policy}", ha="center", va="bottom", fontsize=7)
            if (mode, policy) not in cells:
                axes.text(middle, top + (count - 1) / 2, "no run", ha="center", va="center", color=GREY)
                continue
            shares = [[100 * n / sum(line) if sum(line) else 0.0 for n in line] for line in cells[mode, policy]]
            edges = [k - 0.5 for k in range(count + 1)]
            across_edges, down_edges = [left + edge for edge in edges], [top + edge for edge in edges]
            axes.pcolormesh(across_edges, down_edges, shares, cmap="Greys", vmin=0, vmax=100)  # vectors in the SVG
            for i, line in enumerate(shares):
                for j, share in enumerate(line):
                    ink = "white" if share > 65 else "black"
                    place = (left + j, top + i)
                    number = axes.text(*place, f"{share:.0f}", ha="center", va="center", color=ink, fontsize=7)
                    number.set_in_layout(False)  # inside the axes: the layout need not measure it
    axes.set_aspect("equal")
    side = max(across - 0.5 - count, 0) / 2  # of a title wider than its matrix
    axes.set(xlim=(-0.5 - side, width - 0.5 - side), ylim=(height - 1.45, -1.45))
    ticks = range(count)
    columns, rows = range(len(policies)), range(len(modes))
    axes.set_xticks([across * c + k for c in columns for k in ticks], names * len(policies), fontsize=7)
    axes.set_yticks([down * r + k for r in rows for k in ticks], names * len(modes), fontsize=7)
    for text in axes.get_xticklabels():
        text.set(rotation=60, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class (numbers: % of the true class)", fontsize=8)
    axes.set_ylabel("true class", fontsize=8)
    return figure


def _panels(data: Any, width: float) -> tuple[Figure, list[tuple[Axes, list[Any]]]]:
    """Return a figure with one panel per dataset, and each panel with its dataset's cells; the width is in inches."""
    titles = data["datasets"]
    columns, rows = min(len(titles), PANELS_PER_ROW), math.ceil(len(titles) / PANELS_PER_ROW)
    height = 2.9 if len(titles) == 1 else 2.1
    figure = Figure(figsize=(max(width * columns + 0.5, 3.8), height * rows + 0.5), layout="constrained")
    every = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten().tolist()
    for axes in every[len(titles) :]:
        axes.remove()
    short = shortened(titles, 28)
    for axes, title in zip(every, titles, strict=False):
        axes.set_title(short[title], fontsize=10)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    own = [[cell for cell in data["cells"] if cell["dataset"] == title] for title in titles]
    return figure, list(zip(every, own, strict=False))


def _bars(axes: Axes, places: Sequence[float], cells: Sequence[Any], markers: Sequence[str]) -> None:
    """Draw means with their intervals, with few artists: a report has thousands of means."""
    colours = [MODE_COLOURS[cell["mode"]] for cell in cells]
    lows, highs = ([100 * (c["mean"] if c[end] is None else c[end]) for c in cells] for end in ("low", "high"))
    _intervals(axes.vlines, places, lows, highs, colours, [cell["seeds"] for cell in cells])
    for marker in dict.fromkeys(markers):
        own = [k for k, other in enumerate(markers) if other == marker]
        points = axes.scatter(
            [places[k] for k in own],
            [100 * cells[k]["mean"] for k in own],
            s=36,
            marker=marker,
            color=[colours[k] for k in own],
            edgecolors="white",
            linewidths=0.5,
            zorder=3,
            clip_on=False,
        )
        points.set_in_layout(False)


def _intervals(
    draw: Callable[..., object],
    places: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    colours: Sequence[str],
    seeds: Sequence[int],
) -> None:
    """Draw intervals by `Axes.vlines` or `Axes.hlines`, dotted if they are over the images alone (one seed)."""
    for style, dotted in (("-", False), (":", True)):
        own = [k for k, count in enumerate(seeds) if (count == 1) == dotted]
        if own:
            at, low, high, colors = ([values[k] for k in own] for values in (places, lows, highs, colours))
            draw(at, low, high, colors=colors, linewidth=1.4, linestyle=style)


def _accuracy_axis(panels: Sequence[tuple[Axes, object]]) -> None:
    for index, (axes, _) in enumerate(panels):
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, 0), min(high, 100.5))
        if index % PANELS_PER_ROW == 0:
            axes.set_ylabel("test accuracy (%)")


def _mode_handles(modes: Sequence[str], marker: str) -> list[Line2D]:
    return [Line2D([], [], color=MODE_COLOURS[mode], marker=marker, linewidth=1.5, label=mode) for mode in modes]


def _legend(figure: Figure, handles: Sequence[Line2D], above: bool = False) -> None:
    """Put a legend below the panels, or above them, and make the figure higher by its height."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    inches = 0.7 + 0.075 * longest  # width of an entry: its line and its letters at 9 points
    width, height = figure.get_size_inches()
    columns = max(1, min(len(handles), int(width / inches)))
    figure.set_size_inches(width, height + 0.19 * (math.ceil(len(handles) / columns) - 1))
    place: Literal["outside upper center", "outside lower center"]
    place = "outside upper center" if above else "outside lower center"
    figure.legend(handles=list(handles), loc=place, ncols=columns, frameon=False)


def modes(data: Any) -> Figure:
    """Draw the network's input, one row per mode, one column per image."""
    span, label, columns = data["span"], 2.9, len(data["examples"])
    figure, axes = _canvas(label + 1.08 * columns, 1.08 * len(data["modes"]) + 0.3, inches=0.92)
    short = shortened((example["class"] for example in data["examples"]), 16)
    for column, example in enumerate(data["examples"]):
        name = short[example["class"]]
        axes.text(label + 1.08 * column + 0.5, 0.16, name, ha="center", va="center", fontsize=7)
    for row, mode in enumerate(data["modes"]):
        top = 0.3 + 1.08 * row
        axes.text(
            0, top + 0.14, mode["name"], color=MODE_COLOURS[mode["name"]], fontsize=9, fontweight="bold", va="top"
        )
        for line, text in enumerate(mode["lines"]):
            axes.text(0, top + 0.4 + 0.19 * line, text, fontsize=_SMALL, va="top")
        for column, example in enumerate(data["examples"]):
            pixels = _pixels(example["grey" if mode["grey"] else "colour"])
            if "derived" in mode:
                pixels = derive(*mode["derived"])(pixels[None, ..., :1].astype(np.uint8))[0]
            given = (pixels[..., : len(mode["mean"])] / 255 - np.array(mode["mean"])) / np.array(mode["std"])
            _tile(axes, label + 1.08 * column, top, np.clip((given + span) / (2 * span), 0, 1))
    return figure


def hardest(data: Any) -> Figure:
    """Draw rows of test images, each with its class and the answers on it."""
    pitch, row_height = 1.45, 1.95
    columns = max(len(row["images"]) for row in data)
    figure, axes = _canvas(max(pitch * columns, 4.6), row_height * len(data), inches=0.95)
    short = shortened((text for row in data for image in row["images"] for text in image["lines"]), 24)
    for r, row in enumerate(data):
        top = row_height * r
        axes.text(0, top + 0.12, row["title"], va="center", fontsize=8, fontweight="bold")
        for column, image in enumerate(row["images"]):
            left = pitch * column
            _tile(axes, left, top + 0.27, _pixels(image["jpeg"]) / 255)
            for line, text in enumerate(image["lines"]):
                axes.text(left, top + 1.31 + 0.16 * line, short[text], va="top", fontsize=_SMALL)
    return figure


def _canvas(width: float, height: float, inches: float) -> tuple[Figure, Axes]:
    """Return axes without a frame in which a tile is 1 x 1 and y goes down; ``inches`` is a tile's side."""
    figure = Figure(figsize=(width * inches, height * inches))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.axis("off")
    return figure, axes


def _tile(axes: Axes, left: float, top: float, pixels: np.ndarray) -> None:
    """Draw pixels of 0..1, shape (side, side, 1 or 3); one channel is shown as grey."""
    shown = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    axes.imshow(shown, extent=(left, left + 1, top + 1, top), interpolation="nearest", aspect="auto")
    axes.set_autoscale_on(False)


def _pixels(jpeg: str) -> np.ndarray:
    """Return float64, shape (side, side, 3)."""
    with Image.open(io.BytesIO(base64.b64decode(jpeg))) as image:
        return np.asarray(image.convert("RGB"), dtype=np.float64)
