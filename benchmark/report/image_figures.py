"""What the figures made of images show, from what runs have left: input modes, stem, hardest test images."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.analysis.hardest import Hard, hardest, parted
from benchmark.analysis.results import Cell, Results
from benchmark.datasets.catalogue import CATALOGUE
from benchmark.exhibits import MOST_THUMBNAILS, StemExhibit, decoded, keeps_thumbnails
from benchmark.inputs import INPUT_MODES
from benchmark.matrix import DatasetEntry
from benchmark.report import drawing_images
from benchmark.report.figures import drawn_one_by_one, model_suffix, own_name
from benchmark.report.pictures import Picture, Section
from benchmark.report.text import escape
from benchmark.store import Store

EXAMPLES = 5
"""Images in the figure of the input modes, of as many classes."""

IMAGES_A_ROW = 6
"""Of the hardest images."""

Thumbnails = Mapping[str, bytes]
"""Image id -> JPEG file."""


@dataclass(frozen=True)
class Shown:
    """The thumbnails of a dataset's test images, by whether they are grey."""

    grey: Thumbnails
    colour: Thumbnails

    def image(self, image_id: str, grey: bool) -> bytes | None:
        """Return an image, grey or in colour as wanted where it is kept so, else as it is kept."""
        first, second = (self.grey, self.colour) if grey else (self.colour, self.grey)
        return first.get(image_id) or second.get(image_id)


def image_pictures(results: Results, store: Store) -> list[Picture]:
    """Return the figures for which runs have left images or filters, in the report's order.

    Raises:
        UserError: a file that a run left is damaged.
    """
    shown = {dataset: thumbnails(dataset, results, store) for dataset in results.datasets}
    made: list[Picture] = []
    pairs = drawn_one_by_one(results)
    for dataset, model in pairs:
        made.extend(_modes(dataset, model, shown[dataset], results))
    for model in results.matrix.models:
        made.extend(_stem(model, results, store))
    for dataset, model in pairs:
        made.extend(_hardest(dataset, model, shown[dataset], results))
    return made


def thumbnails(dataset: str, results: Results, store: Store) -> Shown:
    """Return what the done runs on a dataset have left; files that are not there any more are left out."""
    found: dict[bool, dict[str, bytes]] = {True: {}, False: {}}
    names: dict[str, bool] = {}
    for record in results.plan.done:
        if record.spec.dataset == dataset and record.exhibits is not None and record.exhibits.thumbnails is not None:
            names[record.exhibits.thumbnails] = INPUT_MODES[record.spec.input_mode].grey
    for name, grey in names.items():
        if (content := store.exhibit(name)) is not None:
            found[grey] |= decoded(content)
    return Shown(found[True], found[False])


def why_no_thumbnails(entry: DatasetEntry, results: Results) -> str:
    """Return why a dataset has no images in the report, in words."""
    rule = results.matrix.keep_thumbnails
    if keeps_thumbnails(entry, rule):
        return "its runs left none, or their files are not in `exhibits/` any more"
    if rule == "none":
        return "the matrix keeps none (`keep_thumbnails: none`)"
    if entry.is_folder:
        return "of one's own folder they are kept only where asked for (`keep_thumbnails: all`)"
    info = CATALOGUE[entry.name]
    return f"licence: {escape(info.licence)}; {escape(info.thumbnails.reason)}"


def without_thumbnails(results: Results, figures: Sequence[Picture], section: Section) -> list[str]:
    """Return, for the datasets drawn one by one that have no such figure, why; Markdown."""
    named = {picture.name for picture in figures if picture.section == section}
    pairs = drawn_one_by_one(results)
    shown = {dataset for dataset, model in pairs if own_name(section, dataset, model, results) in named}
    lines = []
    for dataset in dict.fromkeys(dataset for dataset, _ in pairs):
        if dataset not in shown:
            entry = _entry(dataset, results)
            lines.append(f"- {escape(dataset)}: no images are shown; {why_no_thumbnails(entry, results)}.")
    return ["\n".join(lines)] if lines else []


