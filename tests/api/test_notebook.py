"""The lines of Python that the documentation shows, executed as a notebook executes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import factories

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = """
import sys
from pathlib import Path

namespace = {"__name__": "__main__"}
for line in Path(sys.argv[1]).read_text().splitlines():
    exec(compile(line, "<cell>", "exec"), namespace)
print("torch before predict:", namespace["before"])
"""
"""Each line is a cell."""


def shown() -> str:
    """Return the block of Python of the documentation that imports the package."""
    blocks = re.findall(
        r"```python\n(import benchmark\n.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.S
    )
    (block,) = blocks
    return str(block)


def test_the_entire_way_takes_at_most_ten_lines() -> None:
    lines = [line for line in shown().splitlines() if line]
    assert len(lines) <= 10
    for name in ("load_matrix", "plan", "run", "cells", "differences", "claims", "report", "predict"):
        assert f".{name}(" in shown() or f".{name}[" in shown(), name


@pytest.mark.slow
def test_a_notebook_user_goes_the_entire_way_by_the_lines_in_the_documentation(tmp_path: Path) -> None:
    own = factories.write_bars(tmp_path / "own", each=20)
    block = shown().replace("PATH", str(own)).replace("[0, 1, 2]", "[0]")
    before = "before = 'torch' in __import__('sys').modules\n"
    head, last, tail = block.partition("print(benchmark.predict(")
    (tmp_path / "cells.txt").write_text(head + before + last + tail)
    done = subprocess.run(
        [sys.executable, "-c", NOTEBOOK, "cells.txt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("pending") >= 1
    assert "[8/8] " in done.stdout, "progress in plain lines"
    assert "95 % interval" in done.stdout
    assert f"{Path('results', 'mine', 'report.md')}\n" in done.stdout
    assert "torch before predict: False" in done.stdout
    assert (tmp_path / "results" / "mine" / "report.html").is_file()
    assert re.search(r"p\(lying\)\s+p\(standing\)", done.stdout)
    assert len(re.findall(r"^\d+ .*(?:lying|standing) +0\.\d+ +0\.\d+ +None$", done.stdout, re.MULTILINE)) == 40
