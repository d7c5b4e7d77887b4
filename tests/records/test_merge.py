from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from benchmark import api
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.records import groups_file
from benchmark.records.floor import FloorStore
from benchmark.records.store import Store
from tests import factories

MADE = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune", "scratch"])
IMAGES = 10
"""As many as a made-up floor row has."""
OTHER_BITS = factories.latent(IMAGES, image_effect=0.1)


def results(
    folder: Path,
    seeds: Collection[int] = MADE.seeds,
    correct: factories.Correct | None = None,
    matrix: Matrix = MADE,
    **changes: Any,
) -> Path:
    """Write results with floor rows, groups and a matrix file, and return their folder."""
    own, store = correct or factories.latent(IMAGES), Store(folder)
    specs = expand(matrix)
    for spec in specs:
        if spec.seed in seeds:
            store.save(*factories.record_of(spec, own(spec), **changes))
    factories.save_floor(folder, specs)
    groups_file.add(
        folder,
        {factories.FINGERPRINT: {name: f"patient {k // 2}" for k, name in enumerate(factories.image_ids(IMAGES))}},
    )
    write_atomically(store.matrix, file.dump(matrix).encode())
    return folder


def report(folder: Path) -> dict[str, bytes]:
    """Return the report of a folder, and everything that it is made from, by name."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name: (folder / name).read_bytes() for name in names if not name.startswith(("locks/", "provenance"))}


def test_two_halves_merge_into_what_one_machine_would_have_made_byte_for_byte(tmp_path: Path) -> None:
    whole = results(tmp_path / "one" / "made-up")
    api.load_results("made-up", results=tmp_path / "one").report()
    halves = [results(tmp_path / "alice" / "made-up", {0, 2}), results(tmp_path / "bob" / "made-up", {1})]
    merged = api.merge(halves, tmp_path / "both" / "made-up")
    assert report(tmp_path / "both" / "made-up") == report(whole)
    assert list(merged.taken.values()) == [8, 4]
    assert not merged.conflicts
    with (tmp_path / "both" / "made-up" / "provenance.csv").open() as rows:
        origin = {row["id"]: row["folder"] for row in csv.DictReader(rows)}
    assert {spec.id: origin[spec.id] for spec in expand(MADE)} == {
        spec.id: str(halves[spec.seed % 2]) for spec in expand(MADE)
    }


def test_a_run_made_twice_with_the_same_bits_is_no_conflict_whatever_the_time_and_the_machine(tmp_path: Path) -> None:
    alice = results(tmp_path / "alice")
    bob = results(tmp_path / "bob")
    for path in (bob / "records").glob("*.json"):
        record = json.loads(path.read_text())
        record["environment"]["cpu"] = "another processor"
        record["timing"]["train_seconds"] *= 2
        record["history"][-1]["train_seconds"] *= 2
        record["finished_at"] = "2027-01-01T00:00:00+00:00"
        path.write_text(json.dumps(record))
    merged = api.merge([alice, bob], tmp_path / "both")
    assert not merged.conflicts
    assert list(merged.taken.values()) == [12, 0]


def test_different_results_of_a_run_are_kept_apart_named_in_the_report_and_never_averaged(tmp_path: Path) -> None:
    alice, bob = results(tmp_path / "alice"), results(tmp_path / "bob", {1}, OTHER_BITS)
    merged = api.merge([alice, bob], tmp_path / "both")
    twice = sorted(spec.id for spec in expand(MADE) if spec.seed == 1)
    assert sorted(conflict.id for conflict in merged.conflicts) == twice
    both = Store(tmp_path / "both")
    for run in twice:
        assert both.path(run).read_bytes() == Store(alice).path(run).read_bytes()
        assert (both.folder / "conflicts/2-bob/records" / f"{run}.json").read_bytes() == Store(bob).path(
            run
        ).read_bytes()
    text = (both.folder / "report.md").read_text()
    assert "**4 runs gave different results to those who merged them:**" in text
    assert all(f"`{run}`" in text for run in twice)
    alone = api.load_results("alice", results=tmp_path)
    assert api.load_results("both", results=tmp_path).cells.equals(alone.cells)
    compared = api.compare(both.folder, both.folder / "conflicts/2-bob")
    assert len(compared.drifts) == 4
    again = api.merge([both.folder], tmp_path / "again")
    assert [conflict.id for conflict in again.conflicts] == [conflict.id for conflict in merged.conflicts]


def test_different_floor_rows_are_kept_apart_too(tmp_path: Path) -> None:
    alice, bob = results(tmp_path / "alice"), results(tmp_path / "bob")
    changed = factories.save_floor(alice, expand(MADE))[-1]
    row = factories.floor_row(changed.spec, validation=0.7, test=0.75)
    FloorStore(bob).save(row, factories.floor_predictions(row))
    merged = api.merge([alice, bob], tmp_path / "both")
    assert [conflict.id for conflict in merged.conflicts] == [changed.id]
    assert (tmp_path / "both/floor" / f"{changed.id}.json").read_bytes() == FloorStore(alice).path(
        changed.id
    ).read_bytes()
    assert (tmp_path / "both/conflicts/2-bob/floor" / f"{changed.id}.json").is_file()


def test_a_finished_run_wins_over_one_that_failed_and_weights_come_along(tmp_path: Path) -> None:
    alice, bob = results(tmp_path / "alice", {0}), results(tmp_path / "bob", {1, 2})
    lost = next(spec for spec in expand(MADE) if spec.seed == 1)
    Store(alice).save(factories.failed(lost))
    write_atomically(bob / "weights" / f"{lost.id}.safetensors", b"weights")
    api.merge([alice, bob], tmp_path / "both")
    assert Store(tmp_path / "both").path(lost.id).read_bytes() == Store(bob).path(lost.id).read_bytes()
    assert (tmp_path / "both/weights" / f"{lost.id}.safetensors").read_bytes() == b"weights"


def test_damaged_records_and_those_of_other_runs_are_left_out_and_named(tmp_path: Path) -> None:
    alice, bob = results(tmp_path / "alice"), results(tmp_path / "bob")
    cut, table, *_ = sorted((alice / "records").glob("*.json"))
    cut.write_bytes(cut.read_bytes()[:99])
    table.with_suffix(".parquet").write_bytes(b"")
    foreign = factories.spec(seeds=[77])
    Store(bob).save(*factories.record_of(foreign, factories.latent(IMAGES)(foreign)))
    merged = api.merge([alice, bob], tmp_path / "both")
    assert {item.path for item in merged.damaged} == {cut, table.with_suffix(".parquet")}
    assert [line for line in merged.left_out if foreign.id in line]
    assert api.load_results("both", results=tmp_path).loaded.plan.counts() == {"done": 12}


def spoil_matrix(folder: Path) -> None:
    write_atomically(folder / "matrix.yaml", file.dump(factories.grid(training={"epochs": 7})).encode())


def spoil_groups(folder: Path) -> None:
    path = folder / "groups.csv"
    path.write_text(path.read_text().replace("patient 1", "patient 2"))


def spoil_images(folder: Path) -> None:
    path = next((folder / "records").glob("*.json"))
    path.write_text(path.read_text().replace(factories.FINGERPRINT, "0" * 16))


def spoil_all(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_matrix, "results of another matrix"),
        (spoil_groups, "groups the test images"),
        (spoil_images, "trained on other images of beans"),
        (spoil_all, "no results here"),
    ],
)
def test_what_cannot_be_merged_is_refused_and_nothing_is_written(
    spoil: Callable[[Path], None], words: str, tmp_path: Path
) -> None:
    folders = [results(tmp_path / "alice", {0}), results(tmp_path / "bob", {1})]
    spoil(folders[1])
    with pytest.raises(UserError, match=words):
        api.merge(folders, tmp_path / "both")
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("alice", "bob")] == []


def test_an_existing_folder_is_not_written_over(tmp_path: Path) -> None:
    folders = [results(tmp_path / "alice", {0}), results(tmp_path / "bob", {1})]
    before = report(folders[1])
    with pytest.raises(UserError, match="bob: exists already"):
        api.merge(folders, folders[1])
    assert report(folders[1]) == before
    with pytest.raises(UserError, match=r"--into .*x y: name a folder of letters"):
        api.merge(folders, tmp_path / "x y")


def test_values_that_no_run_depends_on_are_the_first_folder_s_and_others_are_named(tmp_path: Path) -> None:
    alice, bob = results(tmp_path / "alice", {0}), results(tmp_path / "bob", {1})
    write_atomically(bob / "matrix.yaml", file.dump(MADE.model_copy(update={"equivalence_margin": 5.0})).encode())
    merged = api.merge([alice, bob], tmp_path / "both")
    assert merged.matrix.equivalence_margin == MADE.equivalence_margin
    assert merged.left_out == [
        f"{bob}/matrix.yaml: its values of equivalence_margin; those of {alice}/matrix.yaml are used"
    ]


def test_a_part_of_a_matrix_merges_into_the_whole(tmp_path: Path) -> None:
    part = factories.grid(input_modes=["grey-3ch"], policies=["finetune", "scratch"], seeds=[1])
    folders = [results(tmp_path / "bob", matrix=part), results(tmp_path / "alice", {0, 2})]
    api.merge(folders, tmp_path / "both")
    found = api.load_results("both", results=tmp_path)
    assert found.matrix.input_modes == MADE.input_modes
    assert found.loaded.plan.counts() == {"done": 10, "pending": 2}