def credit(entry: DatasetEntry) -> str:
    """Return the licence under which a dataset's images stand, and whom it asks to be named."""
    if entry.is_folder:
        return "The images are the user's own: whoever passes this report on passes them on."
    info = CATALOGUE[entry.name]
    if not info.thumbnails.allowed:
        return f"The images: {escape(info.licence)}; kept because the matrix says so, not to be passed on."
    return (
        f"The images: {escape(info.thumbnails.credit)}; {escape(info.licence)} "
        f"({escape(info.thumbnails.reason)}). They stay under that licence, whatever this report's is."
    )


def _modes(dataset: str, model: str, shown: Shown, results: Results) -> list[Picture]:
    cells = [c for c in results.cells.values() if (c.key[0], c.key[3]) == (dataset, model) and c.records]
    by_mode = {cell.key[1]: cell for cell in reversed(cells)}
    kept = {True: shown.grey, False: shown.colour}
    modes = [mode for mode in results.modes(dataset) if mode in by_mode and kept[INPUT_MODES[mode].grey]]
    if not modes:
        return []
    tables = [kept[grey] for grey in {INPUT_MODES[mode].grey for mode in modes}]
    ids = sorted(set(tables[0]).intersection(*tables[1:]))
    examples = []
    for image_id, name in _one_a_class(ids, by_mode[modes[0]])[:EXAMPLES]:
        grey, colour = shown.grey.get(image_id), shown.colour.get(image_id)
        examples.append({"class": name, "grey": _text(grey), "colour": _text(colour)})
    rows: list[dict[str, Any]] = []
    for mode in modes:
        record = next(iter(by_mode[mode].records.values()))
        assert record.model is not None
        mean, std = record.model.mean, record.model.std
        numbers = f"mean {_numbers(mean)}; std {_numbers(std)}"
        lines = [*textwrap.wrap(INPUT_MODES[mode].formula.split(", W1")[0].split(", b1")[0], 52), numbers]
        rows.append({"name": mode, "grey": INPUT_MODES[mode].grey, "mean": mean, "std": std, "lines": lines})
    ends = [abs(end - m) / s for row in rows for m, s in zip(row["mean"], row["std"], strict=True) for end in (0, 1)]
    span = round(max(ends), 2)
    named = model_suffix(model, results)[1]
    return [
        Picture(
            name=own_name("modes", dataset, model, results),
            section="modes",
            title=f"What the network sees of {dataset} in each input mode{named}",
            caption="Test images as they enter the first convolution: each channel after normalisation, from "
            f"−{span:g} (black) to {span:g} (white) standard deviations, three channels as "
            "red, green and blue. A tint in a grey mode is the pretrained weights' three means and stds, which "
            f"differ. {credit(_entry(dataset, results))}",
            data={"modes": rows, "examples": examples, "span": span},
            draw=drawing_images.modes,
        )
    ]


def _one_a_class(ids: Sequence[str], cell: Cell) -> list[tuple[str, str]]:
    """Return the first image of each class with the class's name, in label order."""
    record = next(iter(cell.records.values()))
    assert record.dataset is not None
    labels = {
        str(image): int(label)
        for test in cell.tests.values()
        for image, label in zip(test.images.ids, test.images.labels, strict=True)
    }
    first: dict[int, str] = {}
    for image_id in ids:
        if image_id in labels:
            first.setdefault(labels[image_id], image_id)
    return [(first[label], record.dataset.classes[label]) for label in sorted(first)]


