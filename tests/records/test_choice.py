"""The learning rate chosen by tuning runs: the rule, when it is made, and what it never reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.matrix.tuning import tuning_runs
from benchmark.records.plan import Plan, make_plan
from benchmark.records.store import DamagedRecord, Store
from tests.factories import done, failed, matrix, predictions, tuned

RATES = (3e-3, 3e-4, 1e-3)
MATRIX = matrix(input_modes=["rgb", "grey-1ch"], seeds=[0, 1], tune_seeds=[100, 101], training={"lr": list(RATES)})
TUNING = tuning_runs(MATRIX)


def at(lr: float) -> list[RunSpec]:
    """Return the reported runs of the matrix with one rate."""
    return expand(matrix(input_modes=["rgb", "grey-1ch"], seeds=[0, 1], training={"lr": lr}))


def rate_of(spec: RunSpec) -> float:
    assert spec.trial is not None
    return spec.trial.lr


def plan_after(folder: Path, scores: Callable[[RunSpec], tuple[float, float]]) -> Plan:
    store = Store(folder)
    for spec in TUNING:
        store.save(tuned(spec, *scores(spec)))
    return make_plan(MATRIX, store)


def chosen(plan: Plan) -> float | None:
    (choice,) = plan.choices
    return choice.lr


def test_the_best_mean_over_input_modes_and_seeds_is_chosen(tmp_path: Path) -> None:
    # 1e-3 is best on average, 3e-3 in the best run, 3e-4 on one input mode
    mean = {3e-3: 0.70, 3e-4: 0.75, 1e-3: 0.80}

    def scores(spec: RunSpec) -> tuple[float, float]:
        lr = rate_of(spec)
        spread = {3e-3: 0.25 * (-1) ** spec.seed, 3e-4: 0.1 if spec.input_mode == "rgb" else -0.1, 1e-3: 0.0}
        return mean[lr] + spread[lr], 0.5

    plan = plan_after(tmp_path, scores)
    assert chosen(plan) == 1e-3
    (choice,) = plan.choices
    assert [(each.lr, each.done, each.asked) for each in choice.tried] == [(lr, 4, 4) for lr in sorted(RATES)]
    assert [each.accuracy for each in choice.tried] == pytest.approx([0.75, 0.80, 0.70])
    assert [run.spec.id for run in plan.runs] == [spec.id for spec in at(1e-3)]
    assert {run.state for run in plan.runs} == {"pending"}


def test_a_tie_goes_to_the_lower_loss_and_then_to_the_smaller_rate(tmp_path: Path) -> None:
    loss = {3e-3: 0.4, 3e-4: 0.6, 1e-3: 0.5}

    def by_loss(spec: RunSpec) -> tuple[float, float]:
        return 0.3 if rate_of(spec) == 3e-3 else 0.1 + 0.2, loss[rate_of(spec)]  # 0.1 + 0.2 is above 0.3

    assert chosen(plan_after(tmp_path / "loss", by_loss)) == 3e-3
    assert chosen(plan_after(tmp_path / "rate", lambda spec: (0.5, 0.5))) == 3e-4


@pytest.mark.parametrize("missing", ["pending", "failed", "stale", "damaged"])
def test_nothing_is_chosen_before_every_tuning_run_is_done(tmp_path: Path, missing: str) -> None:
    store = Store(tmp_path)
    for spec in TUNING[1:]:
        store.save(tuned(spec))
    if missing == "failed":
        store.save(failed(TUNING[0]))
    elif missing == "stale":
        store.save(tuned(TUNING[0]).model_copy(update={"protocol_version": 0}))
    elif missing == "damaged":
        store.save(tuned(TUNING[0]))
        store.path(TUNING[0].id).write_text("{")
    store.save(done(at(3e-4)[0]), predictions())
    plan = make_plan(MATRIX, store)
    assert plan.tuning[0].state == missing
    assert chosen(plan) is None
    assert [(run.state, run.record) for run in plan.runs] == [("waiting", None)] * 4
    assert plan.counts() == {"waiting": 4}
    assert plan.foreign == (), "a record that may come to belong to the matrix"
    assert plan.choices[0].obstacle == "1 of 12 tuning runs not done"


def test_a_rate_at_which_a_run_diverged_is_out_of_the_choice(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for spec in TUNING:
        store.save(tuned(spec, accuracy={3e-3: 0.9, 3e-4: 0.7, 1e-3: 0.8}[rate_of(spec)]))
    assert chosen(make_plan(MATRIX, store)) == 3e-3
    store.save(failed(next(spec for spec in TUNING if rate_of(spec) == 3e-3), status="diverged"))
    assert chosen(make_plan(MATRIX, store)) == 1e-3
    for lr in RATES:
        store.save(failed(next(spec for spec in TUNING if rate_of(spec) == lr), status="diverged"))
    plan = make_plan(MATRIX, store)
    assert chosen(plan) is None
    assert {run.state for run in plan.runs} == {"waiting"}
    assert "diverged at every" in plan.choices[0].obstacle


def test_test_scores_of_reported_runs_do_not_move_the_choice(tmp_path: Path) -> None:
    plan = plan_after(tmp_path, lambda spec: ({3e-3: 0.7, 3e-4: 0.8, 1e-3: 0.75}[rate_of(spec)], 0.5))
    assert chosen(plan) == 3e-4
    store = Store(tmp_path)
    for lr in RATES:
        for spec in at(lr):
            record = done(spec)
            best = record.test.model_copy(update={"accuracy": 1.0 if lr == 3e-3 else 0.1})
            store.save(record.model_copy(update={"test": best, "validation": best}), predictions())
    after = make_plan(MATRIX, store)
    assert after.choices == plan.choices
    assert [run.state for run in after.runs] == ["done"] * 4
    assert set(after.foreign) == {spec.id for lr in (3e-3, 1e-3) for spec in at(lr)}


def test_a_record_with_test_scores_is_no_record_of_a_tuning_run_and_the_other_way_round(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for record, table in ((done(TUNING[0]), predictions()), (tuned(at(1e-3)[0]), None)):
        store.save(record, table)
        found = store.load(store.path(record.id))
        assert isinstance(found, DamagedRecord)
        assert "its spec does not fit the status" in found.reason


def test_the_record_of_a_tuning_run_has_no_field_for_what_it_must_not_see(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = store.save(tuned(TUNING[0]))
    text = store.path(record.id).read_text()
    assert store.load(store.path(record.id)) == record
    for word in ('"test"', "test_accuracy", "predictions", "exhibits"):
        assert word not in text
