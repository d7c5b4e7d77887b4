"""The command line as a user meets it: real processes, real exit codes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from PIL import Image

from tests.commands import TRAINING, Commands, library_servers, wait_for, workers


@pytest.fixture
def project(tmp_path: Path, cache: Path) -> Commands:
    return Commands(tmp_path, cache)


LOADED = "import sys; sys.argv[1:] = {arguments}\ntry:\n    from benchmark.cli import main; main()\n"
LOADED += "except SystemExit: pass\nprint('loaded', 'torch' in sys.modules, file=sys.stderr)"


@pytest.mark.parametrize(
    ("arguments", "seconds"),
    [(["--help"], 0.5), (["run", "--help"], 0.5), (["plan", "--matrix", "full"], 1.0)],
)
def test_help_and_plan_answer_at_once_and_without_torch(
    project: Commands, arguments: list[str], seconds: float
) -> None:
    times = []
    for _ in range(3):
        before = os.times()
        assert project.run(*arguments).returncode == 0
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert min(times) < seconds, "processor time; the wall's depends on what else runs"
    code = LOADED.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], cwd=project.folder, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "loaded False"


def test_plan_of_full_lists_81_runs_and_the_source_of_what_they_need(project: Commands) -> None:
    lines = project.run("plan", "--matrix", "full").stdout.splitlines()
    assert sum(line.endswith("pending") for line in lines) == 81
    assert lines[-1] == "81 of 81 runs listed. In all: 81 pending."
    assert [line.split(maxsplit=2) for line in lines if line.startswith(("dataset ", "weights "))] == [
        ["dataset", "beans", "huggingface.co"],
        ["dataset", "rps", "storage.googleapis.com"],
        ["dataset", "pets", "www.robots.ox.ac.uk"],
        ["weights", "timm/resnetrs50.tf_in1k", "huggingface.co"],
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"polices": ["scratch"]}, ["tiny.yaml:", "polices", "'policies'"]),
        pytest.param({"policies": ["finetun"]}, ["tiny.yaml:", "policies", "'finetune'"], marks=pytest.mark.slow),
        pytest.param(
            {"datasets": ["shape-contrl"]}, ["tiny.yaml:", "datasets", "'shape-control'"], marks=pytest.mark.slow
        ),
        pytest.param(
            {"input_modes": ["gray-1ch"]}, ["tiny.yaml:", "input_modes", "'grey-1ch'"], marks=pytest.mark.slow
        ),
        pytest.param(
            {"models": ["timm/test_resnt"]}, ["tiny.yaml:", "models", "'test_resnet'"], marks=pytest.mark.slow
        ),
        ({"training": {**TRAINING, "epoch": 3}}, ["tiny.yaml:", "training.epoch", "'epochs'"]),
    ],
)
def test_a_misspelt_word_exits_2_with_one_message_naming_file_key_and_nearest_word(
    project: Commands, change: dict[str, object], words: list[str]
) -> None:
    done = project.run("run", "--matrix", project.matrix(**change))
    assert done.returncode == 2
    message = done.stderr.strip()
    assert "\n" not in message
    for word in words:
        assert word in message
    assert not (project.folder / "results").exists(), "nothing may be written"


def test_rgb_on_images_without_colour_is_refused_when_it_is_all_that_is_asked(project: Commands) -> None:
    done = project.run("run", "--matrix", "quick", "--set", "input_modes=[rgb]")
    assert done.returncode == 2
    assert "rgb on elpv: its images have no colour" in done.stderr


@pytest.mark.slow
def test_a_missing_dataset_exits_2_before_anything_is_trained(project: Commands) -> None:
    matrix = project.matrix(datasets=["beans"])
    done = project.run("run", "--matrix", matrix, "--data-dir", str(project.folder / "empty"))
    assert done.returncode == 2
    assert str(project.folder / "empty" / "beans") in done.stderr
    assert project.records() == {}


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ("dataset", "KEY=VALUE"),
        ("datset=x", "'dataset'"),
        pytest.param("seed=7", "no such seed", marks=pytest.mark.slow),
        pytest.param("image_size=7", "Known: 32", marks=pytest.mark.slow),
        pytest.param("status=dnoe", "'done'", marks=pytest.mark.slow),
    ],
)
def test_a_wrong_selector_exits_2(project: Commands, selector: str, words: str) -> None:
    done = project.run("run", "--matrix", project.matrix(), "--only", selector)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.slow
def test_a_ray_cluster_that_cannot_be_reached_exits_2_with_one_message_before_anything_is_prepared(
    project: Commands,
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = project.run("run", "--matrix", project.matrix(), "--executor", "ray", "--ray-address", address)
    assert (done.returncode, done.stdout) == (2, "")
    (message,) = done.stderr.splitlines()
    assert f"--ray-address {address}: no Ray cluster can be reached there" in message
    assert not (project.folder / "results").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> tuple[Commands, str]:
    project = Commands(tmp_path_factory.mktemp("finished"), cache)
    done = project.run("run", "--matrix", project.matrix())
    assert done.returncode == 0, done.stderr
    return project, done.stdout


@pytest.mark.slow
def test_run_executes_the_matrix_prints_a_table_and_writes_the_report(finished: tuple[Commands, str]) -> None:
    project, printed = finished
    assert [record["status"] for record in project.records().values()] == ["done"] * 4
    assert "grey-1ch" in printed
    assert "95 % interval" in printed
    folder = project.folder / "results" / "tiny"
    assert {"matrix.yaml", "records", "report.md", "table.csv", "figures"} <= {path.name for path in folder.iterdir()}
    assert len(list((folder / "figures").glob("*.png"))) >= 3


@pytest.mark.slow
def test_run_computes_floor_rows_prints_them_once_and_plan_and_status_list_them(
    finished: tuple[Commands, str],
) -> None:
    project, printed = finished
    (title,) = re.findall("^floor rows: .*$", printed, re.MULTILINE)
    assert title.endswith("highest validation accuracy")
    methods = ["majority", "1-nn", "5-nn", "logistic"]
    assert re.findall(r"^shape-control +(\S+nn|majority|logistic) ", printed, re.MULTILINE) == methods
    assert printed.index("floor rows: ") < printed.index("95 % interval")
    assert len(list((project.results() / "floor").glob("*.json"))) == 4
    planned = project.run("plan", "--matrix", project.matrix()).stdout.splitlines()
    assert [line.split() for line in planned if "1 done" in line] == [
        ["1", "done", "shape-control", m] for m in methods
    ]
    status = project.run("status", "--matrix", project.matrix())
    assert (status.returncode, status.stdout.split()) == (0, ["4", "done", "4", "floor", "rows", "done"])


@pytest.mark.slow
def test_run_again_does_nothing_in_under_5_seconds(finished: tuple[Commands, str]) -> None:
    project, _ = finished
    before = {path: path.read_bytes() for path in (project.folder / "results").rglob("*") if path.is_file()}
    started = time.perf_counter()
    done = project.run("run", "--matrix", project.matrix())
    assert time.perf_counter() - started < 5
    assert done.returncode == 0
    assert {path: path.read_bytes() for path in (project.folder / "results").rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_report_check_agrees_until_a_file_is_changed(finished: tuple[Commands, str]) -> None:
    project, _ = finished
    assert project.run("report", "--check").returncode == 0
    report = project.folder / "results" / "tiny" / "report.md"
    original = report.read_bytes()
    report.write_bytes(original.replace(b"e", b"f", 1))
    done = project.run("report", "--check", "tiny")
    assert done.returncode == 1
    assert "report.md" in done.stdout
    assert project.run("report", "tiny").returncode == 0
    assert report.read_bytes() == original


@pytest.mark.slow
def test_another_matrix_under_the_same_name_is_refused_and_more_seeds_are_not(finished: tuple[Commands, str]) -> None:
    project, _ = finished
    refused = project.run("run", "--matrix", project.matrix(), "--set", "training.epochs=3")
    assert refused.returncode == 2
    assert "--name" in refused.stderr
    assert project.run("plan", "--matrix", project.matrix(), "--set", "seeds=[0,1,2]").stdout.endswith(
        "6 of 6 runs listed. In all: 4 done, 2 pending.\n"
    )
    named = project.run(
        "run", "--matrix", project.matrix(), "--set", "seeds=[5]", "--name", "other", "--only", "input_mode=grey-1ch"
    )
    assert named.returncode == 0
    assert len(project.records("other")) == 1


@pytest.mark.slow
def test_a_damaged_floor_row_is_named_left_out_of_the_report_and_computed_again(project: Commands) -> None:
    matrix = project.matrix(input_modes=["grey-1ch"], seeds=[0])
    first = project.results() / "floor"
    first.parent.mkdir(parents=True)
    first.write_text("in the way")
    done = project.run("run", "--matrix", matrix)
    assert done.returncode == 1
    assert [record["status"] for record in project.records().values()] == ["done"], "runs are executed all the same"
    assert [line for line in done.stderr.splitlines() if "floor" in line] == done.stderr.splitlines()
    first.unlink()
    assert project.run("run", "--matrix", matrix).returncode == 0
    logistic = next(path for path in first.glob("*.json") if '"logistic"' in path.read_text())
    good = logistic.read_text()
    logistic.write_text(good[:200])
    for verb in ("status", "report"):
        named = project.run(verb, *(["--matrix", matrix] if verb == "status" else []))
        assert named.returncode == 1
        assert str(logistic.relative_to(project.folder)) in named.stdout + named.stderr
    assert "1 damaged" in (project.results() / "report.md").read_text()
    assert project.run("run", "--matrix", matrix).returncode == 0
    assert '"logistic"' in logistic.read_text()
    assert project.run("report", "--check").returncode == 0


@pytest.mark.slow
def test_a_run_that_fails_is_recorded_the_others_continue_and_only_it_is_tried_again(project: Commands) -> None:
    matrix = project.matrix(seeds=[0], keep_weights="best")
    planned = project.run("plan", "--matrix", matrix).stdout
    (run_id,) = [line.split()[0] for line in planned.splitlines() if "grey-1ch" in line]
    in_the_way = project.folder / "results" / "tiny" / "weights" / f"{run_id}.safetensors"
    in_the_way.mkdir(parents=True)
    done = project.run("run", "--matrix", matrix)
    assert done.returncode == 1
    assert {(r["spec"]["input_mode"], r["status"]) for r in project.records().values()} == {
        ("grey-1ch", "failed"),
        ("grey-3ch", "done"),
    }
    (failed,) = [r for r in project.records().values() if r["status"] == "failed"]
    assert in_the_way.name in str(failed["reason"])
    assert "Traceback" in str(failed["traceback"])
    assert "1 runs failed" in done.stderr
    again = project.run("run", "--matrix", matrix, "--only", "status=failed")
    assert again.returncode == 1
    assert "1 runs, 1 at a time" in again.stdout
    status = project.run("status", "--matrix", matrix)
    assert status.returncode == 1
    assert "failed: shape-control grey-1ch scratch seed 0" in status.stdout
    in_the_way.rmdir()
    again = project.run("run", "--matrix", matrix)
    assert again.returncode == 0
    assert "1 runs, 1 at a time" in again.stdout


def first_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a run has kept the state after one of its epochs: a worker is training."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if any(folder.glob("*")):
            return
        time.sleep(0.05)
    raise AssertionError(f"no checkpoint in {folder}: {process.communicate()}")


@pytest.mark.slow
def test_a_killed_worker_costs_its_own_run_only(project: Commands) -> None:
    matrix = project.matrix(seeds=[0], training={**TRAINING, "epochs": 60})
    process = project.start("run", "--matrix", matrix, "--workers", "1")
    first_checkpoint(process, project.folder / "results" / "tiny" / "checkpoints")
    (worker,) = workers(process.pid)
    worker.kill()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert "SIGKILL" in err
    found = {record["status"]: record for record in project.records().values()}
    assert sorted(found) == ["done", "killed"]
    assert f"seed 0 started in process {worker.pid}" in found["killed"]["log"][0]


@pytest.mark.slow
def test_processes_killed_before_one_took_a_run_cost_none(project: Commands) -> None:
    process = project.start("run", "--matrix", project.matrix(seeds=[0]), "--workers", "1")
    wait_for(lambda: bool(library_servers(process.pid)))
    (server,) = library_servers(process.pid)
    server.kill()  # in the middle of its imports
    killed: set[int] = set()
    while len(killed) < 2:  # what looks at the networks is among them
        wait_for(lambda: bool({each.pid for each in workers(process.pid)} - killed))
        for each in workers(process.pid):
            each.kill()
            killed.add(each.pid)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert [record["status"] for record in project.records().values()] == ["done", "done"]


@pytest.mark.slow
def test_the_process_that_workers_are_forked_from_costs_the_runs_under_way_when_it_is_killed(project: Commands) -> None:
    matrix = project.matrix(seeds=[0], training={**TRAINING, "epochs": 60})
    process = project.start("run", "--matrix", matrix, "--workers", "1")
    first_checkpoint(process, project.folder / "results" / "tiny" / "checkpoints")
    (server,), (worker,) = library_servers(process.pid), workers(process.pid)
    server.kill()
    psutil.wait_procs([worker], timeout=5)
    assert not worker.is_running()
    _, err = process.communicate(timeout=240)
    assert process.returncode == 1, err
    assert sorted(record["status"] for record in project.records().values()) == ["done", "killed"]
    again = project.run("run", "--matrix", matrix, "--workers", "1")
    assert again.returncode == 0, again.stderr


@pytest.mark.slow
def test_a_run_that_exceeds_its_time_is_recorded_as_timeout(project: Commands) -> None:
    matrix = project.matrix(seeds=[0], timeout=6, training={**TRAINING, "epochs": 5000}, input_modes=["grey-1ch"])
    done = project.run("run", "--matrix", matrix)
    assert done.returncode == 1
    (record,) = project.records().values()
    assert record["status"] == "timeout"
    assert record["reason"] == "exceeded its time limit of 6 s"
    assert re.search(r"epoch \d+, stage 1: training loss \d+\.\d+, validation accuracy \d\.\d+, ", record["log"][-1])


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_exits_130_leaves_no_worker_and_resumes_later(project: Commands, number: int) -> None:
    matrix = project.matrix(training={**TRAINING, "epochs": 400})
    process = project.start("run", "--matrix", matrix, "--workers", "1")
    first_checkpoint(process, project.folder / "results" / "tiny" / "checkpoints")
    (worker,) = workers(process.pid)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in err
    psutil.wait_procs([worker], timeout=10)
    assert not worker.is_running()
    assert all(record["status"] == "done" for record in project.records().values())


@pytest.mark.slow
def test_a_run_that_is_interrupted_while_libraries_are_imported_ends_at_once(project: Commands) -> None:
    process = project.start("run", "--matrix", project.matrix())
    wait_for(lambda: bool(library_servers(process.pid)))
    (server,) = library_servers(process.pid)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert time.monotonic() - began < 2
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert err == "interrupted. Finished runs are kept; run the same command again to resume.\n"
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running()


@pytest.mark.slow
def test_workers_import_the_libraries_themselves_if_the_name_of_the_temporary_folder_is_too_long_for_a_socket(
    project: Commands,
) -> None:
    folder = project.folder / ("long" * 20)
    folder.mkdir()
    project.environment["TMPDIR"] = str(folder)
    done = project.run("run", "--matrix", project.matrix())
    assert done.returncode == 0, done.stderr
    assert {record["status"] for record in project.records().values()} == {"done"}
    assert not [*folder.glob("benchmark-*"), *folder.glob("pymp-*")]


@pytest.mark.slow
def test_a_command_that_executes_runs_loads_no_torch_itself(project: Commands) -> None:
    code = LOADED.format(arguments=["run", "--matrix", project.matrix()])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "loaded False"
    assert {record["status"] for record in project.records().values()} == {"done"}


@pytest.mark.slow
def test_a_small_folder_is_evaluated_by_cross_validation_from_matrix_to_report(project: Commands) -> None:
    generator = np.random.default_rng(0)
    for name, value in (("dark", 60), ("light", 190)):
        (project.folder / "my images" / name).mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(value - 50, value + 50, (40, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(project.folder / "my images" / name / f"{number}.png")
    matrix = project.matrix(
        datasets=["folder:my images"], input_modes=["rgb", "grey-3ch", "grey-1ch"], seeds=[0, 1, 2, 3, 4, 5]
    )
    done = project.run("run", "--matrix", matrix)
    assert done.returncode == 0, done.stderr
    tested = {}
    for record in project.records().values():
        dataset, spec = record["dataset"], record["spec"]
        assert isinstance(dataset, dict)
        assert isinstance(spec, dict)
        assert dataset["folds"] == 5
        predictions = pd.read_parquet(project.folder / "results" / "tiny" / "records" / f"{record['id']}.parquet")
        assert len(predictions) == 16
        tested[spec["input_mode"], spec["seed"]] = set(predictions["image_id"])
    assert {mode for mode, _ in tested} == {"grey-3ch", "grey-1ch"}, "rgb is not applicable to images without colour"
    assert len(set.union(*(tested["grey-1ch", seed] for seed in range(5)))) == 80, "five folds hold every image once"
    assert tested["grey-1ch", 5] == tested["grey-1ch", 0] == tested["grey-3ch", 0]
    report = (project.folder / "results" / "tiny" / "report.md").read_text()
    assert "5-fold cross-validation" in report
    assert str(project.folder) not in report
    assert project.run("report", "--check").returncode == 0
    assert project.run("status", "--matrix", matrix).stdout.split() == ["12", "done", "20", "floor", "rows", "done"]
    Image.new("L", (40, 40)).save(project.folder / "my images" / "dark" / "0.png")
    refused = project.run("run", "--matrix", matrix)
    assert refused.returncode == 2
    assert "--name" in refused.stderr


@pytest.mark.slow
def test_preflight_names_every_problem_with_its_line_and_trains_nothing(project: Commands) -> None:
    file = project.matrix(models=["timm/test_resnet", "timm/test_resnot"], datasets=["shape-control", "pets"])
    done = project.run("plan", "--preflight", "--matrix", file, "--data-dir", str(project.folder / "none"))
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "tiny.yaml:" in line]
    assert any("tiny.yaml:2: models: " in line and "test_resnot" in line and "test_resnet" in line for line in lines)
    assert any(": datasets: " in line and "pets" in line for line in lines)
    assert "Traceback" not in done.stderr
    assert not (project.folder / "results").exists()
    again = project.run("run", "--matrix", file, "--data-dir", str(project.folder / "none"))
    assert again.returncode == 2
    assert not (project.folder / "results").exists()


@pytest.mark.slow
def test_preflight_covers_the_selected_runs_only(project: Commands) -> None:
    file = project.matrix(models=["timm/test_resnet", "timm/test_resnot"], policies=["finetune"])
    done = project.run("plan", "--preflight", "--matrix", file, "--only", "model=timm/test_resnet")
    assert done.returncode == 0, done.stderr
    assert "preflight: 4 runs to do, no problems found." in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if "grey-1ch" in line and ", then " in line]
    assert "finetune" in row
