"""What stops a matrix is reported before its first epoch, all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from benchmark.data.dataset import check_splits
from benchmark.errors import UserError
from benchmark.execution import forkserver, preflight
from benchmark.execution.preflight import Preflight
from benchmark.execution.side_process import Progress
from benchmark.matrix.expand import expand
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks import build as models
from benchmark.training.stages import train
from tests import factories
from tests.factories import matrix


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check networks in this process, so that they can be given a fault."""

    def call(function: Callable[..., Any], *arguments: Any, progress: Progress) -> Any:
        return function(*arguments, progress=progress)

    monkeypatch.setattr(preflight, "call_in_side_process", call)
    monkeypatch.setattr(forkserver, "start_importing", lambda: None)


def checked(specs: list[RunSpec], folder: Path) -> Preflight:
    return preflight.preflight(specs, folder, lambda what, done, total: None)


def small(training: dict[str, Any] | None = None, **changes: Any) -> list[RunSpec]:
    settings = {"image_size": 32, "batch_size": 8, "epochs": 3, "head_epochs": 1, **(training or {})}
    return expand(matrix(**{"datasets": ["shape-control"], "training": settings, **changes}))


def test_a_matrix_in_order_has_no_problems_and_says_what_each_stage_trains(tmp_path: Path) -> None:
    found = checked(small(input_modes=["grey-1ch"], policies=["finetune", "scratch", "truncate"]), tmp_path)
    assert found.problems == ()
    by_policy = {each.policy: each.trainable for each in found.checked}
    head, everything = by_policy["finetune"]
    assert 0 < head < everything
    assert by_policy["scratch"] == (everything,)
    assert 0 < by_policy["truncate"][0] < head, "fewer channels at half of the blocks"
    assert not (tmp_path / "results").exists()


def test_seeds_that_a_rule_decides_on_are_refused_where_each_is_tested_on_another_fold(tmp_path: Path) -> None:
    folder = factories.write_bars(tmp_path / "bars")
    specs = small(datasets=[f"folder:{folder}"], input_modes=["grey-1ch"])
    found = preflight.preflight(specs, tmp_path, lambda what, done, total: None, same_images=True)
    ((key, message),) = found.problems
    assert (key, message) == (
        "seeds",
        f"{specs[0].dataset} is evaluated by folds, one for each seed: give a list of seeds",
    )
    assert checked(specs, tmp_path).problems == ()


def test_each_size_is_checked_and_the_one_that_does_not_fit_is_named(tmp_path: Path) -> None:
    specs = small({"image_size": [64, 32]}, models=["torchvision/alexnet"], input_modes=["grey-1ch"])
    found = checked(specs, tmp_path)
    assert [each.image_size for each in found.checked] == [64]
    (problem,) = found.problems
    assert "needs images of at least 63 pixels per side; these have 32." in problem.message


RECALIBRATED = {"pretrained": False, "recalibrate": True, "summary": "all", "stages": [{"trainable": "all"}]}


def test_everything_that_is_wrong_is_reported_at_once(tmp_path: Path) -> None:
    found = checked(
        [
            *small(models=["timm/no_such_net"]),
            *small(weights="pypi", policies=["finetune-whole"]),
            *small(datasets=["beans"], weights="none"),
            *small(models=["torchvision/inception_v3"]),
            *small(models=["torchvision/resnet18"], policies=["truncate"]),
            *small(training={"head_init": {"source-rows": {"no such class": 1}}}),
            *small(models=["timm/test_vit"], policies=["mine"], own_policies={"mine": RECALIBRATED}),
        ],
        tmp_path,
    )
    reported = [(problem.key, problem.message) for problem in found.problems]
    for key, words in (
        ("models", "no_such_net"),
        ("weights", "no package has weights for timm/test_resnet"),
        ("datasets", "beans"),
        ("models", "75"),
        ("models", "torchvision/resnet18 has no forward_intermediates"),
        ("models", "has no class 'no such class'"),
        ("models", "mine: recalibrate: timm/test_vit has no batch norms"),
    ):
        assert any(key == k and words in message for k, message in reported), (key, words, reported)
    assert len(reported) == 7


