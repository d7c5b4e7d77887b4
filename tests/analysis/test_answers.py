"""The questions that were asked before the first run, and their answers over the test sets of several results."""

from __future__ import annotations

import hashlib
import json
import statistics
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis import frames
from benchmark.analysis.verdicts import differences
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import list_cells
from benchmark.matrix.run_spec import CellKey, RunSpec
from benchmark.records.floor import FloorStore, floor_specs
from benchmark.records.store import Store
from benchmark.report import build
from experiments.studies import answers as study
from experiments.studies import recompute
from tests import factories

QUESTIONS = """
score: accuracy
margin: 1.0
pooled: the mean
learning_rate: as it is
model: timm/tf_efficientnet_lite0
image_size: 96
test_sets:
  both: {photos: [beans, rps], cells: [elpv]}
questions:
- id: Q1
  question: Three channels or one?
  error: 0.02
  expected: The same.
  comparisons:
  - name: three channels - one
    first: {input_mode: grey-3ch, policy: [finetune, finetune-whole]}
    second: {input_mode: grey-1ch, policy: [finetune, finetune-whole]}
    test_sets: both
- id: Q2
  question: Pretrained or not?
  error: 0.03
  expected: Pretrained.
  comparisons:
  - name: feature-extract - scratch
    first: {input_mode: [grey-3ch, grey-1ch], policy: feature-extract}
    second: {input_mode: [grey-3ch, grey-1ch], policy: scratch}
    test_sets: both
  - name: finetune - best floor row
    first: {input_mode: grey-3ch, policy: finetune}
    second: floor
    test_sets: both
"""
POLICIES = ["finetune", "finetune-whole", "scratch", "feature-extract"]


def correct(spec: RunSpec) -> np.ndarray:
    return np.ones(128, dtype=np.int64) if spec.dataset == "rps" else factories.latent()(spec)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    of_both = {"policies": POLICIES, "input_modes": ["grey-3ch", "grey-1ch"]}
    for name, datasets in (("photos", ["beans", "rps"]), ("cells", ["elpv"])):
        made = factories.grid(name=name, datasets=datasets, seeds=[0, 1, 2, 3], **of_both)
        store = Store(folder / name)
        for spec in expand(made):
            record, predictions = factories.record_of(spec, correct(spec))
            equal = {"pretrained_mean": (0.5,) * 3, "pretrained_std": (0.5,) * 3}
            if spec.dataset != "elpv" or spec.seed > 0:
                store.save(record.model_copy(update={"model": record.model.model_copy(update=equal)}), predictions)
        for planned in floor_specs(expand(made)):
            row = factories.floor_row(planned, test_images=128)
            FloorStore(store.folder).save(row, factories.floor_predictions(row))
        store.matrix.write_text(file.dump(made))
    (folder / "questions.yaml").write_text(QUESTIONS)
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> list[study.Answer]:
    return study.answers(study.read(folder / "questions.yaml"), folder)


def test_an_answer_is_the_unweighted_mean_of_the_headlines_that_the_reports_print(
    found: list[study.Answer], folder: Path
) -> None:
    printed = {}
    for name in ("photos", "cells"):
        results = study.read_results(folder, name)
        assert results is not None
        for difference in differences(results):
            if difference.contrast.headline and difference.contrast.family == "channels" and not difference.pooled:
                printed[difference.contrast.dataset] = difference.interval
    channels = found[0]
    assert channels.pooled is not None
    assert channels.pooled.interval is not None
    assert {each.dataset: each.difference and each.difference.interval for each in channels.sets} == printed
    own = [printed["beans"], printed["elpv"]]
    assert channels.pooled.interval.mean == pytest.approx(statistics.mean(i.mean for i in own if i is not None))


def test_a_saturated_test_set_and_one_with_too_few_seeds_are_left_out_and_named(folder: Path) -> None:
    questions = study.read(folder / "questions.yaml")
    channels = study.answers(questions, folder)[0]
    assert [(each.dataset, each.left_out) for each in channels.sets] == [
        ("beans", ""),
        ("rps", "every compared cell reaches 99 %"),
        ("elpv", ""),
    ]
    for record in (folder / "cells" / "records").glob("*.json"):
        if '"seed":3' in record.read_text().replace(" ", ""):
            record.rename(record.with_suffix(".gone"))
    study.read_results.cache_clear()
    fewer = study.answers(questions, folder)[0]
    for record in (folder / "cells" / "records").glob("*.gone"):
        record.rename(record.with_suffix(".json"))
    study.read_results.cache_clear()
    assert [each.left_out for each in fewer.sets] == ["", "every compared cell reaches 99 %", "2 seeds done"]
    assert fewer.pooled is not None
    assert len(fewer.pooled.pooled) == 1
    assert "rps (every compared cell reaches 99 %) and elpv (2 seeds done)" in study.markdown([fewer], questions, "")


def test_each_comparison_is_judged_at_its_questions_share(found: list[study.Answer]) -> None:
    assert [answer.pooled.level for answer in found if answer.pooled] == [0.02, 0.015, 0.015]


def test_heads_that_are_one_function_in_both_modes_are_compared_once_each(found: list[study.Answer]) -> None:
    frozen = found[1].sets[0].difference
    assert frozen is not None
    assert {first.input_mode for first, _ in frozen.contrast.pairs} == {"grey-3ch"}
    assert len(frozen.contrast.pairs) == 2
    floor = found[2].sets[0].difference
    assert floor is not None
    assert floor.contrast.is_against_floor


