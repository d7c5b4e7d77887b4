"""The complete report: states, drift, determinism, escapes."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from benchmark.analysis import frames
from benchmark.analysis.contrasts import QUESTIONS
from benchmark.analysis.verdicts import differences
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.run_spec import CellKey, RunSpec
from benchmark.records.floor import FloorStore, floor_specs
from benchmark.records.store import Store
from benchmark.report import build
from benchmark.report.figures.charts import slug
from benchmark.report.text import points_with_interval
from tests import factories

MATRIX = factories.grid(datasets=["beans", "elpv"])
SMALL = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"])


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return factories.fill(tmp_path_factory.mktemp("results"), MATRIX, factories.latent())


@pytest.fixture(scope="module")
def small_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with its report, to be copied."""
    store = factories.fill(tmp_path_factory.mktemp("small"), SMALL, factories.latent())
    build.write(factories.results_of(SMALL, store), store.folder)
    return store.folder


@pytest.fixture
def small(small_report: Path, tmp_path: Path) -> Store:
    return Store(shutil.copytree(small_report, tmp_path / SMALL.name))


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_written_twice_it_is_the_same_and_agrees_with_its_records(small: Store) -> None:
    results = factories.results_of(SMALL, small)
    assert build.check(results, small.folder) == []
    before = {path: path.read_bytes() for path in small.folder.rglob("*") if path.is_file()}
    paths = build.write(results, small.folder)
    assert paths[0].name == "report.md"
    assert {path: path.read_bytes() for path in small.folder.rglob("*") if path.is_file()} == before
    assert sum(path.suffix == ".png" for path in paths) >= 3


