"""What each input mode makes of a pretrained first convolution."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmark.data.decoding.derived import derive
from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES, group_identical_modes, needs_pretrained_stem
from benchmark.networks import build as models
from benchmark.networks.build import BuiltModel
from benchmark.networks.heads import head_parameters
from benchmark.networks.libraries.find import find_architecture
from benchmark.networks.stems import adapt_stem, folded_shift, load_stem, verify_stem
from benchmark.training.batches import Normaliser
from tests import factories

PADDED = "timm/test_efficientnet"
"""ImageNet's triples, a zero-padded 3 x 3 first convolution without bias, batch norm behind it."""
UNPADDED = "torchvision/squeezenet1_0"
"""ImageNet's triples, a 7 x 7 first convolution without padding, with a bias."""
UNIFORM = "timm/test_resnet"
"""Means and stds of 0.5."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIDE = 64


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("weights")
    return {model: factories.write_pretrained(model, folder) for model in (PADDED, UNPADDED, UNIFORM)}


@pytest.fixture
def images() -> Tensor:
    """Grey images that differ in structure and brightness, with all values, uint8, shape (n, 1, side, side)."""
    generator = torch.Generator().manual_seed(1)
    patches = torch.rand(8, 1, SIDE // 8, SIDE // 8, generator=generator).repeat_interleave(8, 2)
    patches = patches.repeat_interleave(8, 3)
    brightness = torch.linspace(0.1, 1, 8).view(8, 1, 1, 1)
    noise = torch.rand(8, 1, SIDE, SIDE, generator=generator)
    return (255 * brightness * (0.6 * patches + 0.4 * noise)).round().to(torch.uint8)


def build(model: str, mode: str, files: dict[str, str], **given: Any) -> BuiltModel:
    arguments = {"classes": 3, "source": files.get(model), "seed": 0, "image_size": SIDE, **given}
    return models.build(model, INPUT_MODES[mode], **arguments)


def normalised(built: BuiltModel, images: Tensor, mode: str = "grey-1ch") -> Tensor:
    if (how := INPUT_MODES[mode].derived) is not None:
        images = torch.from_numpy(derive(how, "viridis")(images.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
    return Normaliser(built.mean, built.std, torch.device("cpu"))(images)


def logits(built: BuiltModel, images: Tensor, mode: str = "grey-1ch") -> Tensor:
    with torch.inference_mode():
        answer: Tensor = built.network.eval()(normalised(built, images, mode))
    return answer


def stem(built: BuiltModel) -> nn.Conv2d:
    layer = built.network.get_submodule(built.stem or "")
    assert isinstance(layer, nn.Conv2d)
    return layer


def answers(built: BuiltModel, images: Tensor) -> Tensor:
    with torch.inference_mode():
        answer: Tensor = stem(built)(normalised(built, images))
    return answer


@pytest.mark.parametrize("model", [PADDED, UNPADDED, UNIFORM])
def test_shared_norm_starts_as_exactly_the_function_that_grey_1ch_starts_as(
    model: str, files: dict[str, str], images: Tensor
) -> None:
    three, one = (logits(build(model, mode, files), images) for mode in ("grey-3ch-shared-norm", "grey-1ch"))
    assert one.std(dim=0).max() > 5e-3, "images that all get the same answer would prove nothing"
    torch.testing.assert_close(one, three, rtol=1e-4, atol=1e-5)


def test_shared_norm_and_grey_1ch_are_other_networks_after_one_step(files: dict[str, str], images: Tensor) -> None:
    """With Adam each of the three channels moves by lr, so their sum by 3 lr; the one channel by lr."""
    moved = {}
    for mode in ("grey-3ch-shared-norm", "grey-1ch"):
        built = build(UNIFORM, mode, files)
        before = stem(built).weight.detach().sum(dim=1).clone()
        optimizer = torch.optim.Adam(built.network.parameters(), lr=1e-3)
        nn.functional.cross_entropy(built.network.eval()(normalised(built, images)), torch.arange(8) % 3).backward()
        optimizer.step()
        moved[mode] = (stem(built).weight.detach().sum(dim=1) - before).abs().median()
    assert moved["grey-1ch"] == pytest.approx(1e-3, rel=0.01)
    assert moved["grey-3ch-shared-norm"] == pytest.approx(3e-3, rel=0.01)


@pytest.mark.parametrize("model", [PADDED, UNPADDED])
def test_a_random_stem_is_the_one_of_scratch_with_this_seed_and_the_rest_is_the_checkpoints(
    model: str, files: dict[str, str]
) -> None:
    random, other = (build(model, "grey-1ch-random-stem", files, seed=seed) for seed in (0, 1))
    scratch = build(model, "grey-1ch", files, source="none")
    own, fresh, source = random.network.state_dict(), scratch.network.state_dict(), factories.pretrained(model)
    adapted = {name for name in own if name.startswith(f"{random.stem}.")}
    assert f"{random.stem}.weight" in adapted
    for name in own:
        if name not in head_parameters(random.network):
            assert torch.equal(own[name], (fresh if name in adapted else source)[name]), name
    assert not torch.equal(stem(random).weight, stem(other).weight)


@pytest.mark.parametrize("model", [PADDED, UNPADDED])
def test_a_scaled_random_stem_is_the_random_one_with_the_norms_of_the_summed_filters_and_the_checkpoints_bias(
    model: str, files: dict[str, str]
) -> None:
    scaled, random, summed = (build(model, f"grey-1ch{mode}", files) for mode in ("-scaled-random", "-random-stem", ""))
    filters = [stem(built).weight.detach().flatten(1).double() for built in (scaled, random, summed)]
    norms = [each.norm(dim=1) for each in filters]
    torch.testing.assert_close(norms[0], norms[2])
    assert ((norms[1] - norms[2]).abs() > 0.1 * norms[2]).any(), "without the scaling they are others"
    torch.testing.assert_close(filters[0] / norms[0][:, None], filters[1] / norms[1][:, None])
    others = [{n: t for n, t in built.network.state_dict().items() if "head" not in n} for built in (scaled, summed)]
    different = {name for name, tensor in others[0].items() if not torch.equal(tensor, others[1][name])}
    assert different == {f"{scaled.stem}.weight"}


def test_the_red_stem_is_ultralyticss_slice_of_the_pretrained_one(files: dict[str, str]) -> None:
    source = factories.pretrained(PADDED)[f"{build(PADDED, 'rgb', files).stem}.weight"]
    assert torch.equal(stem(build(PADDED, "grey-1ch-red", files)).weight, source[:, :1])


def test_the_folded_stem_is_grey_3ch_inside_the_image_and_not_at_its_zero_padded_border(
    files: dict[str, str], images: Tensor
) -> None:
    three, one = (answers(build(PADDED, mode, files), images) for mode in ("grey-3ch", "grey-1ch-folded"))
    scale = three.std()
    gap = (three - one).abs().amax(dim=(0, 1)) / scale
    assert stem(build(PADDED, "grey-3ch", files)).padding == (1, 1)
    inside, border = gap[1:-1, 1:-1].max(), gap[0].max()
    assert inside < 5e-6
    assert border > 0.05
    with torch.no_grad():
        summed = answers(build(PADDED, "grey-1ch", files), images)
    assert (three - summed)[..., 1:-1, 1:-1].abs().max() / scale > 0.05, "grey-1ch is not grey-3ch with these triples"


def test_at_the_border_the_folded_stem_is_off_by_the_shift_of_the_kernels_outer_part(
    files: dict[str, str], images: Tensor
) -> None:
    built = build(PADDED, "grey-3ch", files)
    three, one = answers(built, images), answers(build(PADDED, "grey-1ch-folded", files), images)
    outer = stem(built).weight.detach().clone()
    outer[:, :, 1:] = 0  # of the kernel, the row above the image; it has stride 2 and so reaches over no other border
    expected = folded_shift(outer, *IMAGENET)
    torch.testing.assert_close((one - three)[:, :, 0, 1:-1], expected.view(1, -1, 1).expand(8, -1, three.shape[-1] - 2))


def test_without_padding_the_folded_network_is_grey_3ch_as_a_whole(files: dict[str, str], images: Tensor) -> None:
    three, one, summed = (
        logits(build(UNPADDED, m, files), images) for m in ("grey-3ch", "grey-1ch-folded", "grey-1ch")
    )
    spread = three.std(dim=0).max()
    assert (three - one).abs().max() < 1e-4 * spread
    assert (three - summed).abs().max() > 1e-2 * spread


@pytest.mark.parametrize("model", [PADDED, UNPADDED])
def test_folding_adds_to_the_bias_or_gives_the_convolution_one_that_is_trained(
    model: str, files: dict[str, str]
) -> None:
    assert (stem(build(model, "grey-1ch", files)).bias is None) == (model == PADDED)
    built, source = build(model, "grey-1ch-folded", files), factories.pretrained(model)
    bias = dict(built.network.named_parameters())[f"{built.stem}.bias"]
    assert bias.requires_grad
    shift = folded_shift(source[f"{built.stem}.weight"], *IMAGENET)
    torch.testing.assert_close(bias.detach(), source.get(f"{built.stem}.bias", torch.zeros_like(shift)) + shift)
    assert shift.abs().max() > 0.01


def test_modes_called_identical_start_bit_for_bit_the_same(files: dict[str, str], images: Tensor) -> None:
    known = find_architecture(UNIFORM)
    groups = group_identical_modes(list(INPUT_MODES), known.mean, known.std, stem_is_trained=True)
    assert len(groups) == 2
    for first, *others in groups:
        one = build(UNIFORM, first, files)
        for other in others:
            two = build(UNIFORM, other, files)
            assert (one.mean, one.std) == (two.mean, two.std)
            assert list(one.network.state_dict()) == list(two.network.state_dict())
            assert all(torch.equal(t, two.network.state_dict()[n]) for n, t in one.network.state_dict().items())
            assert torch.equal(normalised(one, images), normalised(two, images))


def test_modes_that_differ_in_their_start_are_not_called_identical(files: dict[str, str], images: Tensor) -> None:
    grey = [mode for mode in INPUT_MODES if INPUT_MODES[mode].grey]
    found = {mode: logits(build(PADDED, mode, files), images, mode) for mode in grey}
    same = group_identical_modes(list(found), *IMAGENET, stem_is_trained=False)
    assert same == (("grey-1ch", "grey-3ch-shared-norm"),)
    for first, second in itertools.combinations(found, 2):
        gap = (found[first] - found[second]).abs().max()
        assert gap < 1e-5 if (first, second) in same else gap > 1e-4, (first, second)


@pytest.mark.parametrize("mode", [mode for mode in INPUT_MODES if needs_pretrained_stem(mode)])
def test_an_ablation_of_the_stem_is_refused_for_random_weights(mode: str, files: dict[str, str]) -> None:
    with pytest.raises(UserError, match=f"{mode} adapts a pretrained stem; these weights are random"):
        build(UNIFORM, mode, files, source="none")


@pytest.mark.parametrize(
    "mode",
    [
        "grey-1ch",
        *(pytest.param(f"grey-1ch-{way}", marks=pytest.mark.slow) for way in ("mean", "folded", "scaled-random")),
    ],
)
def test_a_stem_that_standardises_its_weights_is_refused_where_they_would_be_summed(mode: str, tmp_path: Path) -> None:
    source = factories.write_pretrained("timm/test_nfnet", tmp_path)
    with pytest.raises(UserError, match=r"stem\.conv1 \(ScaledStdConv2d\) is not linear in its weights"):
        build("timm/test_nfnet", mode, {}, source=source)
    for allowed in ("grey-3ch", "grey-1ch-random-stem"):
        assert build("timm/test_nfnet", allowed, {}, source=source).stem == "stem.conv1"


@pytest.mark.parametrize("how", ["sum", "mean", "fold", "red", "luma"])
def test_an_adapted_stem_answers_as_the_formula_says(how: Any) -> None:
    """Against the formula written out for one pixel and a 1 x 1 kernel, in exact decimals."""
    weight = torch.tensor([0.2, -0.5, 0.7]).view(1, 3, 1, 1)
    (m_r, m_g, m_b), (s_r, s_g, s_b) = IMAGENET
    m, s = (m_r + m_g + m_b) / 3, (s_r + s_g + s_b) / 3
    expected = {
        "sum": 0.2 - 0.5 + 0.7,
        "mean": (0.2 - 0.5 + 0.7) / 3,
        "fold": 0.2 * s / s_r - 0.5 * s / s_g + 0.7 * s / s_b,
        "red": 0.2,
        "luma": 0.299 * 0.2 - 0.587 * 0.5 + 0.114 * 0.7,
    }[how]
    assert adapt_stem(weight, how, *IMAGENET).item() == pytest.approx(expected)
    shift = 0.2 * (m - m_r) / s_r - 0.5 * (m - m_g) / s_g + 0.7 * (m - m_b) / s_b
    assert folded_shift(weight, *IMAGENET).item() == pytest.approx(shift)


@pytest.mark.parametrize("how", ["sum", "mean", "fold", "red", "luma", "scaled-random"])
def test_a_stem_that_is_not_the_modes_is_noticed_after_loading(how: Any) -> None:
    known, state = find_architecture(PADDED), factories.pretrained(PADDED)
    network = known.create(3, 1)
    with pytest.raises(AssertionError):
        verify_stem(network, ["conv_stem"], state, how, known)  # still random
    load_stem(network, ["conv_stem"], state, how, known)
    verify_stem(network, ["conv_stem"], state, how, known)
