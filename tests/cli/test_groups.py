"""Groups of test images: written by `run`, made for older results by `datasets groups`, read by `report`."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from benchmark.records import groups_file
from tests.commands import Commands
from tests.factories import clips


@pytest.fixture
def project(tmp_path: Path, cache: Path) -> Commands:
    return Commands(tmp_path, cache)


@pytest.mark.slow
def test_a_run_writes_the_groups_of_its_test_images_and_a_report_takes_them_as_units(project: Commands) -> None:
    clips(project.folder / "cells", ("a", "b"), clips_per_class=10, frames=3)
    only = {"input_modes": ["grey-1ch"], "seeds": [0]}
    matrix = project.matrix(datasets=[{"name": f"folder:{project.folder / 'cells'}", "label": "cells"}], **only)
    done = project.run("run", "--matrix", matrix, "--workers", "1")
    assert done.returncode == 0, done.stderr
    path = project.results() / groups_file.FILE
    first = path.read_bytes()
    (groups,) = groups_file.read(project.results()).values()
    assert len(groups) == 60, "of all five folds"
    assert sorted(Counter(groups.values()).values()) == [3] * 20
    with (project.results() / "table.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["test_images"], row["test_groups"]) == ("12", "4")

    path.unlink()
    assert project.run("report", "tiny").returncode == 0
    with (project.results() / "table.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["test_groups"] == ""
    made = project.run("datasets", "groups", "tiny")
    assert made.stdout == "cells: 60 test images in 20 groups, the largest of 3\n"
    assert path.read_bytes() == first
    assert project.run("report", "--check", "tiny").returncode == 1
    assert project.run("report", "tiny").returncode == 0
    assert project.run("report", "--check", "tiny").returncode == 0
    again = project.run("datasets", "groups", "tiny")
    assert again.stdout == "cells: 60 test images in 20 groups, the largest of 3, kept as they are\n"

    path.unlink()
    clips(project.folder / "cells", ("b", "a"), clips_per_class=10, frames=3)
    refused = project.run("datasets", "groups", "tiny")
    assert refused.returncode == 2
    assert "its images, classes, splits or groups have changed since the matrix was made" in refused.stderr
    assert not path.exists()
