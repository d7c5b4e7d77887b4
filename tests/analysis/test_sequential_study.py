"""Seeds until settled, in a few simulated datasets; `experiments/studies/sequential_seeds.md` has many."""

from __future__ import annotations

import re
import statistics
from pathlib import Path

import pytest

from experiments.studies import sequential_seeds as study

PAGE = Path(study.__file__).with_suffix(".md")


def test_a_large_difference_takes_a_third_of_twelve_seeds_and_is_rarely_missed() -> None:
    found = study.simulate(0.10, ("channels",), 400, 30)
    assert found.seeds < 5
    assert found.verdicts > 0.9
    assert found.wrong == 0
    assert found.covers > 0.8


def test_without_a_difference_verdicts_are_rarely_wrong() -> None:
    found = study.simulate(0.0, ("channels",), 400, 40)
    assert found.wrong <= 0.1
    assert found.seeds < 11


def test_the_committed_page_stays_in_its_bands() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| +(\d+) \| +(\S+) \| +(\S+) \| +(\S+) \| +(\S+) \|", text, re.MULTILINE)
    assert len(rows) == 4 * len(study.EFFECTS)
    assert all(float(wrong) <= 5 for _, _, wrong, _, _ in rows)
    for first in range(0, len(rows), len(study.EFFECTS)):
        covers = [float(row[-1]) for row in rows[first : first + len(study.EFFECTS)]]
        assert 93 <= statistics.mean(covers) <= 97
    assert all(int(share) >= 30 for share in re.findall(r"differences (\d+) % of the runs", text)[:2])


@pytest.mark.slow
def test_the_replay_names_every_committed_matrix_with_enough_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert study.main(["--replay"]) == 0
    assert "medmnist-breast breastmnist: 3 of 5 seeds, 4 of 10 runs spared; no other verdict" in capsys.readouterr().out
