"""The forecast of a run's time: from records like it, else a relative cost that orders runs."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from benchmark.forecast import Forecast, Hardware, ImageCount, Pace, catalogued, forecast, longest_first, way
from benchmark.matrix import RunSpec, expand
from benchmark.records import RunRecord
from benchmark.store import Store
from tests.matrices import done, matrix, spec

HERE = Hardware(device="cpu", cpu="a processor")
"""What the made-up records name."""


def took(run: RunSpec, rate: float = 32.0, images: int = 8, held_out: int = 9, epochs: int = 3) -> RunRecord:
    """Return a record of a run at a rate of images per second, evaluated at twice that, with half a second besides."""
    record = done(run)
    assert record.dataset is not None and record.timing is not None
    train, evaluation = images / rate, held_out / (2 * rate)
    last = len(run.stages)
    history = [
        record.history[0].model_copy(update={"epoch": n, "stage": min(n, last), "train_seconds": train})
        for n in range(1, epochs + 1)
    ]
    timing = record.timing.model_copy(
        update={
            "train_seconds": epochs * train,
            "eval_seconds": epochs * evaluation,
            "total_seconds": epochs * (train + evaluation) + 0.5,
        }
    )
    counted = {"train_images": images, "validation_images": held_out - 5, "test_images": 5}
    dataset = record.dataset.model_copy(update=counted)
    return record.model_copy(update={"history": tuple(history), "timing": timing, "dataset": dataset})


def only(run: RunSpec, records: list[RunRecord], **arguments: Any) -> Forecast:
    return forecast([run], records, **arguments)[run.id]


def seconds(run: RunSpec, records: list[RunRecord], **arguments: Any) -> float:
    found = only(run, records, **arguments).seconds
    assert found is not None
    return found


def test_a_run_takes_the_rate_times_its_images_and_epochs_and_what_is_no_epoch() -> None:
    run = spec(seeds=[1], training={"epochs": 3, "early_stopping": None})
    expected = 3 * (8 / 32 + 9 / 64) + 0.5
    assert seconds(run, [took(run)]) == pytest.approx(expected)
    longer = spec(seeds=[2], training={"epochs": 12, "early_stopping": None})
    assert seconds(longer, [took(run)]) == pytest.approx(12 * (8 / 32 + 9 / 64) + 0.5)
    assert only(longer, [took(run)]).basis == "1 record like it"


def test_early_stopping_shortens_the_forecast_by_what_it_left_of_runs_of_the_same_policy() -> None:
    run = spec(training={"epochs": 6})
    assert seconds(spec(seeds=[5], training={"epochs": 60}), [took(run, epochs=3)]) == pytest.approx(
        0.5 * 60 * (8 / 32 + 9 / 64) + 0.5
    )


def test_each_stage_has_a_rate_of_its_own() -> None:
    settings = {"epochs": 3, "head_epochs": 1, "early_stopping": None}
    run = spec(weights="hub", policies=["finetune"], training=settings)
    record = took(run)
    fast_head = tuple(
        epoch.model_copy(update={"train_seconds": 0.01}) if epoch.stage == 1 else epoch for epoch in record.history
    )
    longer = spec(
        weights="hub", policies=["finetune"], seeds=[1], training={**settings, "epochs": 30, "head_epochs": 20}
    )
    found = seconds(longer, [record.model_copy(update={"history": fast_head})])
    assert found == pytest.approx(20 * 0.01 + 10 * 8 / 32 + 30 * 9 / 64 + 0.5)


@pytest.mark.parametrize(
    "other",
    [
        {"models": ["timm/resnetrs50"]},
        {"training": {"image_size": 64}},
        {"training": {"batch_size": 8}},
        {"input_modes": ["grey-1ch"]},
        {"threads": 2},
        {"weights": "hub", "policies": ["feature-extract"]},
        {"training": {"augment": ["hflip", {"rotation": {"degrees": 9}}]}},
    ],
)
def test_a_record_of_another_way_to_train_says_nothing(other: dict[str, Any]) -> None:
    assert only(spec(**other), [took(spec())]).seconds is None


def test_a_record_of_other_hardware_says_nothing() -> None:
    record = took(spec())
    assert only(spec(), [record], hardware=HERE).seconds is not None
    for elsewhere in (Hardware("cpu", "another processor"), Hardware("a GPU", "a processor")):
        assert only(spec(), [record], hardware=elsewhere).seconds is None


def test_scratch_and_finetune_whole_share_their_rates() -> None:
    whole = spec(weights="hub", policies=["finetune-whole"])
    assert seconds(whole, [took(spec())]) == pytest.approx(seconds(spec(), [took(spec())]))


def test_a_run_that_is_not_done_says_nothing() -> None:
    failed = RunRecord(id=spec().id, status="failed", reason="x", spec=spec(), started_at="a", finished_at="b")
    assert only(spec(), [failed]).seconds is None


def test_a_record_goes_before_a_calibration_and_a_calibration_before_nothing() -> None:
    run = spec(training={"epochs": 2})
    measured = {way(run, HERE): Pace(train=(0.1,), evaluate=0.01, fixed=1.0)}
    beans = catalogued(run.source)
    assert beans == ImageCount(1034, 261)
    from_calibration = only(run, [], hardware=HERE, measured=measured)
    assert (from_calibration.basis, from_calibration.cost) == ("a calibration", from_calibration.seconds)
    assert from_calibration.seconds == pytest.approx(1.0 + 2 * 103.4 + 2 * 2.61)
    assert only(run, [took(run)], hardware=HERE, measured=measured).basis == "1 record like it"


def test_images_of_a_folder_come_from_its_records_or_the_caller() -> None:
    run = spec(datasets=[{"name": "folder:x", "content": "0" * 64, "colour": True}])
    of_beans = [took(spec())]
    assert only(run, of_beans).seconds is None
    given = seconds(run, of_beans, images={run.source: ImageCount(100, 40)})
    assert given == pytest.approx(seconds(run, [*of_beans, took(run, images=100, held_out=40)]))


def test_a_drawn_split_comes_from_the_training_images() -> None:
    assert catalogued(spec(datasets=["rps"]).source) == ImageCount(2520 - 378, 372 + 378)
    assert catalogued(spec(datasets=[{"name": "rps", "limit": 50}]).source) == ImageCount(50, 372 + 378)


def test_the_order_of_the_records_does_not_matter() -> None:
    runs = expand(matrix(seeds=[0, 1, 2, 3, 4]))
    records = [took(run, rate=rate) for run, rate in zip(runs, (20, 30, 31, 33, 90), strict=True)]
    first = forecast(runs, records)
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert forecast(runs, shuffled) == first
    assert {found.basis for found in first.values()} == {"5 records like it"}


def test_without_any_record_runs_are_ordered_by_images_pixels_epochs_and_trained_part() -> None:
    short, long = spec(training={"epochs": 2}), spec(training={"epochs": 9})
    small, large = spec(training={"image_size": 32}), spec(training={"image_size": 64})
    few, many = spec(datasets=[{"name": "beans", "limit": 50}]), spec(datasets=["beans"])
    head = spec(weights="hub", policies=["feature-extract"])
    later = spec(weights="hub", policies=["freeze-early"])
    whole = spec(weights="hub", policies=["finetune-whole"])
    for less, more in ((short, long), (small, large), (few, many), (head, later), (later, whole)):
        found = forecast([less, more], [])
        assert found[less.id].seconds is None and found[more.id].seconds is None
        assert longest_first([less, more], found) == longest_first([more, less], found) == [more, less]


def test_a_run_that_no_record_is_like_is_ordered_on_the_scale_of_the_others() -> None:
    known = spec(training={"epochs": 10, "early_stopping": None})
    records = [took(known, images=1034, held_out=261, epochs=10)]
    twice, half = (
        spec(input_modes=["grey-1ch"], training={"epochs": epochs, "early_stopping": None}) for epochs in (20, 5)
    )
    found = forecast([half, known, twice], records)
    assert found[twice.id].seconds is None
    assert longest_first([half, known, twice], found) == [twice, known, half]
    assert found[twice.id].cost == pytest.approx(2 * found[known.id].cost, rel=0.01)


def test_runs_of_equal_cost_keep_their_order() -> None:
    runs = expand(matrix(seeds=[3, 1, 2]))
    assert longest_first(runs, forecast(runs, [])) == runs


def test_each_run_of_quick_is_forecast_from_the_other_seeds_within_a_fifth() -> None:
    records = [r for r in Store(Path(__file__).parents[1] / "results" / "quick").scan() if isinstance(r, RunRecord)]
    assert len(records) == 18
    for record in records:
        others = [r for r in records if r.spec.seed != record.spec.seed]
        assert record.timing is not None
        assert seconds(record.spec, others) == pytest.approx(record.timing.total_seconds, rel=0.2)
