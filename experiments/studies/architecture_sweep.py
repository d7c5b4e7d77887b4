"""One architecture of each of timm's families through a saved checkpoint: exact, or refused with a reason.

``python -m experiments.studies.architecture_sweep [NAME]…`` prints the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from tabulate import tabulate
from torch import Tensor, nn

from benchmark.errors import UserError
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build as models
from benchmark.networks import weights
from benchmark.networks.freezing import block_starts, early_half
from benchmark.networks.libraries.find import find_architecture
from benchmark.training.batches import Normaliser

IMAGES = 6

SMALL_IMAGES = 64
"""Pixels a side, where the architecture does not ask for a size of its own."""

LARGER = {"inception_v3": 96, "inception_v4": 96, "inception_resnet_v2": 96}
"""Pixels a side of those that fail on small images without saying so beforehand."""

SMALL = (
    "test_byobnet",
    "test_convnext",
    "cpubone_nano",
    "cs3darknet_focus_s",
    "cspnext_tiny",
    "dla46x_c",
    "dpn48b",
    "edgenext_xx_small",
    "test_efficientnet",
    "efficientvim_m1",
    "efficientvit_b0",
    "vit_tiny_patch16_dinov3_qkvb",
    "fasternet_t0",
    "fastvit_t8",
    "ghostnet_050",
    "hardcorenas_b",
    "iformer_t",
    "inception_next_atto",
    "lcnetv2_small",
    "test_mambaout",
    "test_coatnet",
    "poolformerv2_s12",
    "mobilenetv3_small_050",
    "mobilevit_xxs",
    "pit_ti_224",
    "pvt_v2_b0",
    "regnetx_002",
    "resnest14d",
    "test_resnet",
    "rexnet_100",
    "legacy_seresnet18",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "test_vit",
    "test_vit_relpos",
    "ese_vovnet19b_slim_dw",
)
"""Each the smallest member of its family, a module of timm; all of these together take less than a minute."""

LARGE = (
    "hgnetv2_b0",
    "repghostnet_050",
    "repvit_m1",
    "resnetv2_18",
    "beit_base_patch16_224",
    "halonet_h1",
    "cait_xxs24_224",
    "coat_tiny",
    "convit_tiny",
    "convmixer_768_32",
    "crossvit_tiny_240",
    "davit_tiny",
    "deit_tiny_patch16_224",
    "densenet121",
    "efficientvit_m0",
    "focalnet_tiny_srf",
    "gcvit_xxtiny",
    "hiera_tiny_224",
    "sam2_hiera_tiny",
    "hrnet_w18_small",
    "inception_resnet_v2",
    "inception_v3",
    "inception_v4",
    "lowformer_b0",
    "gmlp_ti16_224",
    "mobilenetv5_base",
    "mvitv2_tiny",
    "nasnetalarge",
    "nest_tiny",
    "nextvit_small",
    "pnasnet5large",
    "qwen3_vit_88m",
    "rdnet_tiny",
    "res2next50",
    "selecsls42",
    "sequencer2d_s",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window16_256",
    "swinv2_cr_tiny_224",
    "tiny_vit_5m_224",
    "tnt_s_legacy_patch16_224",
    "twins_svt_small",
    "visformer_tiny",
    "samvit_base_patch16_224",
    "vitamin_small_224",
    "legacy_xception",
    "xception41p",
    "xcit_nano_12_p8_224",
)
"""The same of the other families, which take minutes."""

REFUSED = {
    "csatv2": "needs a three-channel first convolution to adapt; this model has none",
    "efficientformer_l1": "has 2 classifiers",
    "efficientformerv2_s0": "has 2 classifiers",
    "levit_128s": "has 2 classifiers",
    "naflexvit_base_patch16_parfac_gap": r"this model has embeds\.proj\.weight \(768, 768\)",
    "swiftformer_xs": "has 2 classifiers",
    "test_nfnet": r"stem\.conv1 \(ScaledStdConv2d\) is not linear in its weights",
    "tresnet_m": r"this model has body\.conv1\.conv\.weight \(64, 48, 3, 3\)",
    "vit_tiny_r_s16_p8_224": r"patch_embed\.backbone\.conv \(StdConv2dSame\) is not linear in its weights",
    "volo_d1_224": r"aux_head\.weight, which is not in the head, has 3 classes here and 1000 in the checkpoint",
}
"""Whose stem is no sum over three channels, or who have more than one head, with the reason."""

EXACT = 5e-4
"""Largest difference of logits, relative to their spread over the images."""


@dataclass(frozen=True)
class Row:
    """What became of one architecture.

    Attributes:
        name: timm's.
        side: pixels a side of the images.
        stem: the convolution that was adapted.
        gap: largest difference between the logits of grey-1ch and grey-3ch-shared-norm, relative to the spread of the
            logits over the images.
        control: the same with a stem whose third channel was forgotten: what a mistake looks like.
        blocks: of the backbone, of which `freeze-early` freezes the first half.
        early: the first trained tensor that an image meets in front of a frozen one under `freeze-early`; empty: none.
        refused: the reason; empty: it was adapted.
        seconds: all of it.
    """

    name: str
    side: int
    stem: str = ""
    gap: float = 0.0
    control: float = 0.0
    blocks: int = 0
    early: str = ""
    refused: str = ""
    seconds: float = 0.0


def grey_images(side: int) -> Tensor:
    """Return grey images that differ in structure and brightness, uint8, shape (n, 1, side, side)."""
    patches = torch.rand(IMAGES, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    brightness = torch.linspace(0.3, 1, IMAGES).view(-1, 1, 1, 1)
    return (255 * brightness * nn.functional.interpolate(patches, size=side)).round().to(torch.uint8)


def write_checkpoint(name: str, side: int, folder: Path) -> str:
    """Write a three-channel checkpoint of random weights and return the matrix's word for it.

    Norms get scales and shifts that are not 1 and 0, and batch norms the statistics of a batch, changed by up to a
    half: values of a network that was trained, through which an image's signal reaches the logits.
    """
    known = find_architecture(f"timm/{name}")
    network = known.published()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:
                parameter.copy_(_trained(parameter, generator))
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.momentum = 1.0
        normalise = Normaliser(known.mean, known.std, torch.device("cpu"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            network.train()(normalise(grey_images(side)))
        state = network.state_dict()
        for key, tensor in state.items():
            if key.endswith(("running_mean", "running_var")):
                tensor.mul_(0.75 + 0.5 * torch.rand(tensor.shape, generator=generator))
    path = folder / f"{name}.safetensors"
    save_file({key: tensor.clone(memory_format=torch.contiguous_format) for key, tensor in state.items()}, path)
    return f"file:{path}"


def _trained(vector: Tensor, generator: torch.Generator) -> Tensor:
    """Return biases that are not zero, and scales that are neither one nor, as layer scales begin, nearly zero."""
    noise = torch.rand(vector.shape, generator=generator)
    moved = torch.where(vector.abs() < 1e-3, 0.5 + noise, vector * (0.75 + 0.5 * noise))
    return torch.where(vector == 0, 0.2 * noise - 0.1, moved)


def logits(built: models.BuiltModel, images: Tensor) -> Tensor:
    """Return what a network in eval mode answers."""
    with torch.inference_mode():
        answer: Tensor = built.network.eval()(Normaliser(built.mean, built.std, torch.device("cpu"))(images))
    return answer


def examine(name: str, folder: Path) -> Row:
    """Take an architecture through `models.build` in the two modes that must be one function."""
    started = time.perf_counter()
    known = find_architecture(f"timm/{name}")
    side = side_of(name)
    source = write_checkpoint(name, side, folder)

    def build(mode: str) -> models.BuiltModel:
        return models.build(known.title, INPUT_MODES[mode], classes=3, source=source, seed=0, image_size=side)

    try:
        one, three = build("grey-1ch"), build("grey-3ch-shared-norm")
    except UserError as error:
        return Row(name, side, refused=str(error), seconds=time.perf_counter() - started)
    images = grey_images(side)
    (of_one, early), of_three = in_order(one, images), logits(three, images)
    spread = float(of_three.std(dim=0).max())
    assert one.stem is not None
    layer = one.network.get_submodule(one.stem)
    assert isinstance(layer, nn.Conv2d)
    with torch.no_grad():
        layer.weight.sub_(weights.load(known.title, source).state[f"{one.stem}.weight"][:, 2:])
    return Row(
        name,
        side,
        stem=one.stem,
        gap=float((of_one - of_three).abs().max()) / spread,
        control=float((logits(one, images) - of_three).abs().max()) / spread,
        blocks=len(block_starts(one.network)),
        early=early,
        seconds=time.perf_counter() - started,
    )


def in_order(built: models.BuiltModel, images: Tensor) -> tuple[Tensor, str]:
    """Return the logits, and what `Row.early` says."""
    order: list[str] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, args, names=names: order.extend(names))
        for path, module in built.network.named_modules()
        if (names := [f"{path}.{name}" for name, _ in module.named_parameters(recurse=False)]) and path
    ]
    answer = logits(built, images)
    for hook in hooks:
        hook.remove()
    frozen = early_half(built.network)
    last = max(place for place, name in enumerate(order) if name in frozen)
    return answer, next((name for name in order[:last] if name not in frozen), "")


def side_of(name: str) -> int:
    """Return the pixels a side of the images that an architecture is tried with."""
    config = timm.get_pretrained_cfg(name)
    assert config is not None
    native: int = config.input_size[-1]
    if config.fixed_input_size:
        return native
    return LARGER.get(name, max(SMALL_IMAGES, (config.min_input_size or (0,))[-1]))


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table, and the refusals under it."""
    adapted = [
        (row.name, row.side, row.stem, f"{row.gap:.0e}", f"{row.control:.1g}", row.blocks, f"{row.seconds:.1f}")
        for row in rows
        if not row.refused
    ]
    head = ("architecture", "pixels", "stem", "difference", "a channel forgotten", "blocks", "seconds")
    lines = [tabulate(adapted, head, tablefmt="github", disable_numparse=True), ""]
    lines += [f"{row.name} refused: {row.refused}" for row in rows if row.refused]
    return "\n".join(lines)


def main() -> None:
    """Examine the architectures and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", default=[*SMALL, *LARGE, *REFUSED], metavar="NAME", help="default: all")
    names = parser.parse_args().names
    with tempfile.TemporaryDirectory() as folder:
        rows = [examine(name, Path(folder)) for name in names]
    sys.stdout.write(table(rows) + "\n")


if __name__ == "__main__":
    main()
