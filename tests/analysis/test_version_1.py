"""Version 1's records, which only git's history has, with today's statistics."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from experiments.studies import version_1


def test_the_means_and_the_noise_floor_of_version_1_are_those_of_the_audit(tmp_path: Path) -> None:
    if not version_1.extract(tmp_path):  # a shallow clone
        return
    text, strange = version_1.evaluate(tmp_path)
    assert strange == []
    assert text == Path(version_1.__file__).with_suffix(".md").read_text(encoding="utf-8")


def test_a_clone_without_the_history_is_told_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert not version_1.extract(tmp_path, tmp_path)
    monkeypatch.setattr(version_1, "WITHDRAWN", "0" * 40)
    with pytest.raises(SystemExit, match="git fetch --unshallow"):
        version_1.main()