@pytest.mark.parametrize(
    "name",
    [
        "report.md",
        "table.csv",
        "differences.csv",
        "floor.csv",
        "table.tex",
        "report.html",
        "figures.json",
        "figures/accuracy.svg",
    ],
)
def test_check_finds_one_changed_byte_anywhere(small: Store, name: str) -> None:
    results = factories.results_of(SMALL, small)
    path = small.folder / name
    content = path.read_bytes()
    for at in (len(content) // 3, len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        found = "report.html" if name.endswith(".svg") else name  # the page has the figure inside
        assert build.check(results, small.folder) == [f"{found}: changed"]
    path.write_bytes(content)
    assert build.check(results, small.folder) == []


def test_check_names_missing_and_surplus_files_and_write_replaces_them(small: Store) -> None:
    results = factories.results_of(SMALL, small)
    (small.folder / "table.csv").unlink()
    (small.folder / "figures" / "time.svg").unlink()
    (small.folder / "figures" / "old.png").write_bytes(b"")
    assert build.check(results, small.folder) == [
        "figures/time.svg: missing",
        "table.csv: missing",
        "figures/old.png: surplus",
    ]
    build.write(results, small.folder)
    assert build.check(results, small.folder) == []


def test_a_png_which_git_does_not_keep_is_no_difference_and_is_drawn_without_its_svg(small: Store) -> None:
    results, figures = factories.results_of(SMALL, small), small.folder / "figures"
    drawn = (figures / "time.png").read_bytes()
    (figures / "time.png").unlink()
    assert build.check(results, small.folder) == []
    kept = (figures / "time.svg").read_bytes() + b"\n"
    (figures / "time.svg").write_bytes(kept)
    build.write(results, small.folder)
    assert (figures / "time.png").read_bytes() == drawn
    assert (figures / "time.svg").read_bytes() == kept


def test_other_data_of_a_figure_is_a_difference(small: Store) -> None:
    spec = expand(SMALL)[0]
    other = factories.latent()(spec)
    other[:5] ^= 1
    small.save(*factories.record_of(spec, other))
    results = factories.results_of(SMALL, small)
    found = build.check(results, small.folder)
    assert {"report.md: changed", "table.csv: changed", "figures.json: changed"} <= set(found)
    build.write(results, small.folder)
    assert build.check(results, small.folder) == []


def test_a_figure_is_drawn_again_only_if_its_data_changed_or_a_file_is_missing(small: Store) -> None:
    results, digests = factories.results_of(SMALL, small), small.folder / "figures.json"
    accuracy, curves, time = (small.folder / "figures" / f"{name}.png" for name in ("accuracy", "curves-beans", "time"))

    def drawn_again() -> list[Path]:
        for path in (accuracy, curves, time):
            if path.is_file():
                path.write_bytes(b"kept")
        build.write(results, small.folder)
        assert build.check(results, small.folder) == []
        return [path for path in (accuracy, curves, time) if path.read_bytes() != b"kept"]

    assert drawn_again() == []
    time.unlink()
    digests.write_text(json.dumps(json.loads(digests.read_text()) | {"accuracy": "0" * 64}))
    assert drawn_again() == [accuracy, time]
    digests.write_bytes(b"{")
    assert drawn_again() == [accuracy, curves, time]


def test_figures_hold_no_date(small: Store) -> None:
    for path in (small.folder / "figures").iterdir():
        assert not re.search(rb"tIME|Matplotlib|dc:date", path.read_bytes())


def test_the_table_shows_means_and_intervals_that_the_csv_holds(filled: Store) -> None:
    made = factories.texts(MATRIX, filled)
    row = next(r for r in rows(made["table.csv"]) if (r["dataset"], r["policy"]) == ("elpv", "scratch"))
    mean, low, high = (100 * float(row[column]) for column in ("accuracy", "low_95", "high_95"))
    assert low < mean < high
    shown = f"{mean:.1f} ({low:.1f}–{high:.1f})"
    assert shown in made["report.md"]


def test_floor_rows_have_a_table_under_that_of_the_cells_and_are_lines_of_their_datasets_panel(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, MATRIX, factories.latent(100))
    for spec in floor_specs(expand(MATRIX)):
        accuracy = 0.6 if (spec.dataset, spec.method) == ("elpv", "1-nn") else 0.3
        row = factories.floor_row(spec, accuracy, accuracy, test_images=100)
        FloorStore(store.folder).save(row, factories.floor_predictions(row))
    results = factories.results_of(MATRIX, store)
    picture, *_ = build.texts_and_pictures(results)[1]
    lines = [(line["dataset"], line["method"], line["mean"], line["best"]) for line in picture.data["floor"]]
    assert lines == [
        ("beans", "majority", 0.3, True),
        ("elpv", "majority", 0.3, False),
        ("elpv", "1-nn", 0.6, True),
    ]
    beans, elpv = (panel for panel in picture.draw(picture.data).axes if panel.get_title() in ("beans", "elpv"))
    assert [text.get_text() for text in beans.texts] == ["majority"]
    assert [text.get_text() for text in elpv.texts][:1] == ["1-nn"]
    shown = factories.texts(MATRIX, store)["report.md"].partition("## Test accuracy")[2].partition("## Paired")[0]
    cells, _, floor = shown.partition("### Floor rows")
    assert "| beans | **majority ★** |  | 30.0 | 30.0 |" in floor
    assert "| elpv | **1-nn ★** |  | 60.0 | 60.0 |" in floor
    assert cells.count("| elpv | grey-") == 2
    assert "elpv: best floor row: 1-nn 60.0" in build.table(results)


def test_each_datasets_best_is_marked_once_and_colourless_rgb_is_not_applicable(filled: Store) -> None:
    made = factories.texts(MATRIX, filled)
    best = [(r["dataset"], float(r["accuracy"])) for r in rows(made["table.csv"]) if r["best_of_dataset"] == "yes"]
    for dataset in ("beans", "elpv"):
        own = [float(r["accuracy"]) for r in rows(made["table.csv"]) if r["dataset"] == dataset and r["accuracy"]]
        assert [mean for name, mean in best if name == dataset] == [max(own)] * own.count(max(own))
    assert "\nNot applicable: rgb on elpv (its images have no colour).\n" in made["report.md"]
    assert "| elpv | rgb |" not in made["report.md"]
    printed = build.table(factories.results_of(MATRIX, filled)).splitlines()
    assert [line.split()[:2] for line in printed if " rgb " in line] == [["beans", "rgb"]], "no row without a number"
    assert not any("n/a" in line for line in printed)
    absent = [r for r in rows(made["table.csv"]) if r["note"].startswith("not applicable")]
    assert [(r["dataset"], r["input_mode"]) for r in absent] == [("elpv", "rgb")] * 3


def test_the_matrixs_margin_reaches_the_report_and_changes_no_run(tmp_path: Path) -> None:
    matrices = [factories.grid(name=f"m{margin}", equivalence_margin=margin) for margin in (1.0, 30.0)]
    stores = [factories.fill(tmp_path, matrix, factories.latent()) for matrix in matrices]
    narrow, wide = (factories.texts(matrix, store) for matrix, store in zip(matrices, stores, strict=True))
    assert "are equivalent within 30 points on beans" in wide["report.md"]
    assert "no difference beyond" not in narrow["report.md"].partition("## Runs")[0]
    assert {r["equivalent_within_margin"] for r in rows(narrow["differences.csv"])} == {"no"}
    assert {r["equivalence_margin"] for r in rows(wide["differences.csv"])} == {"0.30000"}
    assert [spec.id for spec in expand(matrices[0])] == [spec.id for spec in expand(matrices[1])]


def test_without_a_done_run_it_says_so(tmp_path: Path) -> None:
    store = Store(tmp_path / "empty")
    results = factories.results_of(MATRIX, store)
    made = factories.texts(MATRIX, store)
    assert "No results yet" in made["report.md"]
    assert f"{len(results.plan.runs)} pending" in made["report.md"]
    build.write(results, store.folder)
    assert build.check(results, store.folder) == []
    assert "3 pending" in build.table(results)


def test_one_seed_gives_intervals_over_images_alone_and_no_verdict(tmp_path: Path) -> None:
    matrix = factories.grid(seeds=[7])
    made = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    assert {r["interval_over"] for r in rows(made["table.csv"])} == {"images"}
    assert "is better on" not in made["report.md"]
    assert "is better |" not in made["report.md"]
    assert "no verdict from 1 seed" in made["report.md"]


def test_dependent_test_images_are_reported_under_the_answer_if_a_run_is_done(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=["beans", "rps", {"name": "rps", "limit": 100, "label": "few"}])
    store = factories.fill(tmp_path, matrix, factories.latent(), keep=lambda spec: spec.dataset != "few")
    made = factories.texts(matrix, store)["report.md"]
    caution = made.partition("## The answer")[2].partition("## Recommendation")[0]
    assert "**Read with care, rps:** the 372 test images are 31 frames each of 12 rendered clips" in caution
    assert "assume independent images: the intervals are too narrow." in caution
    assert caution.count("Read with care") == 1
    assert "Read with care" not in made.partition("## The answer in detail")[2]
    only = factories.grid()
    made = factories.texts(only, factories.fill(tmp_path / "beans", only, factories.latent()))["report.md"]
    assert "Read with care" not in made


def test_several_cautions_are_one_line_under_the_answer_and_complete_in_its_details(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=["beans", "rps", "elpv"], seeds=[0], policies=["finetune", "scratch"])
    answer, _, details = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent()))[
        "report.md"
    ].partition("## The answer in detail")
    assert (
        "\n**Read with care:** rps and elpv; the intervals of rps and elpv are too narrow "
        "([the answer in detail](#the-answer-in-detail)).\n"
    ) in answer
    assert answer.count("Read with care") == 1
    assert "- **Read with care, rps:** the 372 test images are 31 frames each of 12 rendered clips" in details
    assert "- **Read with care, elpv:** " in details