def _stem(model: str, results: Results, store: Store) -> list[Picture]:
    records = [r for r in results.plan.done if r.spec.model == model and r.exhibits is not None and r.exhibits.stem]
    if not records or records[0].exhibits is None or records[0].exhibits.stem is None:
        return []
    content = store.exhibit(records[0].exhibits.stem)
    if content is None:
        return []
    found = StemExhibit.model_validate_json(content)
    suffix, named = model_suffix(model, results)
    return [
        Picture(
            name=f"stem{suffix}",
            section="stem",
            title=f"The stem's filters as colours, by channel and summed{named}",
            caption=f"The {len(found.positions)} strongest of the {found.total} filters of `{found.layer}`. Above: the "
            "pretrained weights of the three channels as red, green and blue, from −1 (black) over 0 (mid-grey) to 1, "
            f"where 1 is the largest weight shown ({found.scale:.3g}). Below: each channel by itself, and "
            "their sum, which is the filter of "
            "`grey-1ch`, on a scale three times as wide. Kept: the share of a filter's energy that a grey image "
            "reaches; 100 % where the three channels are equal, 0 % where they cancel and the filter answers to colour "
            f"alone. Over all filters it is {100 * found.mean_greyness:.0f} %.",
            data=found.model_dump(mode="json", include={"positions", "weights", "greyness"}),
            draw=drawing_images.stem,
        )
    ]


def _hardest(dataset: str, model: str, shown: Shown, results: Results) -> list[Picture]:
    if not shown.grey and not shown.colour:
        return []
    cells = [c for c in results.cells.values() if (c.key[0], c.key[3]) == (dataset, model) and c.records]
    if not cells:
        return []
    record = next(iter(cells[0].records.values()))
    assert record.dataset is not None
    classes = record.dataset.classes
    rows = []
    for title, grey, found in _rows(cells, results.modes(dataset), shown):
        if images := [_image(item, classes, shown.image(item.image_id, grey)) for item in found]:
            rows.append({"title": title, "images": images})
    if not rows:
        return []
    named = model_suffix(model, results)[1]
    kept = len(set(shown.grey) | set(shown.colour))
    among = (
        ""
        if kept >= record.dataset.test_images
        else (f" Only the {kept} test images that have a thumbnail ({MOST_THUMBNAILS} at most) are looked at.")
    )
    return [
        Picture(
            name=own_name("hardest", dataset, model, results),
            section="hardest",
            title=f"The hardest test images of {dataset}{named}",
            caption="First a row a mode: the images that its runs, of every policy and seed, got wrong most often. "
            "Then those on which two sides part most, over the policies and seeds that both have. Under each: its "
            "class, what the wrong runs said most often, and how many runs of that side (against the other) were "
            f"wrong, of how many.{among} {credit(_entry(dataset, results))}",
            data=rows,
            draw=drawing_images.hardest,
        )
    ]


def _rows(cells: Sequence[Cell], modes: Sequence[str], shown: Shown) -> list[tuple[str, bool, list[Hard]]]:
    """Return (title, whether to show it in grey, images) of each row."""
    kept = set(shown.grey) | set(shown.colour)

    def of(*names: str) -> list[Cell]:
        return [cell for cell in cells if cell.key[1] in names]

    usual = [mode for mode in modes if not INPUT_MODES[mode].ablation] or list(modes)
    rows = [
        (f"{mode}: most often wrong", INPUT_MODES[mode].grey, hardest(of(mode), kept, IMAGES_A_ROW)) for mode in usual
    ]
    grey = [mode for mode in usual if INPUT_MODES[mode].grey]
    sides = [(("rgb",), tuple(grey), "rgb", "grey")] if "rgb" in usual and grey else []
    if not sides and len(grey) > 1:
        sides = [((grey[0],), (grey[1],), grey[0], grey[1])]
    for first, second, name, other in sides:
        here, there = of(*first), of(*second)
        rows.append((f"{name} right, {other} wrong", False, parted(here, there, kept, IMAGES_A_ROW)))
        rows.append((f"{other} right, {name} wrong", False, parted(there, here, kept, IMAGES_A_ROW)))
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
