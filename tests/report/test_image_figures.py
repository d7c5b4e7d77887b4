"""The figures made of images: what they show, whom they name, and what is said where there are none."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import RunSpec
from benchmark.records import exhibits
from benchmark.records.record import ExhibitFiles
from benchmark.records.store import Store
from benchmark.report import build
from benchmark.report.figures.picture import Picture
from tests import factories

MATRIX = factories.grid(policies=["finetune", "scratch"])
IMAGES = 12


def jpeg(value: int, colour: bool) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB" if colour else "L", (8, 8), (value, 0, 0) if colour else value).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def filled(folder: Path, matrix: Matrix) -> Store:
    """Save records whose runs have left thumbnails, image k of the grey value 10 k."""
    store, ids = Store(folder / matrix.name), factories.image_ids(IMAGES)
    kept = []
    for colour in (True, False):
        jpegs = [jpeg(10 * k, colour) for k in range(IMAGES)]
        kept.append(exhibits.pack(f"thumbnails-{colour}", ids, jpegs))
    for spec in expand(matrix):
        record, predictions = factories.record_of(spec, correct(spec))
        thumbnails = kept[0 if spec.input_mode == "rgb" else 1]
        files = ExhibitFiles(thumbnails=thumbnails.name)
        store.save(record.model_copy(update={"exhibits": files}), predictions, (thumbnails,))
    return store


def correct(spec: RunSpec) -> np.ndarray:
    """Image 3 is wrong in grey alone, image 5 in colour alone, image 7 always."""
    missed = {7, 5 if spec.input_mode == "rgb" else 3}
    return np.array([int(k not in missed) for k in range(IMAGES)])


def shown(matrix: Matrix, store: Store) -> tuple[str, dict[str, Picture]]:
    results = factories.results_of(matrix, store)
    texts, figures = build.texts_and_pictures(results)
    return texts["report.md"].decode(), {picture.name: picture for picture in figures}


def pixel(text: str) -> tuple[str, float]:
    """Return a thumbnail's mode and its value in a corner."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return image.mode, float(np.asarray(image).reshape(64, -1)[0, 0])


def test_hardest_images_of_each_mode_and_of_colour_against_grey(tmp_path: Path) -> None:
    _, figures = shown(MATRIX, filled(tmp_path, MATRIX))
    rows = {row["title"]: row["images"] for row in figures["hardest-beans"].data}
    of = {title: [pixel(image["jpeg"]) for image in images] for title, images in rows.items()}
    assert list(of) == [
        *(f"{mode}: most often wrong" for mode in ("rgb", "grey-3ch", "grey-1ch")),
        *("rgb right, grey wrong", "grey right, rgb wrong"),
    ]
    assert {mode for mode, _ in of["rgb: most often wrong"]} == {"RGB"}
    assert {mode for mode, _ in of["grey-1ch: most often wrong"]} == {"L"}
    assert sorted(value for _, value in of["grey-1ch: most often wrong"]) == pytest.approx([30, 70], abs=3)
    assert [value for _, value in of["rgb right, grey wrong"]] == pytest.approx([30], abs=3)
    assert [value for _, value in of["grey right, rgb wrong"]] == pytest.approx([50], abs=3)
    assert rows["rgb right, grey wrong"][0]["lines"][2] == "wrong 12/12 against 0/6"


def test_the_licence_and_the_author_are_next_to_the_images(tmp_path: Path) -> None:
    text, figures = shown(MATRIX, filled(tmp_path, MATRIX))
    for name in ("hardest-beans", "modes-beans"):
        assert "Makerere AI Lab" in figures[name].caption
        assert "MIT" in figures[name].caption
        assert figures[name].caption in text


def test_the_figure_of_modes_holds_what_runs_recorded(tmp_path: Path) -> None:
    _, figures = shown(MATRIX, filled(tmp_path, MATRIX))
    assert [row["name"] for row in figures["modes-beans"].data["modes"]] == ["rgb", "grey-3ch", "grey-1ch"]
    assert figures["modes-beans"].data["span"] == 1.0
    for name in ("modes-beans", "hardest-beans"):
        assert b"<image" in figures[name].draw_files()[1]