def test_missing_failed_and_stale_runs_are_counted_named_and_lower_n(tmp_path: Path) -> None:
    matrix = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"])
    specs = expand(matrix)
    store = factories.fill(tmp_path, matrix, factories.latent(), keep=lambda spec: spec not in specs[1:4])
    store.save(factories.failed(specs[1]))
    stale, predictions = factories.record_of(specs[2], factories.latent()(specs[2]), protocol_version=0)
    store.save(stale, predictions)
    made = factories.texts(matrix, store)["report.md"]
    assert "6 runs asked for: 3 done, 1 failed, 1 stale, 1 pending." in made
    assert "failed, ValueError: a \\| reason" in made
    assert "(n=1)" in made
    assert "(n=2)" in made
    assert "## The answer\n\n**Preliminary:** 3 of 6 runs are done.\n" in made
    assert "inconclusive" not in made.partition("*Inconclusive*")[0]


def test_a_report_whose_runs_were_all_tried_is_incomplete_and_one_whose_runs_are_all_done_is_unmarked(
    tmp_path: Path, small: Store
) -> None:
    failing = expand(SMALL)[0]
    store = factories.fill(tmp_path / "failed", SMALL, factories.latent(), keep=lambda spec: spec != failing)
    store.save(factories.failed(failing))
    made = factories.texts(SMALL, store)["report.md"]
    assert "## The answer\n\n**Incomplete:** 5 of 6 runs are done.\n\n**Grey on three" in made
    assert "## The answer\n\n**Grey on three" in factories.texts(SMALL, small)["report.md"]


