"""``run``, ``plan`` and ``status`` of a matrix whose learning rate is chosen by tuning runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from benchmark.cli import app
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.matrix import Matrix
from benchmark.matrix.tuning import tuning_runs
from benchmark.records.plan import make_plan
from benchmark.records.store import Store
from tests import factories
from tests.commands import TRAINING, Commands

RATES = [1e-3, 1e-2]
TUNED = {"input_modes": ["grey-1ch"], "seeds": [0, 1], "tune_seeds": [100], "training": {**TRAINING, "lr": RATES}}


class Made:
    """A matrix with two rates for each of two policies: 4 tuning runs and 4 reported ones, no record yet."""

    def __init__(self, folder: Path) -> None:
        self.commands = Commands(folder, folder / "cache")
        self.file = self.commands.matrix(**{**TUNED, "policies": ["scratch", "finetune-whole"]})
        self.matrix: Matrix = file.load(Path(self.file))
        self.store = Store(self.commands.results())
        self.tuning = tuning_runs(self.matrix)

    def tune(self, policy: str) -> None:
        """Save the tuning runs of a policy: the second rate is the better one."""
        for spec in self.tuning:
            if spec.trial and spec.policy == policy:
                self.store.save(factories.tuned(spec, accuracy=0.6 + 10 * spec.trial.lr))

    def call(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, [arguments[0], "--matrix", self.file, *arguments[1:]])


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.chdir(tmp_path)
    return Made(tmp_path)


def listed(done: Result) -> list[tuple[str, str, str, str, str]]:
    """Return id, policy, seed, lr and state of the runs that ``plan`` lists."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in done.output.splitlines() if "shape-control  " in line]
    rows = [line for line in lines if line[0] != "dataset shape-control"]
    return [(row[0], row[3], row[5], row[6], row[-1]) for row in rows if len(row) == 9]


def test_plan_lists_tuning_runs_and_waiting_runs_without_an_id_or_rate(made: Made) -> None:
    made.tune("scratch")
    done = made.call("plan")
    assert done.exit_code == 0, done.output
    rows = listed(done)
    assert sorted((policy, seed, lr, state) for _, policy, seed, lr, state in rows) == [
        ("finetune-whole", "0", "?", "waiting"),
        ("finetune-whole", "1", "?", "waiting"),
        ("finetune-whole", "100", "trying lr 0.001", "pending"),
        ("finetune-whole", "100", "trying lr 0.01", "pending"),
        ("scratch", "0", "0.01", "pending"),
        ("scratch", "1", "0.01", "pending"),
        ("scratch", "100", "trying lr 0.001", "done"),
        ("scratch", "100", "trying lr 0.01", "done"),
    ]
    with_best = expand(file.load(Path(made.file), ["training.lr=1e-2", "tune_seeds=[]"]))
    ids = {(policy, seed): run_id for run_id, policy, seed, _, state in rows if state != "done"}
    assert ids["scratch", "1"] == next(s.id for s in with_best if (s.policy, s.seed) == ("scratch", 1))
    assert ids["finetune-whole", "1"] == "?"
    assert "8 of 8 runs listed. In all: 2 done, 4 pending, 2 waiting." in done.output
    assert "forecast: 6 runs to do" in done.output


def test_a_selected_run_brings_the_tuning_runs_that_it_waits_for_and_no_others(made: Made) -> None:
    made.tune("scratch")

    def selected(*only: str) -> list[tuple[str, str]]:
        options = [word for selector in only for word in ("--only", selector)]
        done = made.call("plan", *options)
        assert done.exit_code == 0, done.output
        return sorted((policy, seed) for _, policy, seed, _, _ in listed(done))

    whole = [("finetune-whole", "0"), ("finetune-whole", "100"), ("finetune-whole", "100")]
    assert selected("seed=0") == [*whole, ("scratch", "0")]
    assert selected("seed=0", "policy=scratch") == [("scratch", "0")]
    assert selected("status=waiting") == sorted([*whole, ("finetune-whole", "1")])
    assert selected("seed=100", "policy=finetune-whole") == whole[1:]
    assert selected("status=done") == [("scratch", "100")] * 2


