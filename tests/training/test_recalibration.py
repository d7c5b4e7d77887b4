"""Running statistics of batch norms, estimated on the run's images before its first step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.matrix.run_spec import RunSpec
from benchmark.training.batches import EpochBatches
from benchmark.training.recalibration import recalibrate
from benchmark.training.stages import train
from benchmark.training.trainer import Support, make_accelerator
from tests import factories
from tests.training.test_checkpoints import Interrupted, assert_the_same, trained

MODEL = "timm/test_resnet"


def spec_of(model: str = MODEL, *, recalibrated: bool = True, trainable: str = "head", **changes: Any) -> RunSpec:
    stage = {"trainable": trainable, "batch_norm": "eval"}
    mine = {"pretrained": True, "recalibrate": recalibrated, "summary": "mine", "stages": [stage]}
    small = {"image_size": 32, "batch_size": 8, "epochs": 3, **changes}
    policies = {"policies": ["mine"], "own_policies": {"mine": mine}}
    return factories.spec(models=[model], weights="none", input_modes=["grey-1ch"], training=small, **policies)


def statistics(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items() if "running_" in name}


def test_the_statistics_are_the_means_over_the_batches_of_what_enters_each_norm() -> None:
    built, images = factories.network_and_images(spec := spec_of(augment=["hflip", "noise"]), factories.dataset())
    norms = {n: m for n, m in built.network.named_modules() if isinstance(m, nn.BatchNorm2d)}
    momenta = {name: norm.momentum for name, norm in norms.items()}
    entered: dict[str, list[Tensor]] = {name: [] for name in norms}
    hooks = [
        norm.register_forward_pre_hook(lambda module, args, name=name: entered[name].append(args[0]))
        for name, norm in norms.items()
    ]
    before, weights = statistics(built.network), {n: p.clone() for n, p in built.network.named_parameters()}
    recalibrate(built.network, images.train, spec, make_accelerator("fp32"))
    for hook in hooks:
        hook.remove()
    after = statistics(built.network)
    batches = EpochBatches(40, spec.batch_size, spec.seed)
    batches.epoch = 0
    assert [len(batch) for batch in entered[next(iter(norms))]] == [len(batch) for batch in batches]
    seen = torch.cat([images.train.__getitems__(positions)[0] for positions in batches])
    convolution = next(module for module in built.network.modules() if isinstance(module, nn.Conv2d))
    torch.testing.assert_close(torch.cat(entered[next(iter(norms))]), convolution(seen))
    for name, inputs in entered.items():
        for statistic, each in (
            ("running_mean", [x.mean(dim=(0, 2, 3)) for x in inputs]),
            ("running_var", [x.var(dim=(0, 2, 3)) for x in inputs]),
        ):
            torch.testing.assert_close(after[f"{name}.{statistic}"], torch.stack(each).mean(dim=0))
            assert not torch.allclose(after[f"{name}.{statistic}"], before[f"{name}.{statistic}"])
    assert {name: norm.momentum for name, norm in norms.items()} == momenta
    assert all(torch.equal(parameter, weights[name]) for name, parameter in built.network.named_parameters())


def test_a_policy_that_asks_for_it_starts_from_these_statistics_and_keeps_them_in_eval_mode() -> None:
    spec = spec_of(trainable="all")
    built, images = factories.network_and_images(spec, factories.dataset())
    recalibrate(built.network, images.train, spec, make_accelerator("fp32"))
    expected = statistics(built.network)
    runs = [trained(spec_of(recalibrated=asked, trainable="all"), None) for asked in (True, False)]
    kept = [{name: run.last_state[name] for name in expected} for run in runs]
    assert all(torch.equal(tensor, kept[0][name]) for name, tensor in expected.items())
    assert not any(torch.equal(tensor, kept[1][name]) for name, tensor in expected.items())
    assert runs[0].run_state.history[0].val_loss != runs[1].run_state.history[0].val_loss


def test_features_are_kept_apart_from_those_of_the_network_as_it_was(tmp_path: Path) -> None:
    losses = {}
    for folder in (tmp_path / "shared", None):
        for asked in (True, False):
            spec = spec_of(recalibrated=asked)
            built, images = factories.network_and_images(spec, factories.dataset())
            run = train(built.network, spec, images, "fp32", Support(features=folder, about_images={"images": "1"}))
            assert [stage.cached_features for stage in run.run_state.stages] == [True]
            losses[folder is None, asked] = [epoch.val_loss for epoch in run.run_state.history]
    assert len(list((tmp_path / "shared").glob("*.safetensors"))) == 2
    assert losses[False, True] == losses[True, True] != losses[False, False] == losses[True, False]


def test_a_resumed_run_is_not_recalibrated_again(tmp_path: Path) -> None:
    spec = spec_of(trainable="all")
    with pytest.raises(Interrupted):
        trained(spec, tmp_path, stop_after=1)
    assert_the_same(trained(spec, tmp_path), trained(spec, None))


def test_a_network_without_batch_norms_is_refused() -> None:
    with pytest.raises(UserError, match=r"mine: recalibrate: timm/test_vit has no batch norms .* Remove recalibrate"):
        trained(spec_of("timm/test_vit"), None)
