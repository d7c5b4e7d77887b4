"""The files that a project of this kind has beside its code: they say what is true."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_constraints_are_the_versions_that_the_committed_results_were_measured_with() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    for path in (ROOT / "results").glob("*/records/*.json"):
        for name, version in json.loads(path.read_text(encoding="utf-8"))["environment"]["packages"].items():
            assert pinned[name.lower().replace("_", "-")] == version, (path, name)


@pytest.mark.slow
def test_in_a_checkout_with_the_line_endings_of_windows_the_committed_reports_agree_with_their_records(
    tmp_path: Path,
) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    clone = tmp_path / "clone"

    def run(*words: str) -> list[str]:
        done = subprocess.run(
            words, cwd=tmp_path if "clone" in words else clone, env=own, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    run("git", "-c", "core.autocrlf=true", "clone", "-q", "--depth", "1", f"file://{ROOT}", str(clone))
    found = run("git", "ls-files", "--eol")
    assert len(found) > 300
    assert [line for line in found if "w/crlf" in line or "w/mixed" in line] == []
    committed = sorted(path.parent for path in (clone / "results").glob("*/matrix.yaml"))
    agreeing = [f"{path.relative_to(clone)}: agrees with its records" for path in committed]
    assert run(sys.executable, "-m", "benchmark", "report", "--check") == agreeing


def test_what_the_workflows_and_the_makefile_run_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert targets == {"install", "lint", "types", "test", "docs"}
    workflows = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github" / "workflows").glob("*.yml")}
    assert set(workflows) == {"ci.yml", "nightly.yml"}
    commands = [
        step["run"]
        for workflow in workflows.values()
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    made = {
        target for command in commands for line in re.findall(r"make ([a-z ]+)", command) for target in line.split()
    }
    assert made <= targets
    assert ".ci/run" in commands


def test_each_test_that_the_security_page_names_exists() -> None:
    text = (ROOT / ".github" / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[a-z_/]+\.py)`", text)
    assert len(named) >= 8
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_the_forms_of_issues_have_only_keys_that_github_knows() -> None:
    known = {"label", "description", "placeholder", "value", "render"}
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"):
        for field in yaml.safe_load(path.read_text(encoding="utf-8"))["body"]:
            assert set(field["attributes"]) <= known, path