def test_readings_are_a_line_per_question_with_the_differences_and_seeds_of_the_report(filled: Store) -> None:
    results = factories.results_of(MATRIX, filled)
    channels = next(row for row in differences(results) if row.pooled and row.contrast.family == "channels")
    assert channels.interval is not None
    lines = build.readings(results).splitlines()
    assert [line.partition("?")[0] + "?" for line in lines] == list(QUESTIONS.values())[:4]
    points = points_with_interval(channels.interval)
    assert (
        "Grey on three channels or on one? "
        f"grey-3ch − grey-1ch {points} points on the mean of 2 datasets ({len(channels.seeds)} seeds)"
    ) in lines
    assert build.readings(factories.results_of(MATRIX, Store(filled.folder / "nothing"))) == ""


def test_a_damaged_record_is_named_on_top_and_left_out(small: Store) -> None:
    path = small.path(expand(SMALL)[2].id)
    path.write_bytes(path.read_bytes()[:-40])
    made = factories.texts(SMALL, small)["report.md"]
    assert "6 runs asked for: 5 done, 0 failed, 0 stale, 1 damaged, 0 pending." in made
    assert f"- `records/{path.name}`: " in made
    before = made.partition("## Recommendation")[0]
    assert f"**1 damaged record, left out of every number here:** `records/{path.name}` (see Runs)." in before
    assert "(n=2)" in made
    assert "report.md: changed" in build.check(factories.results_of(SMALL, small), small.folder)


def test_a_better_pretrained_network_is_called_better_and_twins_are_inconclusive(filled: Store) -> None:
    head = factories.texts(MATRIX, filled)["report.md"].partition("## Runs")[0]
    assert "finetune − scratch (mean of grey-3ch and grey-1ch): finetune is better on beans" in head
    twins = (
        r"grey-3ch against grey-1ch on the mean of 2 datasets \(−0\.2 ± 1\.\d\): inconclusive: about 3\d seeds would"
    )
    assert re.search(twins, head)
    assert "grey-3ch − grey-1ch (mean of finetune and finetune-whole): not judged on beans" in head


def test_the_answer_about_many_datasets_counts_them(tmp_path: Path) -> None:
    beans = [{"name": "beans", "limit": 100 + k, "label": f"set {k}"} for k in range(5)]
    matrix = factories.grid(datasets=beans, policies=["finetune", "scratch"], seeds=[0, 1])
    text = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent()))["report.md"]
    (sentence,) = (line for line in text.splitlines() if line.startswith("**Highest test accuracy:**"))
    counts = [int(number) for number in re.findall(r"on (\d) of 5", sentence)]
    assert sum(counts) == 5
    assert "set " not in sentence


def test_several_models_have_separate_figures_and_rows(tmp_path: Path) -> None:
    matrix = factories.grid(models=["timm/resnet18", "timm/tf_efficientnet_lite0"], policies=["finetune", "scratch"])
    store = factories.fill(tmp_path, matrix, factories.latent())
    results = factories.results_of(matrix, store)
    names = [picture.name for picture in build.texts_and_pictures(results)[1]]
    assert {f"accuracy--{slug(model)}" for model in ("timm/resnet18", "timm/tf_efficientnet_lite0")} <= set(names)
    found = rows(factories.texts(matrix, store)["differences.csv"])
    assert {r["model"] for r in found} == set(matrix.models)
    assert all(r["difference"] for r in found)


