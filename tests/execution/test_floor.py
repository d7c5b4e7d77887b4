"""Floor rows of a command: computed in the background, saved when the runs may start, problems named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmark.errors import UserError
from benchmark.execution import floor
from benchmark.execution.floor import NICENESS, FloorRows, compute_rows
from benchmark.matrix.expand import expand
from benchmark.records.floor import METHODS, FloorRow, FloorStore, PlannedRow, plan_floor
from benchmark.training import floor as methods
from tests.factories import matrix, save_floor

RUNS = expand(matrix(datasets=["beans", {"name": "shape-control", "limit": 40}]))
"""There are no images of beans."""
NO_DATA = Path("/nowhere")


def nothing() -> None:
    pass


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Compute in this process, whose priority stays; return the niceness that was asked for."""
    asked: list[int] = []
    monkeypatch.setattr(os, "nice", asked.append)

    def call(function: Callable[..., Any], *arguments: Any, progress: Callable[..., None]) -> Any:
        return function(*arguments, progress=progress)

    monkeypatch.setattr(floor, "call_in_side_process", call)
    return asked


def planned(folder: Path, dataset: str | None = None) -> list[PlannedRow]:
    return [row for row in plan_floor(RUNS, folder, []) if dataset in (None, row.spec.dataset)]


def background(folder: Path, rows: list[PlannedRow], **options: bool) -> FloorRows:
    return FloorRows(rows, FloorStore(folder), NO_DATA, **options)


def test_nothing_is_written_before_it_may_be_and_then_every_row_once_before_the_end_is_reported(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    rows = background(folder, planned(folder, "shape-control"))
    assert rows.are_missing
    rows.start()
    rows._thread.join(timeout=1)
    assert not folder.exists()
    states: list[str] = []
    rows.save(lambda: states.extend(row.state for row in planned(folder, "shape-control")))
    assert rows.wait() == []
    assert states == ["done"] * len(METHODS)
    found = [row.row for row in planned(folder, "shape-control") if row.row]
    assert {(row.train_images, row.test_images) for row in found} == {(40, 400)}
    assert not background(folder, planned(folder, "shape-control")).are_missing


def test_a_dataset_that_cannot_be_opened_is_named_once_and_the_others_are_computed(tmp_path: Path) -> None:
    rows = background(tmp_path, planned(tmp_path))
    rows.start()
    rows.save(nothing)
    (message,) = rows.wait()
    assert message.startswith("floor rows of beans: ")
    assert str(NO_DATA / "beans") in message
    assert [row.state for row in planned(tmp_path)] == ["pending"] * 4 + ["done"] * 4


def test_a_method_that_fails_is_named_and_the_others_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "MOST_ITERATIONS", 1)
    rows = background(tmp_path, planned(tmp_path, "shape-control"))
    rows.start()
    rows.save(nothing)
    (message,) = rows.wait()
    assert message.startswith("floor row logistic of shape-control: ConvergenceWarning: ")
    assert [row.state for row in planned(tmp_path, "shape-control")] == ["done"] * 3 + ["pending"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "floor").write_text("in the way")
    rows = background(tmp_path, [PlannedRow(row.spec, None) for row in planned(tmp_path, "shape-control")])
    rows.start()
    rows.save(lambda: pytest.fail("nothing was saved"))
    (message,) = rows.wait()
    assert message.startswith("floor rows: ")
    assert "cannot be written" in message


def test_a_process_that_is_ended_again_and_again_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: Any, **__: Any) -> None:
        raise UserError("3 times a process was ended.")

    monkeypatch.setattr(floor, "call_in_side_process", ended)
    rows = background(tmp_path, planned(tmp_path))
    rows.start()
    assert rows.wait() == ["floor rows: 3 times a process was ended."]


def test_a_command_that_ends_by_an_error_saves_no_row_and_leaves_no_thread(tmp_path: Path) -> None:
    rows = background(tmp_path, planned(tmp_path, "shape-control"))

    def fail() -> None:
        with rows:
            rows.start()
            raise UserError("a network cannot be built")

    with pytest.raises(UserError, match="a network"):
        fail()
    assert rows.wait() == []
    assert [row.state for row in planned(tmp_path, "shape-control")] == ["pending"] * 4


def test_done_rows_are_computed_again_only_on_other_images_or_from_scratch(tmp_path: Path, niceness: list[int]) -> None:
    def computed(rows: list[PlannedRow]) -> list[str]:
        found: list[Any] = []
        compute_rows(rows, NO_DATA, progress=found.append)
        return [row.spec.method for row, _ in found]

    assert computed(planned(tmp_path, "shape-control")) == list(METHODS)
    assert niceness == [NICENESS]
    made_up = save_floor(tmp_path, [RUNS[1]])  # of another fingerprint
    assert {row.state for row in planned(tmp_path, "shape-control")} == {"done"}
    assert computed(planned(tmp_path, "shape-control")) == list(METHODS)
    rows = background(tmp_path, planned(tmp_path, "shape-control"))
    rows.start()
    rows.save(nothing)
    assert rows.wait() == []
    assert computed(planned(tmp_path, "shape-control")) == []
    assert made_up[0].fingerprint != _first(planned(tmp_path, "shape-control")).fingerprint
    assert background(tmp_path, planned(tmp_path, "shape-control"), from_scratch=True).are_missing


def _first(rows: list[PlannedRow]) -> FloorRow:
    assert rows[0].row is not None
    return rows[0].row
