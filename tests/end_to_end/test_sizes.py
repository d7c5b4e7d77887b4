"""Several image sizes in one matrix, from the plan to the classified image."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import factories
from tests.commands import TRAINING, Commands

pytestmark = pytest.mark.slow


def test_two_sizes_are_planned_run_reported_and_the_better_one_predicts(tmp_path: Path, cache: Path) -> None:
    commands = Commands(tmp_path, cache)
    training = {**TRAINING, "image_size": [32, 48]}
    matrix = commands.matrix(input_modes=["grey-1ch"], seeds=[0], training=training, keep_weights="best")
    assert "model             image size    seed" in commands.run("plan", "--matrix", matrix).stdout
    small = commands.run("run", "--matrix", matrix, "--only", "image_size=32")
    assert small.returncode == 0, small.stderr
    assert "shape-control grey-1ch scratch seed 0 (32 px): test accuracy" in small.stdout
    both = commands.run("run", "--matrix", matrix)
    assert both.returncode == 0, both.stderr
    validation = {r["spec"]["image_size"]: r["validation"]["accuracy"] for r in commands.records().values()}
    assert validation.keys() == {32, 48}
    shown = (commands.results() / "report.md").read_text(encoding="utf-8")
    for size in (32, 48):
        assert f"| shape-control | {size} px | grey-1ch |" in shown
        assert (commands.results() / "figures" / f"curves-shape-control--{size}-px.svg").is_file()
    image = factories.save(factories.picture(0), tmp_path / "image.png")
    predicted = commands.run("predict", "--best", "tiny", str(image))
    assert predicted.returncode == 0, predicted.stderr
    best = max((32, 48), key=lambda size: validation[size])  # the first at a tie
    assert f"the winner of tiny: grey-1ch with scratch ({best} px), seed 0." in predicted.stderr
    assert f"{best} x {best} pixels" in predicted.stderr
    assert str(image) in predicted.stdout