def test_the_table_has_a_row_for_each_comparison_and_one_for_each_of_its_test_sets(found: list[study.Answer]) -> None:
    frame = study.frame(found)
    assert list(frame["comparison"]).count("three channels - one") == 4
    pooled = frame[frame["dataset"].isna()]
    assert list(pooled["question"]) == ["Q1", "Q2", "Q2"]
    assert pooled["verdict"].notna().all()


def test_a_recomputation_that_shares_no_code_agrees_and_names_what_was_changed(
    folder: Path,
) -> None:
    asked = folder / "questions.yaml"
    for name in ("photos", "cells"):
        results = study.read_results(folder, name)
        assert results is not None
        cells = [",".join(map(str, key)) + ",1" for key in results.by_key]
        (folder / name / "table.csv").write_text("\n".join([f"{','.join(CellKey._fields)},accuracy", *cells]))
        (folder / name / build.RUNS).write_bytes(build.encode_runs(frames.runs(results.plan)))
    texts, _ = study.make(study.read(asked), folder)
    table = folder / "answers.csv"
    table.write_bytes(texts["answers.csv"])
    assert list(recompute.disagreements_of_answers(folder, asked)) == []
    head, *rows = table.read_text().splitlines()
    for row, column in ((0, "high"), (0, "verdict"), (1, "low"), (5, "note")):
        changed = [row.split(",") for row in rows]
        changed[row][head.split(",").index(column)] = "0.12345"
        table.write_text("\n".join([head, *(",".join(cells) for cells in changed)]) + "\n")
        assert len(list(recompute.disagreements_of_answers(folder, asked))) == 1, (row, column)
    table.unlink()


def test_check_finds_a_changed_file_and_is_silent_about_the_ones_just_written(tmp_path: Path) -> None:
    assert study.main(["--results", str(tmp_path)]) == 0
    assert study.main(["--results", str(tmp_path), "--check"]) == 0
    table = tmp_path / "answers.csv"
    table.write_text(table.read_text().replace("Q1", "Q9", 1))
    assert study.main(["--results", str(tmp_path), "--check"]) == 1


def test_every_cell_that_the_questions_compare_is_one_of_its_matrix() -> None:
    questions = study.read()
    matrices = {name: file.load(file.find(name)) for sets in questions.test_sets.values() for name in sets}
    cells = {name: {key for _, key in list_cells(made)} for name, made in matrices.items()}
    for asked in questions.questions:
        for comparison in asked.comparisons:
            for name, datasets in questions.test_sets[comparison.test_sets].items():
                for dataset in datasets:
                    compared = {side for pair in questions.pairs(comparison, dataset) for side in pair if side}
                    assert compared <= cells[name]


def test_the_questions_share_five_percent_and_all_of_the_error_is_used() -> None:
    assert sum(asked.error for asked in study.read().questions) == pytest.approx(0.05)


def test_the_rates_of_the_matrices_are_those_of_the_best_validation_accuracy_in_the_matrix_lr() -> None:
    reached: dict[str, dict[float, dict[str, list[float]]]] = {}
    for path in (study.RESULTS / "lr" / "records").glob("*.json"):
        record = json.loads(path.read_text())
        if (trial := record["spec"]["trial"]) is not None:
            of_rate = reached.setdefault(record["spec"]["policy"], {}).setdefault(trial["lr"], {})
            of_rate.setdefault(record["spec"]["dataset"], []).append(record["validation"]["accuracy"])
    assert {len(runs) for rates in reached.values() for own in rates.values() for runs in own.values()} == {2}
    chosen = {}
    for policy, rates in reached.items():
        means = {lr: statistics.mean(map(statistics.mean, own.values())) for lr, own in rates.items()}
        chosen[policy] = max(sorted(means), key=lambda lr: round(means[lr], 9))
        shown = (study.RESULTS / "README.md").read_text(encoding="utf-8")
        assert f"{100 * means[chosen[policy]]:.1f} %" in shown
    assert set(chosen) == {"finetune", "finetune-whole", "feature-extract", "scratch"}
    variants = dict.fromkeys(("stem-third", "stem-threefold"), chosen["finetune-whole"])
    assert file.load(file.find("folder")).training.policy_lr == chosen
    for name in {name for sets in study.read().test_sets.values() for name in sets} | {"fractions", "quick"}:
        made = file.load(file.find(name))
        assert made.training.policy_lr == {policy: (chosen | variants)[policy] for policy in made.policies}, name


def test_the_questions_are_older_than_every_record_that_answers_them() -> None:
    committed: dict[str, bytes] = {}
    for name in {name for sets in study.read().test_sets.values() for name in sets} | {"lr"}:
        for path in (study.RESULTS / name / "records").glob("*.json"):
            environment = json.loads(path.read_text())["environment"]
            commit = environment["git_commit"]
            if commit not in committed:
                shown = ["git", "show", f"{commit}:./{study.ASKED.name}"]
                found = subprocess.run(shown, capture_output=True, check=False, cwd=study.ASKED.parent)
                if found.returncode and is_shallow():
                    return
                committed[commit] = found.stdout
            assert hashlib.sha256(committed[commit]).hexdigest() == environment["preregistered"], path
            assert environment["git_dirty"] is False, path


def is_shallow() -> bool:
    """Whether this is no complete clone, so that old commits cannot be shown."""
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    return subprocess.run(asked, capture_output=True, check=False, cwd=study.ASKED.parent).stdout != b"false\n"


def test_committed_answers_are_those_of_the_committed_records() -> None:
    if (study.RESULTS / "answers.csv").is_file():
        assert study.main(["--check"]) == 0
