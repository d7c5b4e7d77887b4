"""The forecast of times: as runs like it, else scaled from others, else by a reference rate."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark import environment
from benchmark.execution import forecast as module
from benchmark.execution.forecast import (
    Device,
    Images,
    Pace,
    RunTime,
    estimate_images,
    execution_order,
    expected_seconds,
    forecast,
    run_times,
)
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec, Trial
from benchmark.records.plan import Plan, PlannedRun
from benchmark.records.record import DoneRun
from tests.factories import done, matrix, spec

LITE0 = {"models": ["timm/tf_efficientnet_lite0"], "training": {"image_size": 96, "epochs": 10}}


def took(run: RunSpec, seconds: float, images: int = 8, device: str = "cpu") -> DoneRun:
    """Return a done record of a run with 4 validation and 5 test images."""
    return done(
        run,
        timing={"total_seconds": seconds},
        dataset={"train_images": images, "validation_images": 4},
        environment={"device": device},
    )


def only(run: RunSpec, records: list[DoneRun], device: Device = "cpu") -> RunTime:
    return run_times([run], records, device)[run.id]


def plan_of(*runs: tuple[RunSpec, DoneRun | None]) -> Plan:
    planned = (PlannedRun(spec, "done" if record else "pending", record) for spec, record in runs)
    return Plan(tuple(planned), (), ())


def ordered(runs: list[RunSpec], *records: DoneRun) -> list[RunSpec]:
    planned = [PlannedRun(run, "pending", None) for run in runs]
    return [run.spec for run in execution_order(planned, records)]


def test_a_run_takes_the_median_of_the_runs_that_differ_in_the_seed_only_in_whatever_order_they_come() -> None:
    runs = expand(matrix(seeds=[0, 1, 2, 3, 4]))
    records = [took(run, seconds) for run, seconds in zip(runs, (20, 30, 31, 33, 90), strict=True)]
    for seed in range(5):
        shuffled = random.Random(seed).sample(records, len(records))
        assert only(spec(seeds=[7]), shuffled) == RunTime(31, "runs that differ only in the seed")


@pytest.mark.parametrize(
    ("other", "factor"),
    [
        ({"training": {"epochs": 80}}, 2),
        ({"training": {"image_size": 448}}, 4),
        ({"training": {"image_size": 448, "crop_size": 224}}, 1),
        ({"input_modes": ["grey-1ch"]}, 1),
        ({"weights": "hub", "policies": ["finetune-whole"]}, 1),
    ],
)
def test_any_other_done_run_of_the_network_is_scaled_by_epochs_and_pixels(other: dict[str, Any], factor: float) -> None:
    found = only(spec(**other), [took(spec(), 10)])
    assert found.seconds == pytest.approx(10 * factor, rel=0.01)
    assert found.basis == "scaled from done runs of this network"


def test_the_images_are_those_of_the_records_else_of_the_catalogue() -> None:
    beans = took(spec(), 10, images=1034 + 64)  # and 4 + 5 held out instead of 133 + 128
    limited = spec(datasets=[{"name": "beans", "limit": 517}])
    of_limited, of_beans = 40 * (517 + 66 / 4) + (2 * 66 + 2 * 128) / 4, 40 * (1098 + 4 / 4) + (2 * 4 + 2 * 5) / 4
    assert only(limited, [beans]).seconds == pytest.approx(10 * of_limited / of_beans)
    own = [{"name": "folder:not-here", "content": "0" * 64, "colour": True}]
    known = only(spec(training={"epochs": 5}, datasets=own), [took(spec(datasets=own), 60)])
    assert known.seconds == pytest.approx(60 * (5 * 9 + 4.5) / (40 * 9 + 4.5))


def test_the_images_of_a_folder_are_counted(tmp_path: Path) -> None:
    for label, number in (("x", 40), ("y", 20), ("z", 30)):
        (tmp_path / label).mkdir()
        for position in range(number):
            Image.fromarray(np.full((4, 4), position, dtype=np.uint8)).save(tmp_path / label / f"{position}.png")
    for chosen, images in ({}, Images(61, 11, 18)), ({"classes": ["x", "y"]}, Images(41, 7, 12)):
        entry = {"name": f"folder:{tmp_path}", "content": "0" * 64, "colour": True, **chosen}
        assert estimate_images(spec(datasets=[entry]).source) == images


def test_records_of_the_same_network_and_class_of_device_go_before_others() -> None:
    longer = spec(training={"epochs": 80})
    other_network = took(spec(models=["timm/test_vit"]), 100)
    other_device = took(spec(), 50, device="a GPU")
    here = took(spec(), 10)
    assert only(longer, [other_network, other_device, here]).seconds == pytest.approx(20, rel=0.01)
    assert only(longer, [other_network, other_device, here], device="gpu").seconds == pytest.approx(100, rel=0.01)
    elsewhere = only(longer, [other_network])
    assert elsewhere.seconds == pytest.approx(200, rel=0.01)
    assert elsewhere.basis == "scaled from done runs of another network or device"


def test_a_time_is_scaled_from_the_runs_of_the_nearest_size() -> None:
    small, near, wanted = (spec(training={"image_size": size}) for size in (32, 200, 224))
    records = [took(small, 30), took(near, 100)]
    assert only(wanted, records).seconds == pytest.approx(100 * (224 / 200) ** 2)
    assert only(small, records).seconds == 30


def test_without_a_done_run_the_reference_rate_of_the_nearest_size_is_taken_and_named_as_not_measured_here() -> None:
    run = spec(**LITE0)
    found = only(run, [])
    assert found.basis.startswith("reference rate, not measured here (")
    assert found.seconds == pytest.approx(10 * (1034 / 74.0 + 133 / 307.1) + (2 * 133 + 2 * 128) / 307.1)
    larger = only(spec(models=[f"{run.model}.in1k"], training={"image_size": 192, "epochs": 10}), [])
    assert larger.seconds == pytest.approx(4 * found.seconds)
    assert run_times([run], [], "gpu") == {}


def test_a_tuning_run_takes_no_time_for_test_images() -> None:
    tuning = spec(**LITE0).model_copy(update={"trial": Trial(lr=1e-3)})
    assert only(tuning, []).seconds == pytest.approx(10 * (1034 / 74.0 + 133 / 307.1) + 2 * 133 / 307.1)


def test_kept_features_cost_one_pass_over_the_images_and_their_mirror_images() -> None:
    beans = took(spec(), 10, images=1034)
    features = spec(weights="hub", policies=["feature-extract"])
    of_beans = 40 * (1034 + 4 / 4) + (2 * 4 + 2 * 5) / 4
    assert only(features, [beans]).seconds == pytest.approx(10 * (2 * 1034 + 4 + 5) / 4 / of_beans)


def test_a_drawn_split_comes_from_the_training_images_and_a_choice_of_classes_takes_its_share() -> None:
    assert estimate_images(spec().source) == Images(1034, 133, 128)
    assert estimate_images(spec(datasets=["rps"]).source) == Images(2520 - 378, 378, 372)
    assert estimate_images(spec(datasets=[{"name": "rps", "limit": 500}]).source) == Images(500, 88, 372)
    assert estimate_images(spec(datasets=[{"name": "rps", "limit": 50}]).source) == Images(50, 20, 372)
    elpv = spec(datasets=["elpv"], input_modes=["grey-1ch"]).source
    assert estimate_images(elpv, "split") == Images(2223 - 2 * 333, 333, 333)
    assert estimate_images(elpv, "folds") == Images(2223 - 445 - 267, 267, 445)
    two = spec(datasets=[{"name": "rps", "classes": ["rock", "paper"]}])
    assert estimate_images(two.source) == Images(1680 - 252, 252, 248)


def test_runs_are_ordered_by_images_pixels_epochs_and_trained_part_and_equal_ones_keep_their_order() -> None:
    equal = expand(matrix(input_modes=["rgb", "grey-3ch", "colormap"]))
    assert ordered(equal) == equal
    short, long = spec(training={"epochs": 2}), spec(training={"epochs": 9})
    small, large = spec(training={"image_size": 32}), spec(training={"image_size": 64})
    few, many = spec(datasets=[{"name": "beans", "limit": 50}]), spec(datasets=["beans"])
    turned = spec(weights="hub", policies=["feature-extract"], training={"augment": [{"rotation": {"degrees": 9}}]})
    later = spec(weights="hub", policies=["freeze-early"])
    whole = spec(weights="hub", policies=["finetune-whole"])
    pairs = ((short, long), (small, large), (few, many), (turned, later), (later, whole))
    for less, more in pairs:
        assert ordered([less, more]) == ordered([more, less]) == [more, less]
    assert ordered([few, many], took(few, 1, images=2000), took(many, 1)) == [few, many]


def test_runs_on_cached_features_come_first_then_the_others_seed_by_seed_and_the_longest_of_a_seed_first() -> None:
    policies = ["freeze-early", "feature-extract", "finetune-whole"]
    made = expand(matrix(weights="hub", policies=policies, seeds=[0, 1, 2], training={"image_size": [32, 64]}))
    resumed = [run for run in made if (run.policy, run.seed) != ("freeze-early", 0)]
    order = [(run.policy, run.image_size, run.seed) for run in ordered(resumed)]
    assert order[:6] == [("feature-extract", size, seed) for seed in (0, 1, 2) for size in (64, 32)]
    longest_first = [("finetune-whole", 64), ("freeze-early", 64), ("finetune-whole", 32), ("freeze-early", 32)]
    assert order[6:] == [
        (policy, size, seed)
        for seed in (0, 1, 2)
        for policy, size in longest_first
        if (policy, seed) != ("freeze-early", 0)
    ]


def test_a_pace_is_the_slower_of_two_runs_and_scales_with_images_and_pixels_and_counts_a_slow_start_once() -> None:
    first, second, *others = expand(matrix(seeds=range(6), training={"image_size": 64, "epochs": 5}))

    def at(run: RunSpec, rate: float, overhead: float) -> DoneRun:
        times = {"train_images_per_second": rate, "train_seconds": 10.0, "eval_seconds": 2.0, "feature_seconds": 1.0}
        record = done(
            run,
            timing={**times, "total_seconds": 13.0 + overhead},
            dataset={"train_images": 100, "validation_images": 20},
        )
        untrained, first, *later = record.history
        slower = first.model_copy(update={"train_seconds": first.train_seconds + slow_start})
        return record.model_copy(update={"history": (untrained, slower, *later)})

    slow_start = 0.0

    pace = Pace.of([at(first, 50.0, 3.0), at(second, 40.0, 2.0)])
    assert pace == Pace(40.0 * 64 * 64, 3.0)
    images = 5 * (100 + 20 / 4) + (2 * 20 + 2 * 5) / 4
    each = images / 40 + 3 + 1
    records = [at(first, 1, 1)]
    assert expected_seconds(others, records, pace, 2) == pytest.approx(2 * each)
    assert expected_seconds(others, records, pace, 8) == pytest.approx(each)
    double = [run.model_copy(update={"image_size": 128}) for run in others]
    assert expected_seconds(double, records, pace, 2) == pytest.approx(2 * (4 * images / 40 + 4))
    assert expected_seconds([], records, pace, 2) == 0
    slow_start = 3.0  # seconds of the first epoch over the 2 s of each later one
    epochs = len(at(first, 1, 1).history) - 1
    rate = 40.0 * 2 * epochs / (2 * epochs + slow_start)
    assert Pace.of([at(first, rate, 3.0)]) == pytest.approx(Pace(40.0 * 64 * 64, 6.0))


def here(spec: RunSpec) -> DoneRun:
    """Return a record of a run that took 1.2 s on this processor."""
    return done(spec, timing={"total_seconds": 1.2}, environment={"cpu": environment.cpu_name(), "workers": 2})


def test_the_summary_of_what_is_left_is_shared_by_the_workers_and_says_its_basis() -> None:
    first, *others = (spec(seeds=[seed]) for seed in range(6))
    plan = plan_of((first, here(first)), *((run, None) for run in others))
    expected = forecast(plan)
    basis = "Basis: runs that differ only in the seed."
    assert expected.summary(plan.runs) == f"forecast: 5 runs to do, about 3 s with 2 at a time. {basis}"
    assert expected.summary(plan.runs[:2]) == f"forecast: 1 runs to do, about 1 s with 1 at a time. {basis}"
    assert expected.summary(plan.runs[:1]) == "forecast: nothing to do"
    unknown = plan_of((spec(), None))
    line = forecast(unknown).summary(unknown.runs)
    assert line.startswith("forecast: unknown until a run is done; no rate of timm/test_resnet ")


def test_the_device_is_that_of_the_newest_run_done_here_else_what_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NVIDIA", tmp_path)
    monkeypatch.delenv(environment.VISIBLE, raising=False)
    full = spec(models=["timm/resnetrs50.tf_in1k"])
    plan = plan_of((full, None))
    assert forecast(plan).times == {}
    for card in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / card).mkdir()
    assert "RTX 3090" in forecast(plan).times[full.id].basis
    assert forecast(plan).workers == 2
    elsewhere = plan_of((full, None), (spec(seeds=[1]), done(spec(seeds=[1]))))
    assert forecast(elsewhere).workers == 2, "a record of another processor does not count"
    monkeypatch.setenv(environment.VISIBLE, "")
    assert forecast(plan).times == {}
