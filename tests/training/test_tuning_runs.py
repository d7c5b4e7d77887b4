"""A tuning run is trained as the reported run of its rate and seed would be, and sees no test image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmark.data.dataset import PreparedDataset
from benchmark.errors import UserError
from benchmark.matrix.identify import identify_folders
from benchmark.matrix.run_spec import RunSpec, Trial
from benchmark.matrix.tuning import candidates, group, tuning_runs
from benchmark.records.record import DoneRun, TunedRun
from benchmark.training.context import RunContext, load_run_images
from benchmark.training.run import train_and_score
from tests import factories


def trying(spec: RunSpec) -> RunSpec:
    """Return the tuning run that tries the rate of a reported run with its seed."""
    return spec.model_copy(update={"trial": Trial(lr=spec.stages[-1].lr)})


def without_test(data: PreparedDataset) -> PreparedDataset:
    """Return a dataset none of whose test images can be read: they would be beyond its end."""
    return replace(data, test=replace(data.test, rows=data.test.rows + len(data.images)))


@pytest.mark.parametrize("policy", ["scratch", "feature-extract"])
def test_a_tuning_run_reads_no_test_image_and_its_record_has_no_test_score(tmp_path: Path, policy: str) -> None:
    spec = factories.training_spec(policy=policy, seed=5)
    asked = RunContext(None, tmp_path / "weights", keep_weights="all", exhibits=tmp_path, keep_thumbnails="all")
    data = without_test(factories.dataset())
    outcome = train_and_score(trying(spec), asked, lambda: data)
    assert isinstance(outcome.record, TunedRun)
    assert (outcome.predictions, outcome.exhibits) == (None, ())
    assert not (tmp_path / "weights").exists()
    with pytest.raises(IndexError):  # the reported run reads them
        train_and_score(spec, asked, lambda: data)


def test_a_tuning_run_reaches_the_validation_scores_of_the_reported_run_with_its_rate_and_seed(tmp_path: Path) -> None:
    spec = factories.training_spec(seed=5)
    context = RunContext(None, tmp_path)
    reported, tuned = (train_and_score(run, context, factories.dataset).record for run in (spec, trying(spec)))
    assert isinstance(reported, DoneRun)
    assert isinstance(tuned, TunedRun)
    assert tuned.validation == reported.validation
    assert [epoch.val_loss for epoch in tuned.history] == [epoch.val_loss for epoch in reported.history]
    assert tuned.best_epoch == reported.best_epoch


def test_test_images_and_labels_do_not_move_what_a_tuning_run_reports(tmp_path: Path) -> None:
    spec = trying(factories.training_spec(seed=5))
    data = factories.dataset()
    images = data.images.copy()
    images[data.test.rows] = 255 - images[data.test.rows]
    other = replace(data, images=images, test=replace(data.test, labels=np.zeros_like(data.test.labels)))
    first, second = (
        train_and_score(spec, RunContext(None, tmp_path), partial(replace, d)).record for d in (data, other)
    )
    assert isinstance(first, TunedRun)
    assert isinstance(second, TunedRun)
    assert first.validation == second.validation


def test_under_cross_validation_a_fold_is_chosen_for_on_the_images_outside_of_it(tmp_path: Path) -> None:
    folder = factories.write_bars(tmp_path / "bars", each=20)
    made = factories.matrix(
        datasets=[f"folder:{folder}"],
        input_modes=["grey-1ch"],
        seeds=[0, 1, 4],
        tune_seeds=[100, 101],
        training={"image_size": 32, "lr": [1e-3, 1e-2]},
    )
    made = identify_folders(made)
    tested = {row[0].fold: set(load_run_images(row[0], None).test.image_ids) for row in candidates(made)}
    assert {fold: len(ids) for fold, ids in tested.items()} == {0: 8, 1: 8, 4: 8}
    tried = []
    for spec in tuning_runs(made):
        data = load_run_images(spec, None)
        shown = {*data.train.image_ids, *data.validation.image_ids}
        assert len(shown) == 40 - 8
        assert not shown & tested[spec.fold]
        tried.append((spec.fold, spec.seed, spec.trial and spec.trial.lr))
    assert sorted(tried) == [(fold, seed, lr) for fold in (0, 1, 4) for seed in (100, 101) for lr in (1e-3, 1e-2)]
    assert {group(spec) for spec in tuning_runs(made)} == {group(row[0]) for row in candidates(made)}


def test_a_tuning_run_is_refused_where_its_matrix_does_not_know_of_the_folds(tmp_path: Path) -> None:
    folder = factories.write_bars(tmp_path / "bars", each=20)
    changes = {"datasets": [f"folder:{folder}"], "input_modes": ["grey-1ch"], "tune_seeds": [100]}
    made = identify_folders(factories.matrix(**changes, training={"image_size": 32, "lr": [1e-3, 1e-2]}))
    unaware = made.model_copy(update={"datasets": (made.datasets[0].model_copy(update={"folds": None}),)})
    with pytest.raises(UserError, match="`folds` in the matrix does not fit its images"):
        load_run_images(tuning_runs(unaware)[0], None)
