from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "benchmark"

ROOMS = {
    "api.py",
    "data",
    "matrix",
    "networks",
    "records",
    "training",
    "analysis",
    "execution",
    "trained",
    "report",
    "cli",
}
GROUND = {"protocol", "errors", "fields", "files", "locations", "seeding", "environment", "spreadsheet", "words"}


def test_the_package_holds_ten_rooms_and_the_ground_modules_and_nothing_else() -> None:
    here = {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"}
    assert here == ROOMS | {f"{name}.py" for name in GROUND} | {"__init__.py", "__main__.py", "py.typed"}


def test_the_way_of_one_run_is_at_most_thirteen_files_which_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## The way of one run.*?(?=\n## )", text, re.DOTALL)
    files = re.findall(r"^\| `(benchmark/[\w/]+\.py)` \|", section, re.MULTILINE)
    assert 5 < len(files) <= 13
    assert [
        name for name in re.findall(r"(?:benchmark|tests|docs)/[\w/]+\.\w+", text) if not (ROOT / name).exists()
    ] == []
