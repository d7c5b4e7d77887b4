"""The report's part on learning rates that were chosen: grid, choice and what each rate reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark.matrix.matrix import Matrix
from benchmark.matrix.tuning import tuning_runs
from benchmark.records.plan import make_plan
from benchmark.records.store import Store
from tests import factories

REACHED = {3e-4: 0.70, 1e-3: 0.80, 3e-3: 0.90}
MATRIX = factories.grid(
    seeds=[0, 1], tune_seeds=[100, 101], training={**factories.GRID["training"], "lr": list(REACHED)}
)


def tuned(folder: Path, made: Matrix = MATRIX, leave_out: str = "") -> Store:
    """Save every tuning run but those of a policy, then the reported runs that do not wait."""
    store = Store(folder / made.name)
    for spec in tuning_runs(made):
        assert spec.trial is not None
        if spec.policy == leave_out:
            continue
        if (spec.policy, spec.trial.lr, spec.seed) == ("finetune", 3e-3, 100):
            store.save(factories.failed(spec, status="diverged"))
            continue
        store.save(factories.tuned(spec, accuracy=REACHED[spec.trial.lr] - (spec.seed == 101) * 0.1))
    for run in make_plan(made, store).runs:
        if run.state == "pending":
            store.save(*factories.record_of(run.spec, factories.latent()(run.spec)))
    return store


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return factories.texts(MATRIX, tuned(tmp_path_factory.mktemp("tuned"), leave_out="scratch"))


def section(text: str) -> str:
    return text.partition("\n## Learning rates\n")[2].partition("\n## ")[0]


def test_the_report_has_what_each_rate_reached_and_the_chosen_one_in_bold(texts: dict[str, str]) -> None:
    rows = [line for line in section(texts["report.md"]).splitlines() if line.startswith("| ")]
    assert rows[0] == "| dataset | policy | 0.0003 | 0.001 | 0.003 |"
    assert rows[2:] == [
        "| beans | finetune | 65.0 | **75.0** | 3 of 6 diverged |",
        "| beans | finetune-whole | 65.0 | 75.0 | **85.0** |",
        "| beans | scratch | (0 of 6 done) | (0 of 6 done) | (0 of 6 done) |",
    ]
    assert "with seeds of their own (100, 101)" in section(texts["report.md"])
    assert "In 1 of 3 rows it is at an end of the list" in section(texts["report.md"])


def test_tuning_csv_has_one_row_per_group_and_rate(texts: dict[str, str]) -> None:
    header, *rows = texts["tuning.csv"].splitlines()
    assert header.startswith("dataset,model,image_size,policy,fold,lr,chosen,tuning_runs_asked,tuning_runs_done,")
    assert len(rows) == 9
    assert rows[4] == "beans,timm/tf_efficientnet_lite0,96,finetune-whole,,0.001,no,6,6,0,0.75000,0.50000"


def test_runs_that_wait_are_counted_and_have_no_number(texts: dict[str, str]) -> None:
    assert "18 runs asked for: 12 done, 0 failed, 0 stale, 0 pending, 6 waiting." in texts["report.md"]
    row = next(line for line in texts["report.md"].splitlines() if line.startswith("| beans | grey-1ch |"))
    assert row.endswith("| 2 waiting |")
    settings = next(line for line in texts["report.md"].splitlines() if line.startswith("| learning rate of the first"))
    assert "| 0.0003, 0.001, 0.003 |" in settings


def test_nothing_of_it_stands_in_the_report_of_a_matrix_with_one_rate(tmp_path: Path) -> None:
    made = factories.grid(input_modes=["grey-1ch"], seeds=[0, 1, 2])
    texts = factories.texts(made, factories.fill(tmp_path, made, factories.latent()))
    assert "tuning.csv" not in texts
    for word in ("Learning rates", "tuning", "waiting"):
        assert word not in texts["report.md"]


def test_the_numbers_of_a_tuned_matrix_are_those_of_the_same_runs_with_the_rate_given(tmp_path: Path) -> None:
    made = MATRIX.model_copy(update={"policies": ("finetune-whole",)})
    store = tuned(tmp_path, made)
    given = factories.grid(
        seeds=[0, 1], policies=["finetune-whole"], training={**factories.GRID["training"], "lr": 3e-3}
    )
    with_choice, without = factories.texts(made, store), factories.texts(given, store)
    for name in ("table.csv", "differences.csv", "table.tex"):
        assert with_choice[name] == without[name]
