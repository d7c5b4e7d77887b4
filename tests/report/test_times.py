from __future__ import annotations

import csv
import io
from pathlib import Path

from benchmark.matrix.expand import expand
from benchmark.records.store import Store
from benchmark.report import build
from benchmark.report.figures.draw import _marker
from tests import factories

MATRIX = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"])
SLOWED = 10.0
"""Times as long as undisturbed ones: what a run that waited took."""


def measured(folder: Path, contended: set[tuple[str, int]]) -> Store:
    """Fill a store in which the runs of these modes and seeds were slow because they waited."""
    store = factories.fill(folder, MATRIX, factories.latent())
    for spec in expand(MATRIX):
        record, predictions = factories.record_of(spec, factories.latent()(spec))
        assert record.timing is not None
        waited = (spec.input_mode, spec.seed) in contended
        seconds = 40.0 * (SLOWED if waited else 1)
        timing = record.timing.model_copy(
            update={
                "contended": waited,
                "train_seconds": seconds,
                "total_seconds": seconds + 5,
                "train_images_per_second": 8000 / seconds,
                "eval_images_per_second": 20000 / seconds,
            }
        )
        store.save(record.model_copy(update={"timing": timing}), predictions)
    return store


def cost_row(shown: str, mode: str) -> list[str]:
    section = shown.partition("## Accuracy against cost")[2].partition("## Confusion")[0]
    (row,) = [line for line in section.splitlines() if line.startswith(f"| beans | {mode} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_runs_that_waited_for_a_processor_do_not_count_in_mean_times(tmp_path: Path) -> None:
    files = factories.texts(MATRIX, measured(tmp_path, {("grey-3ch", 1)}))
    assert cost_row(files["report.md"], "grey-3ch")[3:6] == ["40.0", "200", "500"]
    assert ", 45 s" in files["report.md"]
    assert "Not drawn" not in files["report.md"]
    (row,) = [row for row in csv.DictReader(io.StringIO(files["table.csv"])) if row["input_mode"] == "grey-3ch"]
    assert (row["train_seconds"], row["contended_runs"]) == ("40.00", "1")


def test_a_cell_of_which_every_run_waited_has_bounds_and_is_not_drawn(tmp_path: Path) -> None:
    files = factories.texts(MATRIX, measured(tmp_path, {("grey-3ch", seed) for seed in (0, 1, 2)}))
    assert cost_row(files["report.md"], "grey-3ch")[3:6] == ["≤ 400.0", "≥ 20", "≥ 50"]
    assert cost_row(files["report.md"], "grey-1ch")[3:6] == ["40.0", "200", "500"]
    assert "at most 6.8 min" in files["report.md"]
    assert "Not drawn: 1 cell in which every run waited." in files["report.md"]
    for row in csv.DictReader(io.StringIO(files["table.csv"])):
        assert row["train_seconds"] == ("" if row["input_mode"] == "grey-3ch" else "40.00")


def test_without_one_undisturbed_run_there_is_no_figure_of_times(tmp_path: Path) -> None:
    everything = {(spec.input_mode, spec.seed) for spec in expand(MATRIX)}
    store = measured(tmp_path, everything)
    results = factories.results_of(MATRIX, store)
    shown, pictures = build.texts_and_pictures(results)
    assert "time" not in {picture.name for picture in pictures}
    assert "figures/time" not in shown["report.md"].decode()
    assert cost_row(shown["report.md"].decode(), "grey-1ch")[3] == "≤ 400.0"


def test_runs_whose_waiting_is_unknown_count_as_undisturbed(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, MATRIX, factories.latent())
    for spec in expand(MATRIX):
        record, predictions = factories.record_of(spec, factories.latent()(spec))
        assert record.timing is not None
        unknown = record.timing.model_copy(update={"contended": None})
        store.save(record.model_copy(update={"timing": unknown}), predictions)
    files = factories.texts(MATRIX, store)
    assert "≤" not in " ".join(cost_row(files["report.md"], "grey-1ch"))


def test_policies_of_one_figure_have_markers_of_their_own() -> None:
    policies = ["feature-extract", "stem-third", "finetune-whole", "stem-threefold"]
    assert len({_marker(policy, policies) for policy in policies}) == 4
    assert _marker("finetune-whole", policies) == _marker("finetune-whole", ["finetune-whole"])
