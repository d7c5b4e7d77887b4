"""Progress without a terminal: plain lines."""

from __future__ import annotations

import pytest

from benchmark.execution.display import Display, display
from benchmark.execution.events import Started, Warned
from benchmark.matrix.expand import expand
from tests import factories

MATRIX = factories.matrix(models=["timm/test_resnet", "timm/test_vit"], training={"image_size": [32, 64]})


def show(shown: Display) -> None:
    """Show the start, a warning and the end of one run of each model at each size."""
    correct = factories.latent()
    for spec in expand(MATRIX):
        shown.event(Started(spec.id, spec, 3, "2026-01-01T00:00:00+00:00"))
        shown.event(Warned(spec.id, "no copy of the weights"))
        shown.finished(factories.record_of(spec, correct(spec))[0])


def test_the_lines_of_a_matrix_with_several_models_and_sizes_name_both(capsys: pytest.CaptureFixture[str]) -> None:
    with display(4, MATRIX.title) as shown:
        show(shown)
    printed = capsys.readouterr()
    for lines in (printed.out.splitlines(), printed.err.splitlines()):
        assert len(lines) == 4
        for line, setup in zip(lines, MATRIX.setups, strict=True):
            assert f"beans rgb scratch seed 0 ({setup.model}, {setup.image_size} px): " in line


def test_quiet_prints_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with display(4, MATRIX.title, quiet=True) as shown:
        shown.show_preparation("beans: decoded", 0, 3)
        shown.start_clock(2)
        show(shown)
        shown.waiting(1)
        shown.text("floor rows")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 4