def test_the_figure_of_modes_shows_maps_and_views_of_the_grey_copies(tmp_path: Path) -> None:
    matrix = factories.grid(policies=["scratch"], input_modes=["grey-3ch", "colormap", "views"], colormap="jet")
    text, figures = shown(matrix, filled(tmp_path, matrix))
    picture = figures["modes-beans"]
    assert [row.get("derived") for row in picture.data["modes"]] == [None, ["map", "jet"], ["views", "viridis"]]
    drawn = picture.draw_files()[1]
    for row in picture.data["modes"]:
        row.pop("derived", None)
    assert drawn != picture.draw_files()[1], "as if they were grey"
    assert "The views are those of the small copies." in picture.caption
    assert "colormap (jet)" in text


def test_each_size_shows_the_images_of_its_own_runs(tmp_path: Path) -> None:
    training = {"epochs": 6, "head_epochs": 2, "image_size": [96, 64]}
    matrix = factories.grid(policies=["scratch"], input_modes=["grey-1ch"], training=training)
    store = filled(tmp_path, matrix)
    other = exhibits.pack("thumbnails-64", factories.image_ids(IMAGES), [jpeg(200, colour=False)] * IMAGES)
    for spec in expand(matrix):
        if spec.image_size == 64:
            record, predictions = factories.record_of(spec, correct(spec))
            store.save(
                record.model_copy(update={"exhibits": ExhibitFiles(thumbnails=other.name)}), predictions, (other,)
            )
    _, figures = shown(matrix, store)
    for size, values in ((96, [30, 70]), (64, [200, 200])):
        (row,) = figures[f"hardest-beans--{size}-px"].data
        assert sorted(pixel(image["jpeg"])[1] for image in row["images"]) == pytest.approx(values, abs=3)
        examples = figures[f"modes-beans--{size}-px"].data["examples"]
        assert {pixel(example["grey"])[1] > 150 for example in examples} == {size == 64}


def test_without_thumbnails_the_report_says_why(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=["flowers102"], input_modes=["grey-1ch"], policies=["scratch"])
    text, figures = shown(matrix, factories.fill(tmp_path, matrix, factories.latent(images=110)))
    assert not [name for name in figures if name.startswith(("hardest", "modes"))]
    assert text.count("flowers102: no images are shown; licence: not stated; for research; no licence is stated") == 2
    lost = filled(tmp_path / "lost", MATRIX)
    for path in lost.exhibits.iterdir():
        path.unlink()
    assert "beans: no images are shown; its runs kept none, or their files" in shown(MATRIX, lost)[0]


def test_a_dataset_without_images_is_reported_if_its_name_begins_another_ones(tmp_path: Path) -> None:
    matrix = factories.grid(
        datasets=[{"name": "beans", "label": "a"}, {"name": "beans", "limit": 100, "label": "a-b"}],
        policies=["scratch"],
        seeds=[0],
    )
    store = filled(tmp_path, matrix)
    for spec in expand(matrix):
        if spec.dataset == "a":
            store.save(*factories.record_of(spec, correct(spec)))
    text, figures = shown(matrix, store)
    assert [name for name in figures if name.startswith(("hardest", "modes"))] == ["modes-a-b", "hardest-a-b"]
    assert text.count("- a: no images are shown") == 2
    assert "- a-b: no images" not in text


def test_figures_of_single_datasets_are_capped_and_the_cap_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmark.report.figures.charts.CELLS_DRAWN", 8)
    matrix = factories.grid(datasets=["beans", "elpv"], policies=["finetune", "scratch"], seeds=[0])
    text, figures = shown(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    assert {"curves-beans", "confusion-beans"} <= set(figures)
    assert not [name for name in figures if name.endswith("-elpv")]
    assert "are drawn for at most 8 cells: here for beans, 1 of 2." in text
    assert "| elpv | grey-1ch | scratch |" in text
