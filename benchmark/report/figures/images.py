"""Data of the figures made of images: the network's input in each input mode, and the hardest test images."""

from __future__ import annotations

import base64
import itertools
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.analysis.hardest import HardImage, find_disagreements, find_hardest
from benchmark.analysis.results import Cell, Results
from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import DatasetEntry
from benchmark.matrix.run_spec import Setup
from benchmark.records.exhibits import MOST_THUMBNAILS, keeps_thumbnails, unpack
from benchmark.report.figures import draw
from benchmark.report.figures.charts import choose_drawn, file_name
from benchmark.report.figures.picture import Picture, Section
from benchmark.report.text import escape

EXAMPLES = 5
"""Images in the figure of the input modes, each of another class."""

IMAGES_PER_ROW = 6
"""Largest number of images in a row of the hardest."""

Thumbnails = Mapping[bool, Mapping[str, bytes]]
"""Thumbnails of one dataset's test images at one image size: whether they are grey -> image id -> JPEG file."""


def make_pictures(results: Results) -> list[Picture]:
    """Return the figures of the datasets whose runs kept thumbnails, in the report's order.

    Raises:
        UserError: a file that a run kept is damaged.
    """
    chosen = choose_drawn(results)
    sizes = dict.fromkeys((dataset, setup.image_size) for dataset, setup in chosen)
    kept = {of: _read_thumbnails(*of, results) for of in sizes}
    drawn = [(dataset, setup, kept[dataset, setup.image_size], results) for dataset, setup in chosen]
    made = [make(*each) for make in (_modes, _hardest) for each in drawn if any(each[2].values())]
    return [picture for picture in made if picture is not None]


def _read_thumbnails(dataset: str, image_size: int, results: Results) -> Thumbnails:
    """Return the thumbnails that a dataset's done runs at a size kept; files that no longer exist are left out."""
    found: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
    names: dict[str, bool] = {}
    for record in results.plan.done:
        spec, exhibits = record.spec, record.exhibits
        if (spec.dataset, spec.image_size) == (dataset, image_size) and exhibits is not None and exhibits.thumbnails:
            names[exhibits.thumbnails] = INPUT_MODES[spec.input_mode].grey
    for name, grey in names.items():
        if (content := results.store.exhibit(name)) is not None:
            found[grey] |= unpack(content)
    return found


def explain_missing(results: Results, figures: Sequence[Picture], section: Section) -> str:
    """Return why datasets with their own figures have none in a section, as a Markdown list, one item per dataset."""
    names = {picture.name for picture in figures}
    drawn = choose_drawn(results)
    shown = {dataset for dataset, setup in drawn if file_name(section, setup, results, dataset) in names}
    return "\n".join(
        f"- {escape(dataset)}: no images are shown; {_reason(results.entry(dataset), results)}."
        for dataset in dict.fromkeys(dataset for dataset, _ in drawn)
        if dataset not in shown
    )


def _reason(entry: DatasetEntry, results: Results) -> str:
    rule = results.matrix.keep_thumbnails
    if keeps_thumbnails(entry, rule):
        return "its runs kept none, or their files are no longer in `exhibits/`"
    if rule == "none":
        return "the matrix keeps none (`keep_thumbnails: none`)"
    if entry.is_folder:
        return "for a user's own folder they are kept only on request (`keep_thumbnails: all`)"
    info = CATALOGUE[entry.name]
    return f"licence: {escape(info.licence)}; {escape(info.thumbnails.reason)}"


def _credit(entry: DatasetEntry) -> str:
    """Return the licence of a dataset's images, with the attribution that it asks for."""
    if entry.is_folder:
        return "The images are the user's own: passing this report on passes them on."
    info = CATALOGUE[entry.name]
    if not info.thumbnails.allowed:
        return f"The images: {escape(info.licence)}; kept because the matrix says so, not to be passed on."
    return (
        f"The images: {escape(info.thumbnails.credit)}; {escape(info.licence)} "
        f"({escape(info.thumbnails.reason)}). They stay under that licence, whatever this report's is."
    )


