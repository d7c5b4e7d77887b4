"""What stops a matrix is told before its first epoch, all of it at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn

from benchmark import models
from benchmark.errors import UserError
from benchmark.executors.beside import Progress
from benchmark.matrix import RunSpec, expand
from benchmark.network_checks import _disk
from benchmark.preflight import Checked, Preflight, _refuse_empty_splits, preflight
from benchmark.training import train
from tests import synthetic
from tests.matrices import matrix


def here(function: Callable[..., Any], *arguments: Any, progress: Progress | None = None) -> Any:
    """Call what needs torch in this process, which has it, so that its networks can be given a fault."""
    return function(*arguments, progress=progress) if progress else function(*arguments)


def checked(specs: Sequence[RunSpec], folder: Path, workers: int = 1) -> Preflight:
    return preflight(
        specs,
        folder,
        folder / "results",
        workers=lambda gpus: workers,
        keeps_weights=False,
        beside=here,
        progress=lambda what, done, total: None,
    )


def small(training: dict[str, Any] | None = None, **changes: Any) -> list[RunSpec]:
    settings = {"image_size": 32, "batch_size": 8, "epochs": 3, "head_epochs": 1, **(training or {})}
    return expand(matrix(**{"datasets": ["shape-control"], "training": settings, **changes}))


def test_a_matrix_in_order_has_no_problems_and_says_what_each_stage_trains(tmp_path: Path) -> None:
    found = checked(small(input_modes=["grey-1ch"], policies=["finetune", "scratch"]), tmp_path)
    assert found.problems == ()
    by_policy = {each.policy: each.trainable for each in found.checked}
    head, everything = by_policy["finetune"]
    assert 0 < head < everything
    assert by_policy["scratch"] == (everything,)
    assert not (tmp_path / "results").exists()


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = checked(
        [
            *small(models=["timm/no_such_net"]),
            *small(weights="pypi", policies=["finetune-whole"]),
            *small(datasets=["beans"], weights="none"),
            *small(models=["torchvision/inception_v3"]),
            *small(training={"head_init": {"source-rows": {"no such class": 1}}}),
        ],
        tmp_path,
    )
    told = [(problem.key, problem.message) for problem in found.problems]
    for key, words in (
        ("models", "no_such_net"),
        ("weights", "no package carries weights for timm/test_resnet"),
        ("datasets", "beans"),
        ("models", "75"),
        ("models", "has no class 'no such class'"),
    ):
        assert any(key == k and words in message for k, message in told), (key, words, told)
    assert len(told) == 5


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


def test_a_network_that_fails_in_training_only_is_told_and_not_raised(
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
    assert "scratch cannot take two images through the network in training (RuntimeError: not in training)" in (
        problem.message
    )


def test_the_trained_parameters_of_each_stage_are_those_that_the_run_trains(tmp_path: Path) -> None:
    specs = small(input_modes=["grey-1ch"], policies=["scratch"])
    (found,) = checked(specs, tmp_path).checked
    built, images = synthetic.network_and_images(specs[0], synthetic.dataset())
    trained = train(built.network, specs[0], images, "fp32")
    assert found.trainable == tuple(stage.trainable_parameters for stage in trained.progress.stages)


def test_a_batch_that_no_machine_holds_is_refused(tmp_path: Path) -> None:
    (problem,) = checked(small(training={"batch_size": 10**8}), tmp_path, workers=2).problems
    assert problem.key == "training"
    assert "2 runs at a time need about" in problem.message
    assert "lower training.batch_size or --workers" in problem.message


def test_the_memory_of_a_run_grows_with_its_batch(tmp_path: Path) -> None:
    needs = [checked(small(training={"batch_size": size}), tmp_path).checked[0].memory for size in (8, 16, 24)]
    assert needs[2] - needs[1] == needs[1] - needs[0] > 0


def test_weights_that_no_disk_holds_are_refused(tmp_path: Path) -> None:
    huge = Checked("timm/x", "rgb", "scratch", 2, trainable=(10**16,), memory=10**6)
    (problem,) = _disk([huge], tmp_path / "results" / "x", workers=1, kept=3)
    assert problem.key == "keep_weights"
    assert f"are free in {tmp_path}" in problem.message
    assert list(_disk([huge], tmp_path, workers=1, kept=0)) == []


def test_a_split_without_a_class_or_without_an_image_is_refused() -> None:
    data = synthetic.dataset(labels=3)
    (spec,) = small()
    _refuse_empty_splits(spec, data)
    kept = data.test.labels != 1
    ids = tuple(name for name, keep in zip(data.test.image_ids, kept, strict=True) if keep)
    test = replace(data.test, rows=data.test.rows[kept], labels=data.test.labels[kept], image_ids=ids)
    with pytest.raises(UserError, match=r"its test split of \d+ images has none of class 1; leave"):
        _refuse_empty_splits(spec, replace(data, test=test))
    nothing = np.zeros(0, dtype=np.int64)
    validation = replace(data.validation, rows=nothing, labels=nothing, image_ids=())
    with pytest.raises(UserError, match="its validation split is empty"):
        _refuse_empty_splits(spec, replace(data, validation=validation))
