from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import calibration, environment
from benchmark.calibration import Calibration
from benchmark.cli.expected import NO_BASIS, against_actual, expected, total, workers_of
from benchmark.forecast import Hardware, Pace, way
from benchmark.matrix import RunSpec
from benchmark.plan import Plan, PlannedRun
from benchmark.records import RunRecord
from tests import matrices
from tests.cli.commands import Commands

HERE = Hardware("cpu", environment.cpu_name())


def calibrated(spec: RunSpec, per_image: float = 0.01) -> Calibration:
    pace = Pace(train=(per_image,) * len(spec.stages), evaluate=per_image / 4, fixed=1.0)
    return Calibration(HERE, 2, ((way(spec, HERE), pace),))


def plan_of(*runs: tuple[RunSpec, RunRecord | None]) -> Plan:
    planned = (PlannedRun(spec, "done" if record else "pending", record) for spec, record in runs)
    return Plan(tuple(planned), (), ())


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCHMARK_CACHE_DIR", str(tmp_path))
    return tmp_path


def test_a_calibration_is_kept_added_to_and_a_damaged_one_is_none(own_cache: Path) -> None:
    assert calibration.read() is None
    first, second = matrices.spec(), matrices.spec(models=["timm/test_vit"])
    calibration.keep(calibrated(first))
    calibration.keep(calibrated(second))
    newer = calibrated(first, per_image=0.5)
    calibration.keep(newer)
    kept = calibration.read()
    assert kept is not None
    assert dict(kept.paces) == {**dict(newer.paces), **dict(calibrated(second).paces)}
    calibration.keep(Calibration(Hardware("a card", HERE.cpu), 1))
    kept = calibration.read()
    assert kept is not None and kept.paces == (), "another device's paces do not mix"
    calibration.path().write_bytes(b"{")
    assert calibration.read() is None


def test_the_forecast_of_what_is_left_is_shared_by_the_workers_or_has_no_basis() -> None:
    specs = [matrices.spec(seeds=[seed], datasets=["beans"]) for seed in (0, 1, 2)]
    plan = plan_of(*((spec, None) for spec in specs))
    assert total(plan.runs, expected(plan, None), 1) == NO_BASIS
    kept = calibrated(specs[0])
    foreseen = expected(plan, kept)
    epochs = sum(stage.epochs for stage in specs[0].stages)
    by_hand = 1.0 + epochs * (1034 * 0.01 + (133 + 128) * 0.0025)
    assert [foreseen[spec.id].seconds for spec in specs] == pytest.approx([by_hand] * 3)
    line = total(plan.runs, foreseen, workers_of(plan, kept))
    assert line.startswith("forecast: 3 runs to do, about ")
    assert f"{3 * by_hand / 2 / 60:.1f} min with 2 at a time" in line
    assert total((), foreseen, 2) == "forecast: nothing is left to do"


def test_what_runs_took_is_set_against_what_was_expected_before_them() -> None:
    spec = matrices.spec()
    plan = plan_of((spec, matrices.done(spec)))
    assert against_actual(plan, None) is None
    kept = calibrated(spec)
    before = expected(plan, kept, from_records=False)[spec.id].seconds
    assert before is not None
    assert before != pytest.approx(1.2), "the record must not be its own forecast"
    line = against_actual(plan, kept)
    assert line is not None
    assert line.startswith("1 done runs: forecast ")
    assert line.endswith(f"took 1 s ({1.2 / before:.2f} of the forecast)")


def test_records_of_another_machine_are_no_basis() -> None:
    spec, other = matrices.spec(), matrices.spec(seeds=[1])
    plan = plan_of((spec, matrices.done(spec)), (other, None))
    assert total(plan.runs, expected(plan, None), 1) == NO_BASIS


@pytest.mark.slow
def test_doctor_measures_what_plan_then_forecasts_and_tells_what_would_stop_a_run(tmp_path: Path) -> None:
    project = Commands(tmp_path, tmp_path / "cache")
    matrix = project.matrix(policies=["finetune", "scratch"], input_modes=["grey-1ch"], seeds=[0])
    assert "?" in project.run("plan", "--matrix", matrix).stdout
    done = project.run("doctor", "--matrix", matrix)
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("torch", "free memory", "free disk, cache", "generated when needed", "training, images/s"):
        assert words in done.stdout
    assert "forecast: 2 runs to do, about " in done.stdout
    planned = project.run("plan", "--matrix", matrix)
    assert "forecast: 2 runs to do, about " in planned.stdout
    assert "?" not in planned.stdout
    assert not (tmp_path / "results").exists()
    missing = project.matrix(datasets=["elpv", "hotdog"], models=["timm/test_resnot"])
    stopped = project.run("doctor", "--matrix", missing, "--no-calibrate", "--data-dir", str(tmp_path))
    assert stopped.returncode == 1
    assert "STOPS  weights timm/test_resnot" in stopped.stdout
