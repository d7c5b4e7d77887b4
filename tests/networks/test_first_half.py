"""A linear head on the activations at half of a network's blocks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build
from benchmark.networks.freezing import block_starts, early_half, set_modes, set_trainable
from benchmark.networks.heads import head_parameters
from benchmark.networks.libraries.find import find_architecture
from benchmark.records.record import DoneRun
from benchmark.trained.export import export
from benchmark.trained.restore import open_run
from benchmark.training.run import head_init, train_and_score
from tests import factories

BLOCKS = {"timm/test_resnet": 2, "timm/test_efficientnet": 2, "timm/test_vit": 2, "timm/test_convnext": 1}
"""The position of the block at half: two stages of four (the stem is a block), three of five, three encoder blocks of
six, two stages of four."""
RESNET = factories.TINY


def halved(model: str, mode: str = "grey-3ch", **given: Any) -> nn.Module:
    arguments = {"classes": 3, "source": "none", "seed": 0, "image_size": 64, "backbone": "first-half", **given}
    return build.build(model, INPUT_MODES[mode], **arguments).network


def features(network: nn.Module, images: Tensor) -> Tensor:
    """Return what the head takes."""
    taken: list[Tensor] = []
    network.get_submodule("head").register_forward_pre_hook(lambda module, given: taken.append(given[0]))
    with torch.inference_mode():
        network.eval()(images)
    return taken[0]


@pytest.mark.parametrize("model", BLOCKS)
def test_its_features_are_the_pretrained_activations_at_half_of_the_blocks_averaged_over_the_image(
    model: str, tmp_path: Path
) -> None:
    source = factories.write_pretrained(model, tmp_path)
    complete: Any = find_architecture(model).published().eval()
    complete.load_state_dict(factories.pretrained(model))
    images = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        activations = complete.forward_intermediates(images, intermediates_only=True)
    expected = activations[BLOCKS[model]].flatten(2).mean(dim=2)
    assert expected.std() > 1e-3
    torch.testing.assert_close(features(halved(model, source=source), images), expected)
    summed = features(halved(model, "grey-1ch", source=source), images[:, :1])
    torch.testing.assert_close(summed, expected, rtol=1e-4, atol=1e-4)


def test_what_is_behind_half_of_the_blocks_is_not_part_of_it() -> None:
    names = {name.removeprefix("backbone.").partition(".")[0] for name in halved(RESNET).state_dict()}
    assert names == {"conv1", "bn1", "layer1", "layer2", "head"}


def test_its_head_is_drawn_from_seed_and_name_within_pytorchs_bound_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(7)
    untouched = torch.rand(3)
    torch.manual_seed(7)
    three, one = (head_parameters(halved(RESNET, mode)) for mode in ("grey-3ch", "grey-1ch"))
    assert torch.equal(torch.rand(3), untouched)
    assert list(three) == ["head.weight", "head.bias"]
    assert all(torch.equal(three[name], one[name]) for name in three)
    weight = three["head.weight"]
    bound = 1 / math.sqrt(weight.shape[1])
    assert 0.9 * bound < weight.abs().max() <= bound
    assert not torch.equal(weight, head_parameters(halved(RESNET, seed=1))["head.weight"])
    assert not head_parameters(halved(RESNET, head_init="xavier"))["head.bias"].any()


def test_rows_of_the_pretrained_head_which_takes_other_features_become_the_default() -> None:
    rows = {"head_init": {"source-rows": {"hotdog": 934}}}
    spec = factories.spec(weights="hub", policies=["truncate"], training=rows)
    assert head_init(spec, ("apple", "hotdog")) == "default"
    with pytest.raises(UserError, match="has no class 'hotdog'"):
        head_init(spec, ("apple", "bread"))


def test_a_network_without_forward_intermediates_is_refused() -> None:
    with pytest.raises(UserError, match=r"torchvision/resnet18 has no forward_intermediates.*Leave out truncate"):
        halved("torchvision/resnet18")


@pytest.mark.parametrize(
    ("model", "blocks", "early"),
    [
        ("timm/test_vit", 3, ("cls_token", "reg_token", "pos_embed", "patch_embed.", "blocks.0.")),
        ("timm/poolformer_s12", 2, ("stem.", "stages.0.")),
    ],
)
def test_its_own_first_half_can_be_frozen(model: str, blocks: int, early: tuple[str, ...]) -> None:
    network = halved(model)
    names = {name for name, _ in network.named_parameters()}
    frozen = {name for name in names if name.removeprefix("backbone.").startswith(early)}
    assert len(block_starts(network)) == blocks
    assert early_half(network) == frozen
    set_trainable(network, "later-half")
    assert {name for name, parameter in network.named_parameters() if not parameter.requires_grad} == frozen


def test_only_its_head_is_trained_and_in_train_mode() -> None:
    network = halved(RESNET)
    assert set_trainable(network, "head") == list(head_parameters(network).values())
    set_modes(network, "head", "eval")
    assert [name for name, module in network.named_modules() if module.training] == ["", "head"]


def test_a_trained_one_is_restored_with_the_predictions_of_its_record_and_is_not_exported(tmp_path: Path) -> None:
    spec, data = factories.training_spec(policy="truncate", lr=0.1), factories.dataset()
    outcome = train_and_score(spec, factories.context(tmp_path), lambda: data)
    record = outcome.record
    assert isinstance(record, DoneRun)
    assert outcome.predictions is not None
    assert [stage.cached_features for stage in record.model.stages] == [True]
    run = open_run(record, tmp_path / "weights" / f"{spec.id}.safetensors")
    shares = run.probabilities(data.images[data.test.rows])
    assert np.ptp(shares[:, 0]) > 0.01, "images that all get the same answer would prove nothing"
    np.testing.assert_allclose(shares, outcome.predictions.probabilities, atol=1e-5)
    with pytest.raises(UserError, match=r"\(truncate\) uses half of timm/test_resnet, which cannot be built without"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
