"""Heads trained on cached features against heads trained behind the running backbone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks.freezing import set_modes
from benchmark.networks.heads import head_parameters
from benchmark.training import features
from benchmark.training.batches import Images, Source
from benchmark.training.stages import TrainedNetwork, train
from benchmark.training.trainer import Support
from tests import factories
from tests.training.training_runs import run


def trained(spec: RunSpec, folder: Path | None = None) -> tuple[TrainedNetwork, nn.Module]:
    built, images = factories.network_and_images(spec, factories.dataset())
    support = Support(features=folder, about_images={"images": "synthetic"})
    return train(built.network, spec, images, "fp32", support), built.network


def head_of(run: TrainedNetwork, network: nn.Module) -> dict[str, Tensor]:
    return {name: run.last_state[name] for name in head_parameters(network)}


def passes_with_gradients(spec: RunSpec) -> int:
    """Return the number of training batches that went through the whole network."""
    passes: list[bool] = []
    run(spec, hook=lambda *_: passes.append(torch.is_grad_enabled()))
    return sum(passes)


@pytest.mark.parametrize("model", ["timm/test_resnet", "timm/test_efficientnet", "timm/test_vit"])
@pytest.mark.parametrize(
    "augment",
    ["[hflip]", "[]", pytest.param("[{hflip: {probability: 0.9}}]", marks=pytest.mark.slow)],
    ids=["flip", "plain", "often"],
)
def test_a_head_trained_on_kept_features_is_the_one_trained_behind_the_running_backbone(
    model: str, augment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = factories.training_spec(policy="feature-extract", model=model, lr=1e-2, augment=augment)
    kept, network = trained(spec)
    monkeypatch.setattr(Stage, "keeps_features", lambda stage, augment: False)
    running, _ = trained(spec)
    assert [stage.cached_features for stage in kept.run_state.stages] == [True]
    assert [stage.cached_features for stage in running.run_state.stages] == [False]
    for name, tensor in head_of(running, network).items():
        torch.testing.assert_close(head_of(kept, network)[name], tensor, rtol=0, atol=1e-5)
    torch.testing.assert_close(kept.test_logits, running.test_logits, rtol=0, atol=1e-4)
    losses = [[epoch.train_loss for epoch in run.run_state.history[1:]] for run in (kept, running)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(set(losses[0])) == 3


def test_a_frozen_stage_on_kept_features_never_runs_the_backbone_in_a_step() -> None:
    assert passes_with_gradients(factories.training_spec(policy="feature-extract")) == 0
    assert passes_with_gradients(factories.training_spec(policy="finetune")) == 3 * 5


@pytest.mark.parametrize(
    ("policy", "augment", "batch_norm"),
    [
        ("feature-extract", "[hflip]", "train"),
        ("feature-extract", "[hflip, noise]", "eval"),
        ("bn-only", "[hflip]", "eval"),
        ("finetune-whole", "[hflip]", "train"),
    ],
)
def test_kept_features_are_not_used_where_they_would_not_be_exact(policy: str, augment: str, batch_norm: str) -> None:
    spec = factories.training_spec(policy=policy, augment=augment)
    (stage,) = spec.stages
    changed = spec.model_copy(update={"stages": (stage.model_copy(update={"batch_norm": batch_norm}),)})
    assert passes_with_gradients(changed) == 3 * 5


def frozen(network: nn.Module, images: Images, folder: Path | None = None, **about: Any) -> Images | None:
    set_modes(network, "head", "eval")
    spec = factories.training_spec()
    return features.compute_features(
        network, images, spec.augment, lambda: torch.autocast("cpu", enabled=False), folder, about
    )


def test_a_network_that_does_something_behind_its_classifier_has_no_kept_features() -> None:
    built, images = factories.network_and_images(factories.training_spec(), factories.dataset())
    assert frozen(built.network, images) is not None
    built.network.register_forward_hook(lambda module, args, output: output * 2)
    assert frozen(built.network, images) is None


def test_a_network_with_dropout_of_its_own_in_front_of_the_classifier_has_no_kept_features() -> None:
    built, images = factories.network_and_images(factories.training_spec(), factories.dataset())
    built.network.drop_rate = 0.5  # type: ignore[assignment]  # nn.Module types attributes as tensors
    assert frozen(built.network, images) is None


def test_features_that_would_take_too_much_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    built, images = factories.network_and_images(factories.training_spec(), factories.dataset())
    monkeypatch.setattr(features, "LARGEST", 1000)
    assert frozen(built.network, images) is None


def test_runs_that_share_a_backbone_compute_its_features_once(tmp_path: Path) -> None:
    def spec(seed: int) -> RunSpec:
        return factories.training_spec(policy="feature-extract", seed=seed)

    alone = trained(spec(0))[0].test_logits
    built = factories.network_and_images(spec(0), factories.dataset())[0]
    state = {name: t for name, t in built.network.state_dict().items() if name not in head_parameters(built.network)}

    def run(seed: int) -> TrainedNetwork:
        again, images = factories.network_and_images(spec(seed), factories.dataset())
        again.network.load_state_dict(state, strict=False)  # one backbone, a head for each seed
        passes.append(0)

        def count(*_: object) -> None:
            passes[-1] += 1

        again.network.register_forward_pre_hook(count)
        return train(again.network, spec(seed), images, "fp32", Support(features=tmp_path, about_images={"x": 1}))

    passes: list[int] = []
    first, second, third = run(0), run(1), run(0)
    assert torch.equal(first.test_logits, alone)
    assert torch.equal(first.test_logits, third.test_logits)
    assert not torch.equal(first.test_logits, second.test_logits)
    assert passes == [2 + 4, 2, 2], "two to see that it is exact, then a batch for each of four parts"
    assert len(list(tmp_path.glob("*.safetensors"))) == 1


def test_the_folds_of_one_set_of_images_share_their_features(tmp_path: Path) -> None:
    built, whole = factories.network_and_images(factories.training_spec(), factories.dataset())
    data = factories.dataset()
    turned = replace(data, train=data.validation, validation=data.test, test=data.train)
    _, other = factories.network_and_images(factories.training_spec(), turned)
    first, second = (
        frozen(built.network, replace(images, is_fold=True), tmp_path, rows=k)
        for k, images in enumerate((whole, other))
    )
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    alone = frozen(built.network, whole)
    assert first is not None
    assert second is not None
    assert alone is not None

    def features_of(source: Source | None, seed: int | None = None) -> Tensor:
        assert source is not None
        if seed is not None:
            source.augment(factories.training_spec(augment="[{hflip: {probability: 0.9}}]").augment, seed, epoch=1)
        inputs, _ = source.__getitems__(list(range(len(source))))
        return inputs

    assert torch.equal(features_of(second.test), features_of(first.train)), "the same images"
    for kept, own in ((first.train, alone.train), (first.validation, alone.validation), (first.test, alone.test)):
        torch.testing.assert_close(features_of(kept), features_of(own), rtol=0, atol=1e-5)
    torch.testing.assert_close(features_of(first.train, 3), features_of(alone.train, 3), rtol=0, atol=1e-5)


def test_another_backbone_or_other_images_have_features_of_their_own(tmp_path: Path) -> None:
    built, images = factories.network_and_images(factories.training_spec(), factories.dataset())
    frozen(built.network, images, tmp_path, of="a")
    frozen(built.network, images, tmp_path, of="b")
    with torch.no_grad():
        next(iter(built.network.parameters())).mul_(1.0001)
    frozen(built.network, images, tmp_path, of="a")
    assert len(list(tmp_path.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("damage", ["one bit", "truncated"])
def test_damaged_features_are_computed_again(damage: str, tmp_path: Path) -> None:
    spec = factories.training_spec(policy="feature-extract")
    whole, _ = trained(spec, tmp_path)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    if damage == "one bit":
        content[-5] ^= 64
        file.write_bytes(bytes(content))
    else:
        file.write_bytes(bytes(content[:-9]))
    again, _ = trained(spec, tmp_path)
    assert torch.equal(whole.test_logits, again.test_logits)
    assert len(file.read_bytes()) == len(content)
