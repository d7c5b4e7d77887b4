"""Data of the figures made of images: what the network sees in each input mode, and the hardest test images."""

from __future__ import annotations

import base64
import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.analysis.hardest import Hard, hardest, parted
from benchmark.analysis.results import Cell, Results
from benchmark.data.catalogue import CATALOGUE
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.matrix import DatasetEntry
from benchmark.records.exhibits import MOST_THUMBNAILS, keeps_thumbnails, unpack
from benchmark.report.figures import draw_images
from benchmark.report.figures.charts import classes_of, done_cells, drawn_one_by_one, model_suffix, own_name
from benchmark.report.figures.picture import Picture, Section
from benchmark.report.text import escape

EXAMPLES = 5
"""Images in the figure of the input modes, each of another class."""

IMAGES_A_ROW = 6
"""Of the hardest images."""

Thumbnails = Mapping[bool, Mapping[str, bytes]]
"""Of one dataset's test images: whether they are grey -> image id -> JPEG file."""


def image_pictures(results: Results) -> list[Picture]:
    """Return the figures of the datasets whose runs have left thumbnails, in the report's order.

    Raises:
        UserError: a file that a run left is damaged.
    """
    kept = {dataset: thumbnails(dataset, results) for dataset in results.datasets}
    pairs = [(d, m, done_cells(results, d, m), kept[d]) for d, m in drawn_one_by_one(results) if any(kept[d].values())]
    modes = [picture for pair in pairs for picture in _modes(*pair, results)]
    return modes + [picture for pair in pairs for picture in _hardest(*pair, results)]


def thumbnails(dataset: str, results: Results) -> Thumbnails:
    """Return what the done runs on a dataset have left; files that no longer exist are left out."""
    found: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
    names: dict[str, bool] = {}
    for record in results.plan.done:
        if record.spec.dataset == dataset and record.exhibits is not None and record.exhibits.thumbnails is not None:
            names[record.exhibits.thumbnails] = INPUT_MODES[record.spec.input_mode].grey
    for name, grey in names.items():
        if (content := results.store.exhibit(name)) is not None:
            found[grey] |= unpack(content)
    return found


def without_thumbnails(results: Results, figures: Sequence[Picture], section: Section) -> list[str]:
    """Return, for the datasets drawn one by one that have no figure in a section, the reason; Markdown."""
    named = {picture.name for picture in figures if picture.section == section}
    pairs = drawn_one_by_one(results)
    shown = {dataset for dataset, model in pairs if own_name(section, dataset, model, results) in named}
    lines = [
        f"- {escape(dataset)}: no images are shown; {_why_none(_entry(dataset, results), results)}."
        for dataset in dict.fromkeys(dataset for dataset, _ in pairs)
        if dataset not in shown
    ]
    return ["\n".join(lines)] if lines else []


def _why_none(entry: DatasetEntry, results: Results) -> str:
    rule = results.matrix.keep_thumbnails
    if keeps_thumbnails(entry, rule):
        return "its runs left none, or their files are not in `exhibits/` any more"
    if rule == "none":
        return "the matrix keeps none (`keep_thumbnails: none`)"
    if entry.is_folder:
        return "of one's own folder they are kept only where asked for (`keep_thumbnails: all`)"
    info = CATALOGUE[entry.name]
    return f"licence: {escape(info.licence)}; {escape(info.thumbnails.reason)}"


def _credit(entry: DatasetEntry) -> str:
    """Return the licence of a dataset's images, and whom it asks to be named."""
    if entry.is_folder:
        return "The images are the user's own: whoever passes this report on passes them on."
    info = CATALOGUE[entry.name]
    if not info.thumbnails.allowed:
        return f"The images: {escape(info.licence)}; kept because the matrix says so, not to be passed on."
    return (
        f"The images: {escape(info.thumbnails.credit)}; {escape(info.licence)} "
        f"({escape(info.thumbnails.reason)}). They stay under that licence, whatever this report's is."
    )


