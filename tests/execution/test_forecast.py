"""The forecast of a run's time: as runs like it, else scaled from others, else by a reference rate."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from benchmark.execution.forecast import REFERENCE_RATES, Forecast, ImageCount, catalogued, forecast, longest_first
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.record import DoneRun, UnfinishedRun
from benchmark.records.store import Store
from tests.factories import done, matrix, spec

RESULTS = Path(__file__).parents[2] / "results"
LITE0 = {"models": ["timm/tf_efficientnet_lite0"], "training": {"image_size": 96, "epochs": 10}}


def took(run: RunSpec, seconds: float, images: int = 8, device: str = "cpu") -> DoneRun:
    """Return a done record of a run with 9 held-out images."""
    return done(
        run,
        timing={"total_seconds": seconds},
        dataset={"train_images": images, "validation_images": 4},
        environment={"device": device},
    )


def only(run: RunSpec, records: list[DoneRun], **arguments: Any) -> Forecast:
    return forecast([run], records, arguments.pop("device", "cpu"), **arguments)[run.id]


def test_a_run_takes_the_median_of_the_runs_that_differ_in_the_seed_only_in_whatever_order_they_come() -> None:
    runs = expand(matrix(seeds=[0, 1, 2, 3, 4]))
    records = [took(run, seconds) for run, seconds in zip(runs, (20, 30, 31, 33, 90), strict=True)]
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert only(spec(seeds=[7]), shuffled) == Forecast(31, "runs that differ in the seed only")


@pytest.mark.parametrize(
    ("other", "factor"),
    [
        ({"training": {"epochs": 120}}, 2),
        ({"training": {"image_size": 448}}, 4),
        ({"training": {"image_size": 448, "crop_size": 224}}, 1),
        ({"input_modes": ["grey-1ch"]}, 1),
        ({"weights": "hub", "policies": ["finetune-whole"]}, 1),
    ],
)
def test_any_other_done_run_of_the_network_is_scaled_by_epochs_and_pixels(other: dict[str, Any], factor: float) -> None:
    found = only(spec(**other), [took(spec(), 10)])
    assert found.seconds == pytest.approx(10 * factor)
    assert found.basis == "scaled from done runs of this network"


def test_the_images_are_those_of_the_records_else_of_the_catalogue_else_given() -> None:
    beans = took(spec(), 10, images=1034 + 64)  # and 9 held out instead of 261: a quarter of 252 steps fewer
    limited = spec(datasets=[{"name": "beans", "limit": 517}])
    assert only(limited, [beans]).seconds == pytest.approx(10 * (517 + 261 / 4) / (1098 + 9 / 4))
    own = [{"name": "folder:x", "content": "0" * 64, "colour": True}]
    folder = spec(datasets=own)
    assert forecast([folder], [beans], "cpu") == {}
    assert only(folder, [beans], images={folder.source: ImageCount(2196, 18)}).seconds == pytest.approx(20)
    known = only(spec(training={"epochs": 5}, datasets=own), [took(folder, 60)])
    assert known.seconds == pytest.approx(60 * 5 / 60)


def test_records_of_the_same_network_and_class_of_device_go_before_others() -> None:
    longer = spec(training={"epochs": 120})
    other_network = took(spec(models=["timm/test_vit"]), 100)
    other_device = took(spec(), 50, device="a GPU")
    here = took(spec(), 10)
    assert only(longer, [other_network, other_device, here]).seconds == pytest.approx(20)
    assert only(longer, [other_network, other_device, here], device="gpu").seconds == pytest.approx(100)
    elsewhere = only(longer, [other_network])
    assert elsewhere.seconds == pytest.approx(200)
    assert elsewhere.basis == "scaled from done runs of another network or device"


def test_a_run_that_is_not_done_says_nothing() -> None:
    failed = UnfinishedRun(id=spec().id, status="failed", reason="x", spec=spec(), started_at="a", finished_at="b")
    assert forecast([spec()], [failed], "cpu") == {}


def test_without_a_done_run_the_reference_rate_of_the_nearest_size_is_taken_and_named_as_not_measured_here() -> None:
    run = spec(**LITE0)
    found = only(run, [])
    assert found.basis.startswith("reference rate, not measured here (")
    assert found.seconds == pytest.approx(10 * (1034 / 74.0 + 261 / 307.1))
    larger = only(spec(models=[f"{run.model}.in1k"], training={"image_size": 192, "epochs": 10}), [])
    assert larger.seconds == pytest.approx(4 * found.seconds)
    assert forecast([run], [], "gpu") == {}


@pytest.mark.parametrize("size", [64, 96])
def test_our_reference_rates_are_medians_of_the_committed_results(size: int) -> None:
    rates = []
    for folder in RESULTS.glob("*/records"):
        for record in Store(folder.parent).scan():
            assert isinstance(record, DoneRun) and record.timing is not None
            whole = [stage.trainable for stage in record.spec.stages] == ["all"]
            if whole and record.timing.contended is False and record.spec.input_size == size:
                rates.append((record.timing.train_images_per_second, record.timing.eval_images_per_second))
    (known,) = [rate for rate in REFERENCE_RATES if (rate.device, rate.size) == ("cpu", (size, size))]
    assert (known.train, known.evaluate) == tuple(round(median(column), 1) for column in zip(*rates, strict=True))


def test_a_drawn_split_comes_from_the_training_images_and_a_choice_of_classes_takes_its_share() -> None:
    assert catalogued(spec().source) == ImageCount(1034, 261)
    assert catalogued(spec(datasets=["rps"]).source) == ImageCount(2520 - 378, 372 + 378)
    assert catalogued(spec(datasets=[{"name": "rps", "limit": 50}]).source) == ImageCount(50, 372 + 378)
    two = spec(datasets=[{"name": "rps", "classes": ["rock", "paper"]}])
    assert catalogued(two.source) == ImageCount(1680 - 252, 248 + 252)


def test_runs_are_ordered_by_images_pixels_epochs_and_trained_part() -> None:
    short, long = spec(training={"epochs": 2}), spec(training={"epochs": 9})
    small, large = spec(training={"image_size": 32}), spec(training={"image_size": 64})
    few, many = spec(datasets=[{"name": "beans", "limit": 50}]), spec(datasets=["beans"])
    kept = spec(weights="hub", policies=["feature-extract"])
    turned = spec(weights="hub", policies=["feature-extract"], training={"augment": [{"rotation": {"degrees": 9}}]})
    later = spec(weights="hub", policies=["freeze-early"])
    whole = spec(weights="hub", policies=["finetune-whole"])
    pairs = ((short, long), (small, large), (few, many), (kept, turned), (turned, later), (later, whole))
    for less, more in pairs:
        assert longest_first([less, more]) == longest_first([more, less]) == [more, less]
    assert longest_first([few, many], [took(few, 1, images=2000), took(many, 1)]) == [few, many]


def test_runs_of_equal_work_keep_their_order() -> None:
    runs = expand(matrix(seeds=[3, 1, 2]))
    assert longest_first(runs) == runs


def test_each_run_of_quick_is_forecast_from_the_other_seeds_within_a_fifth_and_by_reference_within_a_third() -> None:
    records = [r for r in Store(RESULTS / "quick").scan() if isinstance(r, DoneRun)]
    assert len(records) == 18
    for record in records:
        others = [r for r in records if r.spec.seed != record.spec.seed]
        assert record.timing is not None
        assert only(record.spec, others).seconds == pytest.approx(record.timing.total_seconds, rel=0.2)
        assert only(record.spec, []).seconds == pytest.approx(record.timing.total_seconds, rel=0.34)
