"""Modes that are one experiment are shown once, and are no evidence against each other."""

from __future__ import annotations

from pathlib import Path

from benchmark.analysis import frames
from benchmark.analysis.contrasts import contrasts
from benchmark.analysis.results import Results
from benchmark.matrix.expand import expand
from benchmark.records.store import Store
from benchmark.report import tables
from tests import factories

MODEL = "timm/tf_efficientnet_lite0"
MATRIX = factories.grid(
    input_modes=["grey-3ch", "grey-3ch-shared-norm", "grey-1ch", "grey-1ch-folded"],
    policies=["finetune-whole", "feature-extract"],
)


def results_with(mean: tuple[float, ...], folder: Path) -> Results:
    store = Store(folder)
    correct = factories.latent()
    for spec in expand(MATRIX):
        record, predictions = factories.record_of(spec, correct(spec))
        assert record.model is not None
        model = record.model.model_copy(update={"pretrained_mean": mean, "pretrained_std": mean})
        store.save(record.model_copy(update={"model": model}), predictions)
    return factories.results_of(MATRIX, store)


def repeated(results: Results, policy: str) -> dict[str, str]:
    return {key[1]: first[1] for key, first in results.repeated.items() if key[2] == policy}


def test_equal_means_make_shared_norm_and_folding_repetitions(tmp_path: Path) -> None:
    results = results_with((0.5, 0.5, 0.5), tmp_path)
    twins = {"grey-3ch-shared-norm": "grey-3ch", "grey-1ch-folded": "grey-1ch"}
    assert repeated(results, "finetune-whole") == twins
    assert repeated(results, "feature-extract") == dict.fromkeys([*twins, "grey-1ch"], "grey-3ch")
    assert not set(results.repeated) & set(results.by_key)


def test_other_means_make_only_what_a_frozen_stem_makes_the_same(tmp_path: Path) -> None:
    results = results_with((0.4, 0.5, 0.6), tmp_path)
    assert repeated(results, "finetune-whole") == {}
    assert repeated(results, "feature-extract") == {"grey-1ch": "grey-3ch-shared-norm"}


def test_a_repetition_is_named_in_the_table_and_is_in_no_comparison(tmp_path: Path) -> None:
    results = results_with((0.5, 0.5, 0.5), tmp_path)
    _, rows = tables.comparison(results)
    cells = {row[1]: row[2:] for row in rows}
    assert cells["grey-1ch-folded"] == ["= grey-1ch", "= grey-3ch"]
    assert "the same as grey-3ch by construction" in set(frames.cells(results)["note"])
    channels = [contrast for contrast in contrasts(results) if contrast.family == "channels"]
    assert [contrast.context for contrast in channels] == ["finetune-whole"], "feature-extract compares it with itself"
    assert channels[0].headline


def test_no_cell_is_a_repetition_before_a_record_has_the_means(tmp_path: Path) -> None:
    assert factories.results_of(MATRIX, Store(tmp_path)).repeated == {}