def test_several_sizes_have_figures_rows_and_answers_of_their_own(tmp_path: Path) -> None:
    training = {"epochs": 6, "head_epochs": 2}
    one, two = (
        factories.grid(training={**training, "image_size": size}, policies=["finetune", "scratch"])
        for size in (96, [96, 64])
    )
    store = factories.fill(tmp_path, two, factories.latent())
    names = {picture.name for picture in build.texts_and_pictures(factories.results_of(two, store))[1]}
    kinds = ("accuracy", "differences", "time", "curves-beans", "confusion-beans")
    assert names == {f"{kind}--{size}-px" for kind in kinds for size in (96, 64)}
    shown = factories.texts(two, store)["report.md"]
    answer = shown.partition("## The answer in detail")[0]
    for size in (96, 64):
        assert re.search(rf"finetune is better than scratch by [\d.]+ ± [\d.]+ points on beans at {size} px", answer)
        assert f"### beans, {size} px\n" in shown
        assert f"| beans | {size} px | finetune − scratch |" in shown.replace("**", "")
    assert re.search(r"For \*\*beans\*\* take grey-\dch with \w+ \((96|64) px\)\.", answer)
    assert "| image size | input mode | finetune | scratch |" in shown
    assert "timm/tf\\_efficientnet\\_lite0, 96 and 64 px, at most" in shown
    assert "| 96, 64 | 224 (here" in shown
    for size, kilobytes in ((96, "36.9"), (64, "16.4")):
        cost = next(line for line in shown.splitlines() if f"| {size} px | grey-1ch | scratch | 15." in line)
        assert f"| {kilobytes} |" in cost
    alone = factories.texts(one, store)["report.md"]
    assert "image size |" not in alone
    assert "96 px |" not in alone
    assert "beans at" not in alone


def test_cells_that_the_matrix_leaves_out_have_no_row_no_comparison_and_no_figure(tmp_path: Path) -> None:
    matrix = factories.grid(
        training={"epochs": 6, "head_epochs": 2, "image_size": [96, 64]},
        policies=["finetune", "scratch"],
        exclude=[{"policy": "scratch", "image_size": 64}, {"input_mode": "rgb", "image_size": 64}],
    )
    files = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    every_row = re.findall(r"^\| beans \| (\d+) px \| (rgb|grey-.ch) \| (.+) \|", files["report.md"], re.MULTILINE)
    assert [(size, mode, "left out" in cells) for size, mode, cells in every_row[:5]] == [
        ("96", "rgb", False),
        ("96", "grey-3ch", False),
        ("96", "grey-1ch", False),
        ("64", "grey-3ch", True),
        ("64", "grey-1ch", True),
    ]
    assert {(r["image_size"], r["policy"]) for r in rows(files["table.csv"])} == {
        ("96", "finetune"),
        ("96", "scratch"),
        ("64", "finetune"),
    }
    compared = [(r["image_size"], r["first"], r["second"]) for r in rows(files["differences.csv"])]
    assert ("96", "finetune", "scratch") in compared
    assert {(first, second) for size, first, second in compared if size == "64"} == {("grey-3ch", "grey-1ch")}


def test_names_cannot_break_the_markdown(tmp_path: Path) -> None:
    label = "a_b*c<script>`[x](y)`"
    matrix = factories.grid(datasets=[{"name": "beans", "label": label}])
    made = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent()))["report.md"]
    assert "<script>" not in made
    assert "a\\_b\\*c\\<script\\>\\`\\[x\\](y)\\`" in made


def test_a_cell_without_an_error_is_not_printed_as_certain(tmp_path: Path) -> None:
    matrix = factories.grid()
    made = factories.texts(matrix, factories.fill(tmp_path, matrix, lambda spec: np.ones(128, dtype=np.int64)))
    about_accuracy = made["report.md"].partition("## Other scores")[0]
    assert "100.0 (97.0–100.0)" in about_accuracy
    assert "± 2.3" in about_accuracy
    assert "± 0.0" not in about_accuracy


def test_records_in_another_order_on_disk_give_the_same_bytes(tmp_path: Path, filled: Store) -> None:
    again = Store(tmp_path / MATRIX.name)
    correct = factories.latent()

    def save(spec: RunSpec) -> None:
        again.save(*factories.record_of(spec, correct(spec)))

    for spec in reversed(expand(MATRIX)):
        save(spec)
    assert factories.texts(MATRIX, again) == factories.texts(MATRIX, filled)