def _modes(dataset: str, setup: Setup, kept: Thumbnails, results: Results) -> Picture | None:
    by_mode = {cell.key.input_mode: cell for cell in reversed(results.done_cells(dataset, setup))}
    modes = [mode for mode in results.modes(dataset) if mode in by_mode and kept[INPUT_MODES[mode].grey]]
    if not modes:
        return None
    ids = set.intersection(*(set(kept[INPUT_MODES[mode].grey]) for mode in modes))
    examples = [
        {"class": name, "grey": _text(kept[True].get(image_id)), "colour": _text(kept[False].get(image_id))}
        for image_id, name in _one_per_class(ids, by_mode[modes[0]])[:EXAMPLES]
    ]
    rows: list[dict[str, Any]] = []
    for mode in modes:
        record = next(iter(by_mode[mode].records.values()))
        mean, std = record.model.mean, record.model.std
        numbers = f"mean {_numbers(mean)}; std {_numbers(std)}"
        known = INPUT_MODES[mode]
        lines = [*textwrap.wrap(re.split(", [WMVb]1?", known.formula)[0], 52), numbers]
        row = {"name": mode, "grey": known.grey, "mean": mean, "std": std, "lines": lines}
        if known.derived is not None:
            row["derived"] = [known.derived, record.spec.colormap]
        rows.append(row)
    ends = [abs(end - m) / s for row in rows for m, s in zip(row["mean"], row["std"], strict=True) for end in (0, 1)]
    span = round(max(ends), 2)
    return Picture(
        name=file_name("modes", setup, results, dataset),
        section="modes",
        title=results.matrix.add_setup(f"What the network sees of {dataset} in each input mode", setup),
        caption="Test images as they enter the first convolution: each channel after normalisation, from "
        f"−{span:g} (black) to {span:g} (white) standard deviations, three channels as red, green and blue. A tint "
        "in a grey mode comes from the pretrained weights' means and stds, which differ between the three channels. "
        f"{'The views are those of the small copies. ' if 'views' in modes else ''}"
        f"{_credit(results.entry(dataset))}",
        data={"modes": rows, "examples": examples, "span": span},
        draw=draw.modes,
    )


def _one_per_class(ids: set[str], cell: Cell) -> list[tuple[str, str]]:
    """Return the first image of each class, by id, with the class's name, in label order."""
    first: dict[int, str] = {}
    for images in (test.images for test in cell.tests.values()):
        for image_id, label in zip(images.ids.tolist(), images.labels.tolist(), strict=True):
            if image_id in ids:
                first[label] = min(image_id, first.get(label, image_id))
    return [(first[label], cell.classes[label]) for label in sorted(first)]


def _hardest(dataset: str, setup: Setup, kept: Thumbnails, results: Results) -> Picture | None:
    cells, ids = results.done_cells(dataset, setup), set(kept[True]) | set(kept[False])
    rows = []
    for title, grey, found in _rows(cells, results.modes(dataset), ids):
        if found:
            jpegs = [kept[grey].get(item.image_id) or kept[not grey].get(item.image_id) for item in found]
            images = [_image(item, cells[0].classes, jpeg) for item, jpeg in zip(found, jpegs, strict=True)]
            rows.append({"title": title, "images": images})
    if not rows:
        return None
    among = ""
    if len(ids) < len(cells[0].images):
        among = f" Only the {len(ids)} test images that have a thumbnail (at most {MOST_THUMBNAILS}) are considered."
    return Picture(
        name=file_name("hardest", setup, results, dataset),
        section="hardest",
        title=results.matrix.add_setup(f"The hardest test images of {dataset}", setup),
        caption="First one row per mode: the images most often wrong in its runs of any policy and seed. Then the "
        "images on which two sides disagree most, over the policies and seeds that both have. Under each image: its "
        "class, the most frequent wrong answer, and the number of wrong runs of that side (against the other), of how "
        f"many.{among} {_credit(results.entry(dataset))}",
        data=rows,
        draw=draw.hardest,
    )


def _rows(cells: Sequence[Cell], modes: Sequence[str], ids: set[str]) -> list[tuple[str, bool, list[HardImage]]]:
    """Return (title, whether to show it in grey, images) of each row."""

    def of(*names: str) -> list[Cell]:
        return [cell for cell in cells if cell.key.input_mode in names]

    usual = [mode for mode in modes if not INPUT_MODES[mode].ablation] or list(modes)
    rows = [
        (f"{mode}: most often wrong", INPUT_MODES[mode].grey, find_hardest(of(mode), ids, IMAGES_PER_ROW))
        for mode in usual
    ]
    grey = [mode for mode in usual if INPUT_MODES[mode].grey]
    sides = {"rgb": of("rgb"), "grey": of(*grey)} if "rgb" in usual and grey else {mode: of(mode) for mode in grey[:2]}
    for right, wrong in itertools.permutations(sides, 2):
        found = find_disagreements(sides[right], sides[wrong], ids, IMAGES_PER_ROW)
        rows.append((f"{right} right, {wrong} wrong", False, found))
    return rows


def _image(item: HardImage, classes: Sequence[str], jpeg: bytes | None) -> dict[str, Any]:
    wrong = f"wrong {item.wrong}/{item.runs}"
    if item.others_wrong is not None:
        wrong += f" against {item.others_wrong}/{item.others_runs}"
    return {"jpeg": _text(jpeg), "lines": [classes[item.label], f"→ {classes[item.wrong_answer]}", wrong]}


def _text(jpeg: bytes | None) -> str | None:
    return None if jpeg is None else base64.b64encode(jpeg).decode()


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
