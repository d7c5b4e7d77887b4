from __future__ import annotations

from pathlib import Path

from benchmark.export_text import loading

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_readme_shows_the_ten_lines_that_an_export_is_loaded_by() -> None:
    lines = loading({"library": "timm"})
    assert f"```python\n{lines}```" in README
    assert len(lines.strip().splitlines()) <= 10