def test_analysis_and_report_start_without_torch() -> None:
    code = "import sys, benchmark.report, benchmark.analysis.differences; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_runs_parquet_has_one_row_a_run_and_every_field(tmp_path: Path) -> None:
    specs = expand(SMALL)
    store = factories.fill(tmp_path, SMALL, factories.latent(), keep=lambda spec: spec != specs[0])
    store.save(factories.failed(specs[1]))
    plan = factories.results_of(SMALL, store).plan
    content = build.encode_runs(frames.runs(plan))
    frame = pd.read_parquet(io.BytesIO(content))
    assert list(frame["id"]) == [spec.id for spec in specs]
    assert list(frame["state"]) == ["pending", "failed", *["done"] * 4]
    assert frame["reason"][1] == "ValueError: a | reason"
    record = plan.runs[-1].record
    assert record is not None
    assert record.timing is not None
    assert frame["timing.train_seconds"].iloc[-1] == record.timing.train_seconds
    assert json.loads(frame["history"].iloc[-1])[0]["epoch"] == 0
    assert build.runs_agree(content, frames.runs(plan))


def test_runs_parquet_of_another_pandas_agrees(small: Store) -> None:
    frame = frames.runs(factories.results_of(SMALL, small).plan)
    buffers = []
    for text in (pa.string(), pa.large_string()):  # of pandas 2, and of 3
        table = pa.Table.from_pandas(frame, preserve_index=False)
        types = [text if field.type in (pa.string(), pa.large_string()) else field.type for field in table.schema]
        buffers.append(io.BytesIO())
        write_table(table.cast(pa.schema(zip(table.column_names, types, strict=True))), buffers[-1])
    assert all(build.runs_agree(buffer.getvalue(), frame) for buffer in buffers)
    assert not build.runs_agree(buffers[0].getvalue(), frame.assign(id="another"))


def test_another_number_in_runs_parquet_is_drift(small: Store) -> None:
    results = factories.results_of(SMALL, small)
    path = small.folder / "runs.parquet"
    frame = pd.read_parquet(path)
    frame["test.accuracy"] += 1e-12
    frame.to_parquet(path, index=False)
    assert build.check(results, small.folder) == ["runs.parquet: changed"]
    path.write_bytes(b"PAR1")
    assert build.check(results, small.folder) == ["runs.parquet: changed"]


def test_the_latex_table_has_the_same_cells_as_the_report(filled: Store) -> None:
    made = factories.texts(MATRIX, filled)
    cells = [line.split(" & ") for line in made["table.tex"].splitlines() if line.endswith(r" \\")]
    assert len(cells) == 1 + 5
    in_latex = sorted(re.findall(r"[\d.]+ \([\d.]+--[\d.]+\)", made["table.tex"]))
    comparison = made["report.md"].partition("## Test accuracy")[2].partition("## Recommendation")[0]
    in_report = sorted(re.findall(r"[\d.]+ \([\d.]+–[\d.]+\)", comparison))
    assert [text.replace("--", "–") for text in in_latex] == in_report
    assert len(in_report) == 15


def test_the_settings_say_what_is_the_articles_and_what_is_our_choice(filled: Store) -> None:
    shown = factories.texts(MATRIX, filled)["report.md"].partition("### Settings")[2]
    lines = {parts[1].strip(): parts[2:4] for line in shown.splitlines() if len(parts := line.split("|")) == 5}
    assert [text.strip() for text in lines["batch size"]] == ["32", "the same"]
    assert [text.strip() for text in lines["epochs of a run, at most"]] == ["8", "60 (here: our choice)"]
    assert [text.strip() for text in lines["augmentation (training images)"]] == ["hflip", "the same"]
    assert [text.strip() for text in lines["weight decay"]] == ["0.01", "our choice"]
    assert [text.strip() for text in lines["dataset beans"]] == ["beans, all training images", "the same"]


def test_no_path_of_this_machine_is_in_a_report_on_a_folder(tmp_path: Path) -> None:
    entry = {"name": f"folder:{tmp_path}/photos", "content": "ab" * 32, "colour": False}
    matrix = factories.grid(datasets=[entry], input_modes=["grey-3ch", "grey-1ch"])
    made = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    assert "photos" in made["report.md"]
    assert not [name for name, text in made.items() if str(tmp_path) in text]


