"""A matrix compared with the store: every state of a run, and when a record is stale."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmark.matrix.expand import expand
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.records.plan import State, make_plan
from benchmark.records.record import DatasetRecord, Failure, UnfinishedRun
from benchmark.records.store import Store
from tests.factories import done, matrix, predictions, spec

MATRIX = matrix(seeds=[0, 1, 2])
SPECS = expand(MATRIX)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def states(store: Store) -> list[State]:
    return [run.state for run in make_plan(MATRIX, store).runs]


def images(fingerprint: str) -> DatasetRecord:
    return DatasetRecord(
        fingerprint=fingerprint, classes=("a", "b"), train_images=8, validation_images=4, test_images=5
    )


def test_without_records_every_run_is_pending_in_the_order_of_the_matrix(store: Store) -> None:
    plan = make_plan(MATRIX, store)
    assert [run.spec for run in plan.runs] == SPECS
    assert states(store) == ["pending"] * 3
    assert (plan.done, plan.todo, plan.damaged, plan.foreign) == ((), tuple(SPECS), (), ())
    assert plan.counts() == {"pending": 3}


def test_a_done_run_is_done_and_the_others_are_left_to_do(store: Store) -> None:
    record = store.save(done(SPECS[1]), predictions())
    plan = make_plan(MATRIX, store)
    assert states(store) == ["pending", "done", "pending"]
    assert plan.done == (record,)
    assert plan.todo == (SPECS[0], SPECS[2])
    assert plan.counts() == {"done": 1, "pending": 2}


@pytest.mark.parametrize("status", ["failed", "diverged", "timeout", "oom", "killed"])
def test_a_run_that_ended_badly_keeps_its_status_and_is_left_to_do(store: Store, status: Failure) -> None:
    run = SPECS[0]
    store.save(UnfinishedRun(id=run.id, status=status, reason="why", spec=run, started_at="a", finished_at="b"))
    assert states(store) == [status, "pending", "pending"]
    assert make_plan(MATRIX, store).todo == tuple(SPECS)


@pytest.mark.parametrize("other", [PROTOCOL_VERSION - 1, PROTOCOL_VERSION + 1])
def test_a_record_of_another_protocol_is_stale_whatever_it_says(store: Store, other: int) -> None:
    path = store.path(store.save(done(SPECS[0], protocol_version=other), predictions()).id)
    run = SPECS[1]
    store.save(
        UnfinishedRun(id=run.id, status="failed", spec=run, started_at="a", finished_at="b", protocol_version=other)
    )
    assert states(store) == ["stale", "stale", "pending"]
    path.write_text(json.dumps({**json.loads(path.read_text()), "of another schema": 1, "history": None}))
    plan = make_plan(MATRIX, store)
    assert states(store) == ["stale", "stale", "pending"]
    assert (plan.done, plan.damaged, plan.todo) == ((), (), tuple(SPECS))
    assert plan.runs[0].record is None
    assert make_plan(matrix(seeds=[1, 2]), store).foreign == (SPECS[0].id,)


def test_a_done_run_on_other_images_than_the_newest_is_stale(store: Store) -> None:
    for run, fingerprint, day in zip(SPECS, ("old", "new", "old"), (3, 4, 2), strict=True):
        at = f"2026-01-0{day}T00:00:00+00:00"
        store.save(done(run, dataset=images(fingerprint), finished_at=at), predictions())
    assert states(store) == ["stale", "done", "stale"]


def test_images_seen_under_another_protocol_do_not_make_current_records_stale(store: Store) -> None:
    store.save(done(SPECS[0], dataset=images("this")), predictions())
    later = {"protocol_version": PROTOCOL_VERSION + 1, "finished_at": "2027-01-01T00:00:00+00:00"}
    store.save(done(SPECS[1], dataset=images("that"), **later), predictions())
    assert states(store) == ["done", "stale", "pending"]


def test_fingerprints_are_compared_within_one_choice_of_images_only(store: Store) -> None:
    entries = ["beans", {"name": "beans", "limit": 30, "label": "few"}, "rps"]
    made = matrix(datasets=entries, input_modes=["rgb", "grey-1ch"])
    specs = expand(made)
    for run in specs:
        store.save(done(run, dataset=images(f"{run.source.name} {run.source.limit}")), predictions())
    assert {run.state for run in make_plan(made, store).runs} == {"done"}
    changed = specs[0]
    later = "2027-01-01T00:00:00+00:00"
    store.save(done(changed, dataset=images("changed"), finished_at=later), predictions())
    stale = [run.spec for run in make_plan(made, store).runs if run.state == "stale"]
    assert [(run.dataset, run.input_mode) for run in stale] == [("beans", "grey-1ch")]


def test_runs_with_validation_images_of_their_own_must_agree_on_all_other_images(store: Store) -> None:
    made = matrix(seeds=[0, 1, 2], split_seed="seed")
    for run, fingerprint, day in zip(expand(made), ("old", "new", "new"), (2, 3, 4), strict=True):
        at = f"2026-01-0{day}T00:00:00+00:00"
        store.save(done(run, dataset=images(fingerprint), finished_at=at), predictions())
    assert [run.state for run in make_plan(made, store).runs] == ["stale", "done", "done"]


def test_a_damaged_record_is_reported_and_its_run_left_to_do(store: Store) -> None:
    store.save(done(SPECS[1]), predictions())
    store.path(SPECS[0].id).write_text("{")
    plan = make_plan(MATRIX, store)
    assert states(store) == ["damaged", "done", "pending"]
    assert list(plan.counts().items()) == [("done", 1), ("damaged", 1), ("pending", 1)], "in the order of STATES"
    assert [item.path for item in plan.damaged] == [store.path(SPECS[0].id)]
    assert plan.runs[0].record is None
    assert SPECS[0] in plan.todo


def test_a_record_of_no_run_of_the_matrix_is_foreign_and_counts_for_nothing(store: Store) -> None:
    stranger = spec(seeds=[9])
    later = "2027-01-01T00:00:00+00:00"
    store.save(done(SPECS[0]), predictions())
    store.save(done(stranger, dataset=images("other"), finished_at=later), predictions())
    plan = make_plan(MATRIX, store)
    assert plan.foreign == (stranger.id,)
    assert states(store) == ["done", "pending", "pending"]
