"""Seeds that are taken until a dataset is settled: what is decided from which records, and what a report says of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis import looks
from benchmark.analysis.verdicts import differences, headlines
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix, UntilSettled
from benchmark.matrix.run_spec import RunSpec
from benchmark.records import looks as looks_file
from benchmark.records.plan import make_plan
from benchmark.records.store import Store
from benchmark.report import build
from tests import factories

RULE = {"at_least": 3, "at_most": 6, "until": "settled"}
IMAGES = 600


def made(**changes: object) -> Matrix:
    """Return a matrix of two datasets with one question: head first against everything, and cells that moderate it."""
    policies = ["finetune", "finetune-whole", "freeze-early", "discriminative"]
    asked = {"datasets": ["beans", "rps"], "input_modes": ["grey-1ch"], "policies": policies}
    return factories.grid(**{**asked, "seeds": RULE, **changes})


def correct(spec: RunSpec) -> np.ndarray:
    """Return which images a run has right: 20 points more with `finetune` on beans, and four on rps."""
    random = np.random.default_rng([4, *spec.id.encode()])
    shared = np.random.default_rng([5, *spec.dataset.encode()]).random(IMAGES)
    share = 0.7 + random.normal() * {"beans": 0.01, "rps": 0.02}[spec.dataset]
    share -= {"beans": 0.2, "rps": 0.04}[spec.dataset] * (spec.policy == "finetune-whole")
    return (shared < share).astype(np.int64)


def fill(folder: Path, seeds: int, matrix: Matrix | None = None) -> Store:
    return factories.fill(folder, matrix or made(), correct, lambda spec: spec.seed < seeds)


def planned(matrix: Matrix, store: Store) -> dict[str, int]:
    """Return the number of seeds that each dataset takes."""
    plan = make_plan(matrix, store)
    return {title: len({run.spec.seed for run in plan.runs if run.spec.dataset == title}) for title in ("beans", "rps")}


def test_a_dataset_takes_the_first_seeds_and_one_more_only_while_a_question_is_open(tmp_path: Path) -> None:
    matrix = made()
    assert planned(matrix, Store(tmp_path / matrix.name)) == {"beans": 3, "rps": 3}
    store = fill(tmp_path, 3)
    looks.update(matrix, store)
    assert planned(matrix, store) == {"beans": 3, "rps": 4}
    found = looks_file.read(store.folder)
    assert [look.seeds for look in found["beans"]] == [3]
    assert found["beans"][0].rows[0].reading == "first"
    assert found["rps"][0].rows[0].reading == "open"
    fill(tmp_path, 6)
    looks.update(matrix, store)
    assert planned(matrix, store)["beans"] == 3
    assert [look.seeds for look in looks_file.read(store.folder)["rps"]] == list(
        range(3, planned(matrix, store)["rps"] + 1)
    )


def test_looks_follow_from_the_records_alone_whatever_was_on_disk_and_whoever_made_them(tmp_path: Path) -> None:
    matrix, step_by_step, at_once = made(), tmp_path / "a", tmp_path / "b"
    for seeds in range(3, 7):
        looks.update(matrix, fill(step_by_step, seeds))
    looks.update(matrix, fill(at_once, 6))
    a, b = ((folder / matrix.name / looks_file.FILE).read_bytes() for folder in (step_by_step, at_once))
    assert a == b
    store = Store(at_once / matrix.name)
    (store.folder / looks_file.FILE).unlink()
    shown = looks.load_current(matrix, store)
    assert {run.spec.seed for run in shown.plan.runs if run.spec.dataset == "beans"} == {0, 1, 2}
    assert looks_file.encode(looks.take(shown)) == a


def test_a_seed_that_lacks_one_run_is_not_looked_at(tmp_path: Path) -> None:
    matrix = made()
    last = expand(matrix)[-1]
    store = factories.fill(tmp_path, matrix, correct, lambda spec: spec.seed < 4 and spec.id != last.id)
    missing = next(spec for spec in expand(matrix) if spec.dataset == "rps" and spec.seed == 3)
    store.path(missing.id).unlink()
    looks.update(matrix, store)
    assert [look.seeds for look in looks_file.read(store.folder)["rps"]] == [3]


def test_headlines_share_the_error_of_a_report_and_nothing_else_is_judged(tmp_path: Path) -> None:
    matrix = made(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune", "finetune-whole", "scratch"])
    store = factories.fill(tmp_path, matrix, correct, lambda spec: spec.seed < 3)
    results = looks.load_current(matrix, store)
    assert sum(each.level or 0 for each in headlines(results)) == pytest.approx(0.05)
    found = differences(results)
    assert not any(each.pooled for each in found)
    assert {each.contrast.headline for each in found if each.level is not None} == {True}


def test_a_report_judges_at_the_levels_of_the_look_and_adjusts_the_interval_whose_verdict_ended_the_seeds(
    tmp_path: Path,
) -> None:
    matrix = made()
    looks.update(matrix, store := fill(tmp_path, 6))
    results = looks.load_current(matrix, store)
    seen = looks_file.read(store.folder)
    for each in differences(results):
        if each.contrast.headline:
            row = seen[each.contrast.dataset][-1].rows[0]
            assert each.level == pytest.approx(row.level, rel=1e-5)
            assert each.equivalence_level == pytest.approx(row.level_equivalence, rel=1e-5)
            assert each.interval is not None
            assert each.interval.half_width is not None
            assert each.interval.standard_error == pytest.approx(row.standard_error, rel=1e-5)
            assert each.has_verdict == (row.reading not in ("open", "futile"))


def test_the_report_says_the_rule_and_the_seeds_and_its_check_finds_a_changed_look(tmp_path: Path) -> None:
    matrix = made(datasets=["beans"])
    store = factories.fill(tmp_path, matrix, correct, lambda spec: spec.seed < 3)
    store.matrix.write_text(file.dump(matrix))
    results = looks.load_current(matrix, store)
    build.write(results, store.folder)
    text = (store.folder / "report.md").read_text()
    assert "beans is settled after 3 seeds" in text
    assert "mean over 3 to 6 seeds" in text
    assert "| seeds| 3, then one more at a time until the dataset is settled, at most 6|" in text.replace(
        "  ", ""
    ).replace(" |", "|")
    assert build.check(results, store.folder) == []
    path = store.folder / looks_file.FILE
    path.write_text(path.read_text().replace('"first"', '"second"', 1))
    assert build.check(results, store.folder) == ["looks.json: changed"]


def test_damaged_looks_are_one_message_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / looks_file.FILE).write_text('{"beans": [{"seeds": "three"}]}')
    with pytest.raises(UserError, match=r"looks\.json: cannot be read .* Delete it: `run` computes it again"):
        looks_file.read(tmp_path)


def test_the_rule_is_kept_in_the_matrix_file_and_changes_no_id() -> None:
    matrix = made()
    assert isinstance(matrix.seeds, UntilSettled)
    ids = [spec.id for spec in expand(matrix)]
    assert ids == [spec.id for spec in expand(made(seeds=[0, 1, 2, 3, 4, 5]))]
    assert "seeds: {at_least: 3, at_most: 6, until: settled}" in file.dump(matrix)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seeds={at_least: 2, at_most: 9, until: settled}", "seeds: at_least must be 3 or more, and at_most above it"),
        ("seeds={at_least: 3, at_most: 3, until: settled}", "seeds: at_least must be 3 or more, and at_most above it"),
        ("seeds={at_least: 3, until: settled}", "seeds: give a list, or {at_least: 3, at_most: 12, until: settled}"),
        ("seeds={at_least: 3, at_most: 9, until: tired}", "seeds: until: 'tired' is not accepted; write settled"),
    ],
)
def test_a_wrong_rule_is_refused_with_the_right_form(change: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        file.load(file.find("quick"), [change])
    assert message in str(error.value)


@pytest.mark.parametrize(("key", "value"), [("evaluation", "folds"), ("split_seed", "seed")])
def test_seeds_with_test_images_of_their_own_are_refused(key: str, value: str) -> None:
    rule = f"seeds={json.dumps(RULE)}"
    with pytest.raises(UserError, match=f"{key}: {value} needs a list of seeds"):
        file.load(file.find("quick"), [rule, f"{key}={value}"])