def test_recall_and_cost_are_those_of_the_cell(filled: Store) -> None:
    shown = factories.texts(MATRIX, filled)["report.md"]
    results = factories.results_of(MATRIX, filled)
    cell = results.by_key[CellKey("elpv", "grey-1ch", "scratch", "timm/tf_efficientnet_lite0", 96)]
    assert cell.confusion.sum() == 3 * 128
    functional = 100 * cell.confusion[0, 0] / cell.confusion[0].sum()
    elpv = shown.partition("### Recall by class")[2].partition("### elpv")[2].partition("## Other scores")[0]
    row = next(line for line in elpv.splitlines() if line.startswith("| grey-1ch | scratch"))
    assert f"| {functional:.1f} |" in row
    cost = next(line for line in shown.splitlines() if line.startswith("| elpv | grey-1ch | scratch | 15."))
    assert "36.9" in cost  # one channel of 96 x 96 pixels in fp32


def test_a_roc_auc_of_test_images_of_one_class_is_left_empty(tmp_path: Path) -> None:
    made = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"])
    files = factories.texts(made, factories.fill(tmp_path, made, factories.latent(images=1)))
    for row in csv.DictReader(files["table.csv"].splitlines()):
        assert row["balanced_accuracy"] != row["roc_auc"] == row["roc_auc_half_width_95"] == ""
    assert files["report.md"].count(" ± ? |  | ") == 2 + 1  # cells, and their difference


def test_many_classes_are_cut_to_the_hardest_and_that_is_said(tmp_path: Path) -> None:
    matrix = factories.grid(datasets=["pets"], input_modes=["grey-1ch"], policies=["finetune"])
    shown = factories.texts(matrix, factories.fill(tmp_path, matrix, factories.latent(images=370)))["report.md"]
    assert "The 12 classes of lowest mean recall, of 37." in shown


def test_claims_get_their_verdicts_in_the_report(filled: Store) -> None:
    shown = (
        factories.texts(MATRIX, filled)["report.md"]
        .partition("## Published claims and figures")[2]
        .partition("## How it was")[0]
    )
    assert "beats training from scratch**: supported in 6 of 6 comparisons." in shown
    assert "beats changing the model (grey-1ch)**: undecided in 3 of 3 comparisons." in shown
    assert "| elpv | finetune − scratch | mean of grey-3ch and grey-1ch | supported | no |" in shown


def recommended(made: Matrix, store: Store) -> tuple[str, dict[str, str]]:
    """Return the sentence and the table of the only recommendation in a report."""
    shown = factories.texts(made, store)["report.md"].partition("## Recommendation\n\n")[2].partition("## ")[0]
    sentence, *rest = shown.splitlines()
    return sentence, {parts[1].strip(): parts[2].strip() for line in rest if len(parts := line.split("|")) == 4}


def test_the_recommendation_is_a_grey_cell_chosen_on_validation(tmp_path: Path) -> None:
    matrix = factories.grid(policies=["finetune", "scratch"])
    store = factories.fill(tmp_path, matrix, factories.latent())
    for spec in expand(matrix):
        record, predictions = factories.record_of(spec, factories.latent()(spec))
        assert record.validation is not None
        chosen = (spec.input_mode, spec.policy) == ("grey-1ch", "scratch")
        validation = record.validation.model_copy(update={"accuracy": 0.99 if chosen else 0.5})
        store.save(record.model_copy(update={"validation": validation}), predictions)
    sentence, facts = recommended(matrix, store)
    assert sentence == "For **beans** take grey-1ch with scratch."
    assert facts["take"] == "grey-1ch with scratch"
    assert re.fullmatch(r"99\.0 % on validation, 5\d\.\d \(.*\) % on test", facts["accuracy"])
    assert facts["chosen as"] == "the highest validation accuracy of the 4 grey cells"
    assert facts["cost"] == "19 s a run"
    assert facts["lead"] == "none"
    assert facts["behind"].startswith("grey-3ch with finetune (−")
    assert facts["behind"].endswith("15 s): test contradicts validation")


