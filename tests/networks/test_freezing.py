"""The parameters that a stage trains, and the mode of every module."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from pytorch_accelerated.finetuning import ModelFreezer
from torch import nn

from benchmark.errors import UserError
from benchmark.matrix.policies import BatchNorm, Trainable
from benchmark.networks.freezing import block_starts, early_half, set_modes, set_trainable
from benchmark.networks.heads import classifier


def torchvisions(name: str) -> nn.Module:
    given = {"aux_logits": False, "init_weights": False} if name == "inception_v3" else {}
    with torch.device("meta"):
        network: nn.Module = torchvision.models.get_model(name, weights=None, **given)
    return network


@pytest.mark.parametrize(
    ("name", "blocks", "last", "first"),
    [
        ("resnet18", 8, "layer2.1.bn2.bias", "layer3.0.conv1.weight"),
        ("resnet50", 16, "layer3.0.downsample.1.bias", "layer3.1.conv1.weight"),
        ("alexnet", 7, "features.6.bias", "features.8.weight"),
        ("vgg11_bn", 10, "features.16.bias", "features.18.weight"),
        ("squeezenet1_0", 8, "features.7.expand3x3.bias", "features.8.squeeze.weight"),
        (
            "densenet121",
            58,
            "features.denseblock3.denselayer11.conv2.weight",
            "features.denseblock3.denselayer12.norm1.weight",
        ),
        ("inception_v3", 11, "Mixed_6b.branch_pool.bn.bias", "Mixed_6c.branch1x1.conv.weight"),
        ("vit_b_32", 12, "encoder.layers.encoder_layer_5.mlp.3.bias", "encoder.layers.encoder_layer_6.ln_1.weight"),
    ],
)
def test_the_first_half_of_torchvisions_blocks_is_everything_in_front_of_the_second(
    name: str, blocks: int, last: str, first: str
) -> None:
    network = torchvisions(name)
    assert len(block_starts(network)) == blocks
    names = [name for name, _ in network.named_parameters()]
    assert names.index(first) == names.index(last) + 1
    assert early_half(network) == set(names[: names.index(first)])


@pytest.mark.parametrize(
    ("name", "blocks", "frozen"),
    [
        ("test_resnet", 4, ("conv1.", "bn1.", "layer1.", "layer2.")),
        ("test_vit", 6, ("cls_token", "reg_token", "pos_embed", "patch_embed.", "blocks.0.", "blocks.1.", "blocks.2.")),
        ("test_efficientnet", 5, ("conv_stem.", "bn1.", "blocks.0.", "blocks.1.")),
        ("poolformer_s12", 4, ("stem.", "stages.0.", "stages.1.")),
    ],
)
def test_the_first_half_of_timms_layers(name: str, blocks: int, frozen: tuple[str, ...]) -> None:
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=3)
    assert len(block_starts(network)) == blocks
    assert early_half(network) == {name for name, _ in network.named_parameters() if name.startswith(frozen)}


def test_the_frozen_half_is_completely_in_eval_mode_and_the_trained_one_is_not() -> None:
    network = timm.create_model("test_vit", num_classes=3, drop_path_rate=0.2, proj_drop_rate=0.1)
    set_trainable(network, "later-half")
    set_modes(network, "later-half", "eval-where-frozen")
    blocks = network.get_submodule("blocks")
    for position, block in enumerate(blocks.children()):
        modes = {module.training for module in block.modules()}
        assert modes == {position >= 3}
        assert any(isinstance(module, nn.Dropout) for module in block.modules())
    assert not network.get_submodule("patch_embed").training
    assert network.get_submodule("head").training


def test_head_and_norms_are_what_the_articles_library_leaves_trainable() -> None:
    network = torchvisions("resnet18")
    ModelFreezer(network).freeze()
    left = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    set_trainable(network, "head+norms")
    assert {name for name, parameter in network.named_parameters() if parameter.requires_grad} == left
    assert {"bn1.weight", "layer4.1.bn2.bias", "fc.weight"} < left
    assert "layer1.0.conv1.weight" not in left


def test_without_batch_norms_the_head_alone_is_left() -> None:
    network = timm.create_model("test_vit", num_classes=3)
    assert len(set_trainable(network, "head+norms")) == len(set_trainable(network, "head")) == 2


def test_a_network_without_two_blocks_is_refused() -> None:
    network = timm.create_model("test_vit", num_classes=3, depth=1)
    with pytest.raises(UserError, match="fewer than two blocks found in its backbone, so half of it cannot be frozen"):
        early_half(network)


@pytest.mark.parametrize(
    ("trainable", "batch_norm"), [("head", "eval"), ("head+norms", "eval"), ("all", "eval"), ("all", "train")]
)
def test_a_frozen_backbone_or_batch_norms_alone_or_nothing_is_in_eval_mode(
    trainable: Trainable, batch_norm: BatchNorm
) -> None:
    network = timm.create_model("test_resnet", num_classes=2, drop_rate=0.1).eval()
    set_modes(network, trainable, batch_norm)
    head = {network, *classifier(network).modules()}
    norms = {module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)}
    in_eval = {module for module in network.modules() if not module.training}
    assert norms
    frozen = {*network.modules()} - head if trainable == "head" else norms
    assert in_eval == (frozen if batch_norm == "eval" else set())