def _modes(dataset: str, model: str, cells: Sequence[Cell], kept: Thumbnails, results: Results) -> list[Picture]:
    by_mode = {cell.key[1]: cell for cell in reversed(cells)}
    modes = [mode for mode in results.modes(dataset) if mode in by_mode and kept[INPUT_MODES[mode].grey]]
    if not modes:
        return []
    ids = set.intersection(*(set(kept[INPUT_MODES[mode].grey]) for mode in modes))
    examples = [
        {"class": name, "grey": _text(kept[True].get(image_id)), "colour": _text(kept[False].get(image_id))}
        for image_id, name in _one_per_class(sorted(ids), by_mode[modes[0]])[:EXAMPLES]
    ]
    rows: list[dict[str, Any]] = []
    for mode in modes:
        record = next(iter(by_mode[mode].records.values()))
        mean, std = record.model.mean, record.model.std
        numbers = f"mean {_numbers(mean)}; std {_numbers(std)}"
        lines = [*textwrap.wrap(INPUT_MODES[mode].formula.split(", W1")[0].split(", b1")[0], 52), numbers]
        rows.append({"name": mode, "grey": INPUT_MODES[mode].grey, "mean": mean, "std": std, "lines": lines})
    ends = [abs(end - m) / s for row in rows for m, s in zip(row["mean"], row["std"], strict=True) for end in (0, 1)]
    span = round(max(ends), 2)
    return [
        Picture(
            name=own_name("modes", dataset, model, results),
            section="modes",
            title=f"What the network sees of {dataset} in each input mode{model_suffix(model, results)[1]}",
            caption="Test images as they enter the first convolution: each channel after normalisation, from "
            f"−{span:g} (black) to {span:g} (white) standard deviations, three channels as "
            "red, green and blue. A tint in a grey mode is the pretrained weights' three means and stds, which "
            f"differ. {_credit(_entry(dataset, results))}",
            data={"modes": rows, "examples": examples, "span": span},
            draw=draw_images.modes,
        )
    ]


def _one_per_class(ids: Sequence[str], cell: Cell) -> list[tuple[str, str]]:
    """Return the first image of each class with the class's name, in label order."""
    labels = {
        str(image): int(label)
        for test in cell.tests.values()
        for image, label in zip(test.images.ids, test.images.labels, strict=True)
    }
    first: dict[int, str] = {}
    for image_id in ids:
        if image_id in labels:
            first.setdefault(labels[image_id], image_id)
    return [(first[label], classes_of(cell)[label]) for label in sorted(first)]


def _hardest(dataset: str, model: str, cells: Sequence[Cell], kept: Thumbnails, results: Results) -> list[Picture]:
    rows = []
    ids = set(kept[True]) | set(kept[False])
    for title, grey, found in _rows(cells, results.modes(dataset), ids):
        jpegs = [kept[grey].get(item.image_id) or kept[not grey].get(item.image_id) for item in found]
        if found:
            images = [_image(item, classes_of(cells[0]), jpeg) for item, jpeg in zip(found, jpegs, strict=True)]
            rows.append({"title": title, "images": images})
    if not rows:
        return []
    among = ""
    if len(ids) < len(cells[0].images):
        among = f" Only the {len(ids)} test images that have a thumbnail ({MOST_THUMBNAILS} at most) are looked at."
    return [
        Picture(
            name=own_name("hardest", dataset, model, results),
            section="hardest",
            title=f"The hardest test images of {dataset}{model_suffix(model, results)[1]}",
            caption="First a row a mode: the images that its runs, of every policy and seed, got wrong most often. "
            "Then those on which two sides part most, over the policies and seeds that both have. Under each: its "
            "class, what the wrong runs said most often, and how many runs of that side (against the other) were "
            f"wrong, of how many.{among} {_credit(_entry(dataset, results))}",
            data=rows,
            draw=draw_images.hardest,
        )
    ]


def _rows(cells: Sequence[Cell], modes: Sequence[str], ids: set[str]) -> list[tuple[str, bool, list[Hard]]]:
    """Return (title, whether to show it in grey, images) of each row."""

    def of(*names: str) -> list[Cell]:
        return [cell for cell in cells if cell.key[1] in names]

    usual = [mode for mode in modes if not INPUT_MODES[mode].ablation] or list(modes)
    rows = [
        (f"{mode}: most often wrong", INPUT_MODES[mode].grey, hardest(of(mode), ids, IMAGES_A_ROW)) for mode in usual
    ]
    grey = [mode for mode in usual if INPUT_MODES[mode].grey]
    sides = {"rgb": of("rgb"), "grey": of(*grey)} if "rgb" in usual and grey else {mode: of(mode) for mode in grey[:2]}
    for right, wrong in itertools.permutations(sides, 2):
        found = parted(sides[right], sides[wrong], ids, IMAGES_A_ROW)
        rows.append((f"{right} right, {wrong} wrong", False, found))
    return rows


def _image(item: Hard, classes: Sequence[str], jpeg: bytes | None) -> dict[str, Any]:
    wrong = f"wrong {item.wrong}/{item.runs}"
    if item.others_wrong is not None:
        wrong += f" against {item.others_wrong}/{item.others_runs}"
    return {"jpeg": _text(jpeg), "lines": [classes[item.label], f"→ {classes[item.said]}", wrong]}


def _entry(dataset: str, results: Results) -> DatasetEntry:
    return next(entry for entry in results.matrix.datasets if entry.title == dataset)


def _text(jpeg: bytes | None) -> str | None:
    return None if jpeg is None else base64.b64encode(jpeg).decode()


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)
