"""What the head is, and what it starts from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build
from benchmark.networks.heads import classifier, head_parameters, is_headless
from benchmark.training.run import head_init
from tests import factories

RESNET = "timm/test_resnet"
SQUEEZENET = "torchvision/squeezenet1_0"
"""Its head is a 1 x 1 convolution."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {model: factories.write_pretrained(model, folder) for model in (RESNET, SQUEEZENET)}


def head(model: str, how: Any, source: str, seed: int = 0, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight and bias of a new head."""
    built = build.build(
        model, INPUT_MODES["rgb"], classes=classes, source=source, seed=seed, head_init=how, image_size=64
    )
    weight, bias = head_parameters(built.network).values()
    return weight.detach().flatten(1), bias.detach()


@pytest.mark.parametrize("model", [RESNET, SQUEEZENET])
@pytest.mark.parametrize("how", ["default", "xavier"])
def test_a_head_is_uniform_within_pytorchs_or_glorots_bound(how: str, model: str, files: dict[str, str]) -> None:
    weight, bias = head(model, how, files[model])
    outputs, inputs = weight.shape
    bound = 1 / math.sqrt(inputs) if how == "default" else math.sqrt(6 / (inputs + outputs))
    assert 0.95 * bound < weight.abs().max() <= bound
    assert weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    assert (0 < bias.abs().max() <= bound) if how == "default" else not bias.any()
    assert torch.equal(weight, head(model, how, files[model])[0])
    assert not torch.equal(weight, head(model, how, files[model], seed=1)[0])


@pytest.mark.parametrize("model", [RESNET, SQUEEZENET])
def test_source_rows_are_the_named_rows_of_the_pretrained_head_and_the_others_start_as_ever(
    model: str, files: dict[str, str]
) -> None:
    state = factories.pretrained(model)
    name = next(iter(head_parameters(build.build(model, INPUT_MODES["rgb"], classes=3, source="none", seed=0).network)))
    weight, bias = head(model, [934, None, 0], files[model])
    default, default_bias = head(model, "default", files[model])
    source, source_bias = state[name].flatten(1), state[name.replace("weight", "bias")]
    assert torch.equal(weight[0], source[934])
    assert torch.equal(weight[1], default[1])
    assert torch.equal(weight[2], source[0])
    assert torch.equal(bias, torch.stack([source_bias[934], default_bias[1], source_bias[0]]))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([1000, None, None], "row 1000: the pretrained head has rows 0 to 999"),
        ([1, None], "2 rows for 3 classes"),
    ],
)
def test_rows_that_are_not_there_are_refused(rows: list[int | None], message: str, files: dict[str, str]) -> None:
    with pytest.raises(UserError, match=message):
        head(RESNET, rows, files[RESNET])


def test_rows_of_random_weights_and_of_a_file_without_a_head_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="rows of a pretrained head need pretrained weights"):
        head(RESNET, [1, None, None], "none")
    state = {name: tensor for name, tensor in factories.pretrained(RESNET).items() if not name.startswith("fc.")}
    torch.save(state, tmp_path / "headless.pth")
    with pytest.raises(UserError, match="the checkpoint has no head to take rows from"):
        head(RESNET, [1, None, None], f"file:{tmp_path / 'headless.pth'}")


def test_a_matrix_names_rows_by_class_and_they_reach_the_head_in_label_order() -> None:
    rows = {"head_init": {"source-rows": {"hotdog": 934, "apple": 948}}}
    spec = factories.spec(weights="hub", policies=["finetune-whole"], training=rows)
    assert head_init(spec, ("apple", "bread", "hotdog")) == [948, None, 934]
    with pytest.raises(UserError, match=r"has no class 'hotdog'. Did you mean 'hot dog'"):
        head_init(spec, ("apple", "hot dog"))
    scratch = factories.spec(policies=["scratch"], training=rows)
    assert head_init(scratch, ("apple", "hotdog")) == "default"


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "levit_128s"])
def test_a_network_with_two_heads_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="has 2 classifiers"), torch.device("meta"):
        classifier(timm.create_model(name, num_classes=3))


def test_pooling_by_attention_belongs_to_the_backbone() -> None:
    network = timm.create_model("test_vit", num_classes=3, global_pool="map", class_token=False)
    assert any(name.startswith("attn_pool.") for name, _ in network.named_parameters())
    assert set(head_parameters(network)) == {"head.weight", "head.bias"}


def test_a_network_published_without_a_head_is_recognised() -> None:
    with torch.device("meta"):
        assert is_headless(timm.create_model("vit_tiny_patch16_dinov3_qkvb"))
        assert not is_headless(timm.create_model("test_vit"))
    with pytest.raises(UserError, match="not a timm or torchvision model"):
        is_headless(nn.Linear(2, 2))