def test_status_counts_every_run_and_reports_show_only_those_that_are_reported(made: Made) -> None:
    made.tune("scratch")
    plan = make_plan(made.matrix, made.store)
    for run in plan.runs[:1]:
        made.store.save(*factories.record_of(run.spec, factories.latent()(run.spec)))
    status = made.call("status")
    assert status.exit_code == 0, status.output
    assert status.output.splitlines()[:3] == ["     3 done", "     3 pending", "     2 waiting"]
    assert (
        "waiting: shape-control finetune-whole: no learning rate is chosen: 2 of 2 tuning runs not done"
        in status.output
    )
    made.store.matrix.write_text(file.dump(made.matrix))
    assert CliRunner().invoke(app, ["report"]).exit_code == 0
    text = (made.store.folder / "report.md").read_text()
    assert "4 runs asked for: 1 done, 0 failed, 0 stale, 1 pending, 2 waiting." in text
    assert CliRunner().invoke(app, ["report", "--check"]).exit_code == 0


@pytest.mark.slow
def test_a_folder_is_kept_for_more_runs_and_refused_for_what_may_change_a_choice(made: Made) -> None:
    for spec in made.tuning:
        made.store.save(factories.tuned(spec))
    for run in make_plan(made.matrix, made.store).runs:
        made.store.save(*factories.record_of(run.spec, factories.latent()(run.spec)))
    assert made.call("run").exit_code == 0
    others = ("tune_seeds=[100,101]", "input_modes=[grey-1ch,grey-3ch]", "training.lr=[0.001,0.01,0.1]")
    for other in others:
        refused = made.call("run", "--set", other)
        assert isinstance(refused.exception, Exception)
        assert "these results belong to another matrix: 4 of its runs" in str(refused.exception)


@pytest.mark.slow
def test_run_tunes_chooses_and_runs_in_one_command_and_resumes_where_it_was(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    matrix = commands.matrix(**{**TUNED, "seeds": [0]})
    done = commands.run("run", "--matrix", matrix)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^\[(\d)/(\d)\] .*?: (\w+) accuracy", done.stdout, re.M) == [
        ("1", "3", "validation"),
        ("2", "3", "validation"),
        ("3", "3", "test"),
    ]
    records = commands.records()
    tried = {r["spec"]["trial"]["lr"]: r for r in records.values() if r["status"] == "tuned"}
    ((reported, record),) = ((run_id, r) for run_id, r in records.items() if r["status"] == "done")
    best = max(RATES, key=lambda lr: (tried[lr]["validation"]["accuracy"], -tried[lr]["validation"]["log_loss"]))
    assert record["spec"]["stages"][0]["lr"] == best
    assert len(list((commands.results() / "records").glob("*.parquet"))) == 1
    assert [line.split(",")[4:7] for line in (commands.results() / "tuning.csv").read_text().splitlines()[1:]] == [
        ["", f"{lr:g}", "yes" if lr == best else "no"] for lr in RATES
    ]
    assert commands.run("report", "--check").returncode == 0

    again = commands.run("run", "--matrix", matrix)
    assert (again.returncode, re.findall(r"^\[", again.stdout, re.M)) == (0, [])

    # killed before one tuning run and the reported run were recorded: only these two are run, on Ray, to the same end
    for run_id in (reported, tried[RATES[0]]["id"]):
        for path in (commands.results() / "records").glob(f"{run_id}.*"):
            path.unlink()
    resumed = commands.run("run", "--matrix", matrix, "--executor", "ray")
    assert resumed.returncode == 0, resumed.stderr
    assert len(re.findall(r"^\[\d/2\] ", resumed.stdout, re.M)) == 2
    assert {run_id: r["validation"] for run_id, r in commands.records().items()} == {
        run_id: r["validation"] for run_id, r in records.items()
    }


@pytest.mark.slow
def test_runs_wait_for_a_tuning_run_that_did_not_end_well_and_the_command_exits_1(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    matrix = commands.matrix(**{**TUNED, "timeout": 0.001})
    done = commands.run("run", "--matrix", matrix)
    assert done.returncode == 1
    assert "waiting: shape-control scratch: no learning rate is chosen: " in done.stderr
    assert "2 of 2 tuning runs not done" in done.stderr
    assert {record["status"] for record in commands.records().values()} == {"timeout"}
    assert "2 runs: 0 done, 0 failed, 0 stale, 0 pending, 2 waiting" in done.stdout