def with_a_fault(monkeypatch: pytest.MonkeyPatch, break_it: Callable[[models.BuiltModel], models.BuiltModel]) -> None:
    """Let every network be built with a fault."""
    build = models.build
    monkeypatch.setattr(models, "build", lambda *args, **settings: break_it(build(*args, **settings)))


def test_a_normalisation_of_another_length_than_the_first_convolution_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_a_fault(monkeypatch, lambda built: replace(built, mean=(0.5,) * 3, std=(0.5,) * 3))
    (problem,) = checked(small(input_modes=["grey-1ch"], policies=["scratch"]), tmp_path).problems
    assert problem.key == "models"
    assert "3 means and 3 stds for a first convolution of 1." in problem.message


def test_a_network_that_fails_in_training_only_is_reported_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(built: models.BuiltModel) -> models.BuiltModel:
        def refuse(module: nn.Module, images: object) -> None:
            if module.training:
                raise RuntimeError("not in training")

        built.network.register_forward_pre_hook(refuse)
        return built

    with_a_fault(monkeypatch, failing)
    (problem,) = checked(small(input_modes=["grey-1ch"], policies=["scratch"]), tmp_path).problems
    assert "with scratch, 2 images cannot be passed through the network in training (RuntimeError:" in problem.message


def test_batches_of_one_image_are_tried_as_the_runs_have_them(tmp_path: Path) -> None:
    found = checked(
        small({"batch_size": 1}, input_modes=["grey-1ch"], policies=["scratch", "feature-extract"]), tmp_path
    )
    (problem,) = found.problems
    assert "with scratch, 1 image cannot be passed through the network in training (ValueError: Exp" in problem.message
    assert "increase training.batch_size" in problem.message
    large = small({"batch_size": 1, "image_size": 64}, input_modes=["grey-1ch"], policies=["scratch"])
    assert checked(large, tmp_path).problems == (), "of four values over space there is a variance"


def test_the_trained_parameters_of_each_stage_are_those_that_the_run_trains(tmp_path: Path) -> None:
    specs = small(input_modes=["grey-1ch"], policies=["scratch"])
    (found,) = checked(specs, tmp_path).checked
    built, images = factories.network_and_images(specs[0], factories.dataset())
    trained = train(built.network, specs[0], images, "fp32")
    assert found.trainable == tuple(stage.trainable_parameters for stage in trained.run_state.stages)


def test_a_split_without_a_class_or_without_an_image_is_refused() -> None:
    data = factories.dataset(labels=3)
    check_splits("shapes", data)
    kept = data.test.labels != 1
    ids = tuple(name for name, keep in zip(data.test.image_ids, kept, strict=True) if keep)
    test = replace(data.test, rows=data.test.rows[kept], labels=data.test.labels[kept], image_ids=ids)
    with pytest.raises(UserError, match=r"the test split of \d+ images has no images of class 1; leave"):
        check_splits("shapes", replace(data, test=test))
    nothing = np.zeros(0, dtype=np.int64)
    validation = replace(data.validation, rows=nothing, labels=nothing, image_ids=())
    with pytest.raises(UserError, match="the validation split is empty"):
        check_splits("shapes", replace(data, validation=validation))


def test_the_images_of_each_fold_and_of_each_validation_split_are_looked_at() -> None:
    def distinct(**changes: Any) -> int:
        runs = expand(matrix(seeds=[0, 1, 5], datasets=["elpv"], input_modes=["grey-1ch"], **changes))
        return len({preflight.images_key(run) for run in runs})

    assert distinct() == 1
    assert distinct(evaluation="folds") == 2
    assert distinct(split_seed="seed") == 3
