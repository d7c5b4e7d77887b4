from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark import environment
from benchmark.cli import forecast
from benchmark.cli.forecast import expected, total, workers_of
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.plan import Plan, PlannedRun
from benchmark.records.record import DoneRun
from tests import factories


def plan_of(*runs: tuple[RunSpec, DoneRun | None]) -> Plan:
    planned = (PlannedRun(spec, "done" if record else "pending", record) for spec, record in runs)
    return Plan(tuple(planned), (), ())


def here(spec: RunSpec, device: str = "cpu", workers: int = 2) -> DoneRun:
    """Return a record of a run that took 1.2 s on this processor."""
    mine = {"cpu": environment.cpu_name(), "device": device, "workers": workers}
    return factories.done(spec, environment=mine, timing={"total_seconds": 1.2})


def test_the_forecast_of_what_is_left_is_shared_by_the_workers_and_says_its_basis() -> None:
    first, *others = (factories.spec(seeds=[seed]) for seed in range(6))
    plan = plan_of((first, here(first)), *((spec, None) for spec in others))
    line = total(plan.runs, expected(plan), workers_of(plan))
    assert line == "forecast: 5 runs to do, about 3 s with 2 at a time. Basis: runs that differ in the seed only."
    assert total(plan.runs[:1], expected(plan), 2) == "forecast: nothing is left to do"
    assert "about 1 s with 1 at a time" in total(plan.runs[:2], expected(plan), 2)


def test_without_a_basis_the_network_is_named() -> None:
    plan = plan_of((factories.spec(), None))
    assert expected(plan) == {}
    assert total(plan.runs, {}, 1).startswith("forecast: none until a run is done; no rate of timm/test_resnet ")


def test_the_device_is_that_of_the_newest_run_done_here_else_what_the_driver_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast, "NVIDIA", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    full = factories.spec(models=["timm/resnetrs50.tf_in1k"])
    assert expected(plan_of((full, None))) == {}
    for card in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / card).mkdir()
    plan = plan_of((full, None))
    assert "RTX 3090" in expected(plan)[full.id].basis
    assert workers_of(plan) == 2
    elsewhere = plan_of((full, None), (factories.spec(seeds=[1]), factories.done(factories.spec(seeds=[1]))))
    assert workers_of(elsewhere) == 2, "a record of another processor does not count"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert expected(plan) == {}


def test_the_images_of_a_folder_are_counted(tmp_path: Path) -> None:
    for label, number in (("x", 40), ("y", 20), ("z", 30)):
        (tmp_path / label).mkdir()
        for position in range(number):
            Image.fromarray(np.full((4, 4), position, dtype=np.uint8)).save(tmp_path / label / f"{position}.png")
    given = {"name": f"folder:{tmp_path}", "content": "0" * 64, "colour": False}
    whole, two = (
        factories.spec(
            datasets=[{**given, **chosen}],
            models=["timm/tf_efficientnet_lite0"],
            input_modes=["grey-1ch"],
            training={"epochs": 1, "image_size": 96},
        )
        for chosen in ({}, {"classes": ["x", "y"]})
    )
    found = expected(plan_of((whole, None), (two, None)))
    assert found[whole.id].seconds == pytest.approx(62 / 74.0 + 28 / 307.1)
    assert found[two.id].seconds == pytest.approx(42 / 74.0 + 18 / 307.1)