def test_the_recommendation_leads_the_next_best_cell_that_is_not_tied_and_names_those_that_are(tmp_path: Path) -> None:
    matrix = factories.grid(input_modes=["grey-1ch"], policies=["finetune", "finetune-whole", "scratch", "bn-only"])
    wrong = {"finetune": 10, "finetune-whole": 10, "bn-only": 40, "scratch": 70}
    first = {"finetune": 0, "finetune-whole": 10, "bn-only": 20, "scratch": 20}

    def correct(spec: RunSpec) -> np.ndarray:
        at = np.arange(128) - first[spec.policy]
        return np.where((at >= 0) & (at < wrong[spec.policy]), 0, 1)

    sentence, facts = recommended(matrix, factories.fill(tmp_path, matrix, correct))
    assert sentence == "For **beans** take grey-1ch with finetune."
    assert facts["chosen as"].endswith("of the 4 grey cells, shared with grey-1ch with finetune-whole")
    assert re.fullmatch(r"over grey-1ch with bn-only \(\+23\.4 ± .*, 19 s\), the next best of 2 cells", facts["lead"])
    assert re.fullmatch(r"grey-1ch with finetune-whole \(0\.0 ± \d.*, 20 s\)", facts["tied with"])
    assert "behind" not in facts


def test_a_recommendation_from_two_seeds_is_a_first_impression_without_comparisons(tmp_path: Path) -> None:
    matrix = factories.grid(seeds=[0, 1])
    sentence, facts = recommended(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    assert sentence.endswith(": with 2 seeds this is only a first impression.")
    assert set(facts) == {"take", ":---", "accuracy", "chosen as", "cost"}


def test_the_recommendation_names_the_best_floor_row_first_if_no_network_is_better_on_validation(
    tmp_path: Path,
) -> None:
    matrix = factories.grid(policies=["finetune", "scratch"], input_modes=["grey-1ch"])
    store = factories.fill(tmp_path, matrix, factories.latent(100))
    fingerprint = next(iter(factories.results_of(matrix, store).plan.done)).dataset.fingerprint
    for validation, says, head in (
        (0.6, "For **beans** take grey-1ch with finetune.", "take"),
        (
            0.99,
            "For **beans** take logistic on grey thumbnails, a floor row: no network is better on validation. "
            "The best network is grey-1ch with finetune.",
            "best network",
        ),
    ):
        for spec in floor_specs(expand(matrix)):
            of_method = validation if spec.method == "logistic" else 0.3
            row = factories.floor_row(spec, of_method, fingerprint=fingerprint, test_images=100)
            FloorStore(store.folder).save(row, factories.floor_predictions(row))
        sentence, facts = recommended(matrix, store)
        assert sentence == says
        assert facts[head] == "grey-1ch with finetune"
        on_both = f"logistic on grey thumbnails: {100 * validation:.1f} % on validation, 50.0 % on test"
        assert re.fullmatch(
            rf"{re.escape(on_both)}; the network is \+4\d\.\d ± \d+\.\d points ahead of it", facts["best floor row"]
        )


def test_a_recommendation_among_many_cells_counts_those_it_is_tied_with_and_names_the_cheapest(tmp_path: Path) -> None:
    matrix = factories.grid(training={"epochs": 6, "head_epochs": 2, "image_size": [96, 64, 32]})
    store = factories.fill(tmp_path, matrix, lambda spec: factories.latent()(spec.model_copy(update={"seed": 0})))
    assert re.fullmatch(r"\d+ others; none is cheaper", recommended(matrix, store)[1]["tied with"])


def test_on_a_terminal_the_answer_and_the_recommendation_fit_100_columns(filled: Store) -> None:
    results = factories.results_of(MATRIX, filled)
    shown = build.recommendation(results)
    assert max(map(len, f"{shown}\n{build.answer_text(results)}".splitlines())) <= 100
    lines = [line.split("  ")[1] for line in shown.splitlines() if re.match("  [a-z]", line)]
    assert lines == 2 * ["accuracy", "chosen as", "cost", "lead", "tied with"]
    assert "±\n" not in shown


def test_the_answer_comes_first_in_the_report_and_in_its_page(small: Store) -> None:
    results = factories.results_of(SMALL, small)
    answer = " ".join(build.answer_text(results).split())
    page = re.sub("<[^>]+>", " ", (small.folder / "report.html").read_text(encoding="utf-8").partition("<main>")[2])
    for text in (page, (small.folder / "report.md").read_text(encoding="utf-8").replace("**", "")):
        assert " ".join(text.partition("The answer")[2].split()).startswith(answer.partition(": ")[0])
