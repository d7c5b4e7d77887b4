from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import benchmark
from benchmark.analysis import frames
from benchmark.cli import app
from benchmark.errors import UserError
from benchmark.matrix import file
from benchmark.protocol import PROTOCOL_VERSION
from benchmark.report.tables import csv
from tests import factories
from tests.commands import TINY

COMMITTED = Path(__file__).resolve().parents[2] / "results"


def processor_seconds(code: str) -> tuple[float, str]:
    """Return the processor time of a new Python that executes the code, the least of three, and what it prints."""
    times = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(times), done.stdout.strip()


def test_the_import_takes_under_half_a_second_and_loads_no_torch_and_no_pandas() -> None:
    code = "import sys, benchmark; {}; print(*{{'torch', 'pandas', 'matplotlib'}} & set(sys.modules))"
    for use in ("benchmark.__version__", "benchmark.load_matrix('quick')"):
        seconds, loaded = processor_seconds(code.format(use))
        assert (seconds < 0.5, loaded) == (True, ""), (use, seconds)


def test_each_public_name_exists_and_is_documented_and_another_one_does_not_exist() -> None:
    for name in benchmark.__all__:
        assert name in dir(benchmark)
        assert name == "__version__" or getattr(benchmark, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = benchmark.rnu  # type: ignore[attr-defined]  # which mypy finds, too


def test_the_version_is_the_packages_and_the_command_line_prints_it_with_the_protocols() -> None:
    printed = CliRunner().invoke(app, ["--version"])
    assert printed.exit_code == 0
    expected = f"greyscale-transfer-benchmark {benchmark.__version__}, protocol {PROTOCOL_VERSION}\n"
    assert printed.output == expected


def test_changes_are_values_with_dotted_keys_and_mean_the_same_as_on_the_command_line() -> None:
    changes = {
        "seeds": [0],
        "training.epochs": 3,
        "training.policy_lr": {},
        "training.lr": 1e-5,
        "datasets": [{"name": "beans", "limit": 90}],
    }
    texts = [
        "seeds=[0]",
        "training.epochs=3",
        "training.policy_lr={}",
        "training.lr=1.0e-5",
        "datasets=[{name: beans, limit: 90}]",
    ]
    given = benchmark.load_matrix("quick", changes, name="mine")
    assert given == file.load(file.find("quick"), texts, "mine")
    assert given.training.lr == (1e-5,)


def test_a_mistake_raises_an_error_with_the_message_of_the_command_line(tmp_path: Path) -> None:
    def message(*words: str) -> str:
        return str(CliRunner().invoke(app, list(words)).exception)

    with pytest.raises(UserError) as wrong:
        benchmark.load_matrix("quick", {"polices": ["scratch"]})
    assert str(wrong.value) == message("plan", "--set", 'polices=["scratch"]')
    assert "'policies'" in str(wrong.value)
    with pytest.raises(UserError) as missing:
        benchmark.load_results("quik", results=COMMITTED)
    assert str(missing.value) == message("report", "quik", "--results", str(COMMITTED))
    matrix = benchmark.load_matrix("quick")
    with pytest.raises(UserError) as selector:
        benchmark.run(matrix, only=["policy=scrach"], results=tmp_path)
    assert str(selector.value) == message("run", "--only", "policy=scrach", "--results", str(tmp_path))
    with pytest.raises(UserError, match="also give --executor ray"):
        benchmark.run(matrix, ray_address="auto", results=tmp_path)
    with pytest.raises(UserError, match="--workers 0: give a positive number"):
        benchmark.run(matrix, workers=0, results=tmp_path)
    with pytest.raises(UserError, match=r"give exactly one of --run ID and --best NAME"):
        benchmark.predict("image.png", results=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_expand_gives_each_run_and_with_several_rates_also_those_that_choose() -> None:
    assert len(benchmark.expand(benchmark.load_matrix("full"))) == 81
    tuned = benchmark.load_matrix("quick", {"training.policy_lr": {}, "training.lr": [1e-3, 1e-4], "tune_seeds": [100]})
    runs = benchmark.expand(tuned)
    assert len(runs) == 2 * 8 + 2 * 24
    assert len({run.id for run in runs}) == len(runs)


def test_plan_gives_one_row_per_run_with_its_state_and_its_expected_time() -> None:
    matrix = benchmark.load_matrix("quick", {"seeds": [0, 1, 2, 3]})
    planned = benchmark.plan(matrix, results=COMMITTED)
    assert planned["state"].value_counts().to_dict() == {"done": 24, "pending": 8}
    assert set(planned.loc[planned["state"] == "pending", "seed"]) == {3}
    assert (planned["seconds"] > 0).all()
    assert planned["id"].is_unique
    assert len(benchmark.plan(matrix, only=["policy=scratch", "seed=3"], results=COMMITTED)) == 2


@pytest.fixture(scope="module")
def quick() -> benchmark.Results:
    return benchmark.load_results("quick", results=COMMITTED)


def test_the_tables_are_those_of_the_report(quick: benchmark.Results, tmp_path: Path) -> None:
    folder = COMMITTED / "quick"
    assert csv(quick.cells).encode() == (folder / "table.csv").read_bytes()
    assert csv(quick.differences).encode() == (folder / "differences.csv").read_bytes()
    pd.testing.assert_frame_equal(
        quick.runs, pd.read_parquet(folder / "runs.parquet"), check_dtype=False, check_column_type=False
    )
    assert list(quick.claims.columns) == list(frames.CLAIM_COLUMNS)
    assert set(quick.claims["verdict"]) <= {"supported", "contradicted", "undecided", "not run"}
    assert len(quick.claims) > 0
    assert quick.damaged == ()


def test_a_claims_table_agrees_with_the_verdicts_in_the_report(quick: benchmark.Results) -> None:
    report = (COMMITTED / "quick" / "report.md").read_text(encoding="utf-8")
    for text in set(quick.claims["claim"]):
        assert text.replace("*", "\\*") in report


def test_report_writes_the_same_files_into_any_folder(quick: benchmark.Results, tmp_path: Path) -> None:
    written = quick.report(tmp_path / "mine")
    assert written == tmp_path / "mine" / "report.md"
    for name in ("report.md", "table.csv", "differences.csv", "floor.csv", "table.tex", "figures.json"):
        assert (tmp_path / "mine" / name).read_bytes() == (COMMITTED / "quick" / name).read_bytes()
    assert (tmp_path / "mine" / "report.html").is_file()


def test_print_shows_the_answer_and_the_table_and_a_notebook_one_line(quick: benchmark.Results) -> None:
    assert "95 % interval" in str(quick)
    assert "grey-1ch" in str(quick)
    assert repr(quick) == f"Results({str(COMMITTED / 'quick')!r})"


def test_settings_in_the_environment_are_not_in_force_and_those_of_another_training_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")
    monkeypatch.setenv("MPLBACKEND", "svg")
    with pytest.raises(UserError, match="ACCELERATE_MIXED_PRECISION: set in the environment"):
        benchmark.run(benchmark.load_matrix("quick"), results=tmp_path)
    assert os.environ["ACCELERATE_MIXED_PRECISION"] == "fp16"
    assert os.environ["MPLBACKEND"] == "svg"


WITHOUT_A_GUARD = """
import sys
import benchmark
from tests.commands import TINY

print("executed", __name__)
matrix = benchmark.load_matrix(sys.argv[1], {"seeds": [0]})
results = benchmark.run(matrix, workers=1)
print("torch" in sys.modules, len(results.not_done), sorted(results.runs["state"]))

import matplotlib
print(matplotlib.get_backend())
"""


@pytest.mark.slow
def test_a_script_without_a_guard_runs_a_matrix_quietly_and_a_run_that_fails_is_in_the_results(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump({**TINY, "keep_weights": "best"}))
    matrix = benchmark.load_matrix(path, {"seeds": [0]})
    doomed = next(run for run in benchmark.expand(matrix) if run.input_mode == "grey-1ch")
    (tmp_path / "results" / "tiny" / "weights" / f"{doomed.id}.safetensors").mkdir(parents=True)
    (tmp_path / "script.py").write_text(WITHOUT_A_GUARD)
    done = subprocess.run(
        [sys.executable, "script.py", str(path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(COMMITTED.parent), "MPLBACKEND": "svg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["executed __main__", "False 1 ['done', 'failed']", "svg"]
    assert done.stderr == ""
    results = benchmark.load_results("tiny", results=tmp_path / "results")
    (failed,) = results.runs.loc[results.runs["state"] == "failed"].to_dict("records")
    assert failed["id"] == doomed.id
    assert "safetensors" in failed["reason"]
    assert (tmp_path / "results" / "tiny" / "report.html").is_file()


@pytest.mark.slow
def test_predict_gives_the_probability_of_each_class_and_why_a_file_is_not_an_image(tmp_path: Path) -> None:
    factories.write_bars(tmp_path / "bars", each=20)
    changes = {**{key: value for key, value in TINY.items() if key != "name"}, "datasets": [f"folder:{tmp_path}/bars"]}
    matrix = benchmark.load_matrix("quick", {**changes, "keep_weights": "best", "seeds": [0]}, name="bars")
    results = benchmark.run(matrix, results=tmp_path / "results")
    assert results.not_done == ()
    (tmp_path / "bars" / "lying" / "broken.png").write_bytes(b"no image")
    found = benchmark.predict([tmp_path / "bars"], best="bars", results=tmp_path / "results")
    assert list(found.columns) == ["path", "class", "p(lying)", "p(standing)", "problem"]
    assert len(found) == 41
    (bad,) = found[found["problem"].notna()].to_dict("records")
    assert bad["path"].endswith("broken.png")
    assert pd.isna(bad["class"])
    good = found[found["problem"].isna()]
    assert (good[["p(lying)", "p(standing)"]].sum(axis=1) - 1).abs().max() < 1e-6
    assert set(good["class"]) <= {"lying", "standing"}
