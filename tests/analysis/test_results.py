"""Loading results, and the traps in which a wrong number hides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark.analysis import frames
from benchmark.analysis.contrasts import contrasts
from benchmark.analysis.differences import pair_values
from benchmark.analysis.verdicts import differences
from benchmark.errors import UserError
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import CellKey, RunSpec
from benchmark.records.store import Store
from tests import factories

MODEL = "timm/tf_efficientnet_lite0"
PAIR = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"])


def test_a_cell_is_the_mean_of_its_records_accuracies(tmp_path: Path) -> None:
    matrix = factories.grid()
    results = factories.results_of(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    for cell in results.by_key.values():
        of_records = [record.test.accuracy for record in cell.records.values() if record.test]
        assert cell.accuracy is not None
        assert cell.accuracy.mean == pytest.approx(np.mean(of_records), abs=1e-12)
        assert (cell.accuracy.seeds, cell.accuracy.images) == (3, 128)


def test_cells_of_two_sizes_are_apart_and_every_difference_is_of_one_size(tmp_path: Path) -> None:
    matrix = factories.grid(training={"epochs": 6, "head_epochs": 2, "image_size": [96, 64]})
    store = factories.fill(tmp_path, matrix, lambda spec: np.arange(10) < spec.image_size // 16)
    results = factories.results_of(matrix, store)
    assert len(results.by_key) == 2 * len(factories.results_of(factories.grid(), store).by_key)
    for key, cell in results.by_key.items():
        assert cell.accuracy is not None
        assert cell.accuracy.mean == pytest.approx(key.image_size / 160)
    found = differences(results)
    assert {each.contrast.setup.image_size for each in found} == {96, 64}
    for each in found:
        keys = {key for pair in each.contrast.pairs for key in pair if isinstance(key, CellKey)}
        assert {key.setup for key in keys} == {each.contrast.setup}
        assert each.interval is not None
        assert each.interval.mean == 0
    assert {key.image_size for key in results.best("beans")} == {96}
    assert list(frames.cells(results)["image_size"]) == [key.image_size for key in results.by_key]
    assert list(frames.differences(found)["image_size"]) == [each.contrast.setup.image_size for each in found]


def test_predictions_are_aligned_by_image_id_not_by_position(tmp_path: Path) -> None:
    correct = factories.latent()
    straight = factories.results_of(PAIR, factories.fill(tmp_path / "straight", PAIR, correct))
    store = Store(tmp_path / "shuffled")
    for spec in expand(PAIR):
        record, predictions = factories.record_of(spec, correct(spec))
        order = np.random.default_rng(list(spec.id.encode())).permutation(128)
        store.save(record, factories.reordered(predictions, order))
    shuffled = factories.results_of(PAIR, store)
    assert [d.interval for d in differences(shuffled)] == [d.interval for d in differences(straight)]
    assert [c.accuracy for c in shuffled.by_key.values()] == [c.accuracy for c in straight.by_key.values()]


def test_runs_with_validation_images_of_their_own_are_paired_on_their_common_test_images(tmp_path: Path) -> None:
    def correct(spec: RunSpec) -> np.ndarray:
        return np.random.default_rng([spec.seed, len(spec.input_mode)]).integers(0, 2, 40)

    found = []
    for matrix in (PAIR, PAIR.model_copy(update={"split_seed": "seed"})):
        store = factories.fill(tmp_path / str(matrix.split_seed), matrix, correct)
        found.append([difference.interval for difference in differences(factories.results_of(matrix, store))])
    assert found[0] == found[1] != []


def test_pairs_are_formed_by_seed_and_only_where_both_are_done(tmp_path: Path) -> None:
    """grey-3ch is right on image s only, under seed s; grey-1ch on no image; grey-1ch lacks seed 0."""

    def correct(spec: RunSpec) -> np.ndarray:
        right = np.zeros(10, dtype=np.int64)
        right[: spec.seed + 1] = spec.input_mode == "grey-3ch"
        return right

    lacking = factories.fill(tmp_path, PAIR, correct, keep=lambda s: not (s.input_mode == "grey-1ch" and s.seed == 0))
    (difference,) = differences(factories.results_of(PAIR, lacking))
    assert (difference.contrast.first, difference.contrast.second) == ("grey-3ch", "grey-1ch")
    assert difference.seeds == (1, 2)
    assert difference.interval is not None
    assert difference.interval.mean == pytest.approx((2 + 3) / 20)  # with seed 0 it would be (1 + 2 + 3) / 30


def test_a_mean_over_modes_uses_only_seeds_that_every_mode_has(tmp_path: Path) -> None:
    matrix = factories.grid(input_modes=["grey-3ch", "grey-1ch"], policies=["finetune", "scratch"])
    store = factories.fill(
        tmp_path,
        matrix,
        factories.latent(),
        keep=lambda s: not (s.input_mode == "grey-1ch" and s.policy == "scratch" and s.seed == 2),
    )
    found = {(d.contrast.family, d.contrast.context): d for d in differences(factories.results_of(matrix, store))}
    assert found["pretraining", "grey-3ch"].seeds == (0, 1, 2)
    assert found["pretraining", "grey-1ch"].seeds == (0, 1)
    assert found["pretraining", "mean of grey-3ch and grey-1ch"].seeds == (0, 1)


def test_a_mean_over_modes_is_the_mean_of_the_modes_differences(tmp_path: Path) -> None:
    matrix = factories.grid()
    found = differences(factories.results_of(matrix, factories.fill(tmp_path, matrix, factories.latent())))
    own = {
        d.contrast.context: d.interval.mean
        for d in found
        if d.contrast.family == "pretraining" and d.contrast.first == "finetune" and d.interval
    }
    assert own["mean of grey-3ch and grey-1ch"] == pytest.approx((own["grey-3ch"] + own["grey-1ch"]) / 2)
    assert own["mean of rgb, grey-3ch and grey-1ch"] == pytest.approx(
        (own["rgb"] + own["grey-3ch"] + own["grey-1ch"]) / 3
    )


def test_images_that_only_one_cell_has_are_left_out_of_the_pair(tmp_path: Path) -> None:
    results = factories.results_of(PAIR, factories.fill(tmp_path, PAIR, factories.latent()))
    first, second = results.by_key.values()
    kept = ~np.isin(second.images, ["test/0000.png", "test/0005.png"])
    images = next(iter(second.tests.values())).images
    fewer = replace(images, ids=images.ids[kept])
    shorter = replace(
        second, tests={s: replace(t, images=fewer, correct=t.correct[kept]) for s, t in second.tests.items()}
    )
    values, seeds, design, _ = pair_values([(first, shorter)])
    assert design.labels is not None
    assert len(design.labels) == 126
    assert values.shape == (3, 126)
    assert seeds == (0, 1, 2)
    assert np.array_equal(values, first.correct[:, kept].astype(int) - second.correct[:, kept])


def test_headlines_answer_each_question_once_a_dataset_and_comparison() -> None:
    matrix = factories.grid(datasets=["beans", "elpv"])
    results = factories.results_of(matrix, Store(Path("nowhere")))
    headlines = [c for c in contrasts(results) if c.headline]
    keys = [(c.family, c.dataset, c.first, c.second) for c in headlines]
    assert len(keys) == len(set(keys)) == 4 + 2 + 1 + 2  # pretraining, channels, colour (not elpv), stages
    keys_of = [key for c in headlines if c.family != "colour" for pair in c.pairs for key in pair]
    assert all(isinstance(key, CellKey) and key.input_mode != "rgb" for key in keys_of)


@pytest.mark.parametrize("score", ["accuracy", "balanced_accuracy", "roc_auc", "macro_f1", "log_loss"])
def test_a_score_that_its_predictions_do_not_give_is_refused_by_name(tmp_path: Path, score: str) -> None:
    store = factories.fill(tmp_path, PAIR, factories.latent())
    spec = expand(PAIR)[0]
    record, predictions = factories.record_of(spec, factories.latent()(spec))
    wrong = record.test.model_copy(update={score: getattr(record.test, score) + 1 / 128})
    store.save(record.model_copy(update={"test": wrong}), predictions)
    with pytest.raises(UserError, match=rf"{spec.id}\.json: says test\.{score} "):
        factories.results_of(PAIR, store)


def test_a_score_that_is_said_to_be_undefined_but_is_not_is_refused(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, PAIR, factories.latent())
    spec = expand(PAIR)[0]
    store.save(*factories.record_of(spec, factories.latent()(spec), test={"roc_auc": None}))
    with pytest.raises(UserError, match=r"says test\.roc_auc nan, but"):
        factories.results_of(PAIR, store)


def test_other_labels_on_the_same_images_are_refused_by_name(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, PAIR, factories.latent())
    spec = expand(PAIR)[-1]
    record, predictions = factories.record_of(spec, factories.latent()(spec))
    turned = type(predictions)(
        predictions.image_id, (predictions.label + 1) % 3, (predictions.predicted + 1) % 3, predictions.probabilities
    )
    store.save(record, turned)
    with pytest.raises(UserError, match=rf"{spec.id}\.json: its test images or labels differ"):
        factories.results_of(PAIR, store)


def test_an_image_predicted_twice_is_refused(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, PAIR, factories.latent())
    spec = expand(PAIR)[0]
    record, predictions = factories.record_of(spec, factories.latent()(spec))
    twice = factories.reordered(predictions, [0, 0, *range(2, 128)])
    store.save(record, twice)
    with pytest.raises(UserError, match="has two predictions"):
        factories.results_of(PAIR, store)


def test_a_damaged_record_is_no_done_run(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, PAIR, factories.latent())
    path = store.path(expand(PAIR)[0].id)
    path.write_bytes(path.read_bytes()[:-40])
    results = factories.results_of(PAIR, store)
    assert [run.state for run in results.plan.runs] == ["damaged", *["done"] * 5]
    assert next(iter(results.by_key.values())).seeds == (1, 2)


def test_predictions_that_were_changed_after_the_run_are_refused_by_name(tmp_path: Path) -> None:
    store = factories.fill(tmp_path, PAIR, factories.latent())
    path = store.records / f"{expand(PAIR)[0].id}.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=path.name):
        factories.results_of(PAIR, store)


def test_the_mean_over_datasets_leaves_controls_out_and_waits_for_every_dataset(tmp_path: Path) -> None:
    matrix = factories.grid(
        datasets=["beans", "elpv", "hue-control"], input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"]
    )
    complete = differences(factories.results_of(matrix, factories.fill(tmp_path / "all", matrix, factories.latent())))
    means = {d.contrast.dataset: d.interval.mean for d in complete if d.interval}
    assert means["mean of 2 datasets"] == pytest.approx((means["beans"] + means["elpv"]) / 2)
    partly = factories.fill(tmp_path / "part", matrix, factories.latent(), keep=lambda spec: spec.dataset != "elpv")
    assert not any("mean of" in d.contrast.dataset for d in differences(factories.results_of(matrix, partly)))


def test_a_dataset_that_a_matrix_has_twice_counts_once_with_its_most_training_images(tmp_path: Path) -> None:
    twice = ["beans", {"name": "beans", "limit": 500, "label": "beans-500"}]
    modes: dict[str, Any] = {"input_modes": ["grey-3ch", "grey-1ch"], "policies": ["finetune"]}
    alone, both = (factories.grid(datasets=names, **modes) for names in (twice, [*reversed(twice), "elpv"]))
    results = factories.results_of(alone, factories.fill(tmp_path / "alone", alone, factories.latent()))
    assert [d.contrast.dataset for d in differences(results)] == ["beans", "beans-500"]
    found = differences(factories.results_of(both, factories.fill(tmp_path / "both", both, factories.latent())))
    (mean,) = (d for d in found if d.pooled)
    assert [d.contrast.dataset for d in mean.pooled] == ["beans", "elpv"]


def test_a_dataset_on_which_every_compared_cell_is_nearly_always_right_is_left_out_of_the_mean(tmp_path: Path) -> None:
    matrix = factories.grid(
        datasets=["beans", "elpv", "rps"], input_modes=["grey-3ch", "grey-1ch"], policies=["finetune"]
    )
    usual, always = factories.latent(), lambda spec: np.ones(128, dtype=np.int64)
    store = factories.fill(tmp_path, matrix, lambda spec: (always if spec.dataset == "rps" else usual)(spec))
    (mean,) = (d for d in differences(factories.results_of(matrix, store)) if d.pooled)
    assert mean.contrast.dataset == "mean of 2 datasets"


def test_channels_are_answered_by_the_policies_that_train_the_stem(tmp_path: Path) -> None:
    policies = ["finetune", "finetune-whole", "freeze-early", "feature-extract", "scratch"]
    results = factories.results_of(factories.grid(policies=policies), Store(tmp_path))
    (headline,) = (c for c in contrasts(results) if c.headline and c.family == "channels")
    assert headline.context == "mean of finetune and finetune-whole"


def test_runs_of_a_dataset_are_moderated_together_and_heads_by_themselves(tmp_path: Path) -> None:
    matrix = factories.grid(policies=["finetune", "finetune-whole", "feature-extract", "scratch"])
    results = factories.results_of(matrix, factories.fill(tmp_path, matrix, factories.latent()))
    trained = [cell.runs for key, cell in results.by_key.items() if key.policy != "feature-extract"]
    heads = [cell.runs for key, cell in results.by_key.items() if key.policy == "feature-extract"]
    assert all(runs is not None and runs.variance.df > 2 for runs in trained)
    assert all(runs is not None and runs.variance.df == 2 for runs in heads), "fewer than four"
