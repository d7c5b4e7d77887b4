"""Pairs of cells that are one function: found, and counted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.analysis.noise_floor import noise_floor, rms
from benchmark.analysis.results import Results
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.records.store import Store
from benchmark.report.sections.noise_floor import noise_floor_table
from tests import factories

STEM_RATE = {
    "summary": "everything, the stem at three times the rate",
    "pretrained": True,
    "stages": [{"trainable": "all", "stem_lr_factor": 3.0}],
}
MATRIX = factories.grid(
    input_modes=["grey-3ch", "grey-3ch-shared-norm", "grey-1ch"],
    policies=["freeze-early", "feature-extract", "finetune-whole", "fast-stem"],
    own_policies={"fast-stem": STEM_RATE},
)


def results_with(means: tuple[float, float, float], folder: Path) -> Results:
    store, usual = Store(folder), factories.latent()

    def correct(spec: RunSpec) -> np.ndarray:
        right = np.array(usual(spec))
        right[: 2 * (spec.input_mode == "grey-1ch")] ^= 1
        return right

    for spec in expand(MATRIX):
        record, predictions = factories.record_of(spec, correct(spec))
        model = record.model.model_copy(update={"pretrained_mean": means, "pretrained_std": means})
        store.save(record.model_copy(update={"model": model}), predictions)
    return factories.results_of(MATRIX, store)


def test_pairs_of_one_function_along_two_paths_are_found_and_no_others(tmp_path: Path) -> None:
    results = results_with((0.5, 0.5, 0.5), tmp_path)
    pairs = noise_floor(results)
    assert [pair.policy for pair in pairs] == ["freeze-early", "finetune-whole"]
    first, second = results.by_key, results.repeats
    assert any(key.policy == "freeze-early" and key.input_mode == "grey-1ch" for key in second)
    assert all(key.policy != "fast-stem" or key.input_mode != "grey-3ch" for key in second)
    assert first
    every = [value for pair in pairs for value in pair.differences]
    assert len(every) == 6
    assert rms(pairs) == pytest.approx(np.sqrt(np.mean(np.square(every))))
    text = noise_floor_table(pairs)
    assert "| freeze-early | 3 |" in text
    assert "| finetune-whole | 3 |" in text
    assert len(re.findall(r"\| [01] of 1 \|", text)) == 2


def test_where_channels_have_norms_of_their_own_a_stem_rate_makes_no_pair(tmp_path: Path) -> None:
    pairs = noise_floor(results_with((0.4, 0.5, 0.6), tmp_path))
    assert [pair.policy for pair in pairs] == ["freeze-early"], "shared-norm and one channel, under a frozen stem"


def test_without_pairs_the_report_has_no_noise_floor() -> None:
    assert noise_floor_table([]) == ""
