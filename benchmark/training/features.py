"""Features of a frozen backbone, computed once for every image and its mirror image.

While only the head is trained and the backbone is in eval mode, the features of an image never change, so
that a head trained on kept features takes the same steps as one trained behind the running backbone (up to the last
bits, which depend on the batch that an image was computed in). They are kept on disk and shared by all runs whose
images, backbone, precision, thread count and library versions are equal.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import Dataset

from benchmark import environment
from benchmark.files import write_atomically
from benchmark.matrix.augmentations import Step
from benchmark.networks.heads import classifier, head_parameters
from benchmark.networks.weights import fingerprint
from benchmark.training.batches import Batch, Images, SplitImages, evaluation_batch, mirrored_positions
from benchmark.training.devices import to_device

LARGEST = 2 << 30
"""Bytes of features up to which they are kept; more are not, and the backbone runs in every step."""


class FeatureImages(Dataset[Batch]):
    """A split as features instead of images; takes the place of `SplitImages`.

    Args:
        plain: float32, shape (n, …): the features of each image.
        mirrored: of each mirror image; None for a split that is only evaluated.
        labels: int64, shape (n,).
    """

    def __init__(self, plain: Tensor, mirrored: Tensor | None, labels: Tensor) -> None:
        self._plain = plain
        self._both = None if mirrored is None else torch.stack([plain, mirrored])
        self._labels = labels
        self._chosen: Tensor | None = None

    def __len__(self) -> int:
        return len(self._plain)

    @property
    def labels(self) -> Tensor:
        """int64, shape (n,), on the device."""
        return self._labels

    @property
    def threads(self) -> int:
        """None: a batch is two look-ups."""
        return 0

    def augment(self, steps: Sequence[Step], seed: int, epoch: int) -> None:
        """Show the features of the images that `SplitImages.augment` shows; the flip is the only step there can be."""
        flips = [step["probability"] for step in steps]
        self._chosen = mirrored_positions(len(self), seed, epoch, *flips).to(self._plain.device) if flips else None

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return (features, labels) of a batch."""
        where = to_device(torch.tensor(positions), self._plain.device)
        if self._chosen is None or self._both is None:
            return self._plain[where], self._labels[where]
        return self._both[self._chosen[where].long(), where], self._labels[where]


@dataclass(frozen=True)
class Features:
    """The three splits as features, and the module that makes logits of them."""

    images: Images
    head: nn.Module


def compute_features(
    network: nn.Module,
    images: Images,
    augment: Sequence[Step],
    autocast: Callable[[], AbstractContextManager[None]],
    folder: Path | None,
    about: dict[str, object],
) -> Features | None:
    """Return the splits as features of a network's frozen backbone, or None if that cannot be done exactly.

    It cannot if anything but the classifier's own module is between its input and the logits, if the network drops
    features at random in front of it, or if the features take more than `LARGEST` bytes.

    Args:
        network: in the modes of its stage (`freezing.set_modes`), on the device.
        images: the splits.
        augment: the flip, or nothing.
        autocast: gives the context of the run's precision.
        folder: where features are kept and looked for, or None.
        about: what else decides them (dataset, splits, size, mode, precision, threads), as JSON values.
    """
    head = classifier(network)
    with torch.inference_mode(), autocast():
        batch, _ = images.validation.__getitems__(list(range(min(2, len(images.validation)))))
        in_its_stage, logits = _captured(network, head, batch)
        with _in_eval_mode(network):
            features, _ = _captured(network, head, batch)
        if not torch.equal(features, in_its_stage) or not torch.equal(head(features), logits):
            return None
    wanted = 2 * len(images.train) + len(images.validation) + len(images.test)
    if wanted * features[0].numel() * 4 > LARGEST:
        return None
    names = ("train", "mirrored", "validation", "test") if augment else ("train", "validation", "test")

    def compute() -> dict[str, Tensor]:
        return {name: _of_split(network, head, getattr(images, _split(name)), name, autocast) for name in names}

    tensors = compute() if folder is None else _shared(folder, _key(network, about, names), names, compute)
    device = images.train.labels.device
    on_device = {name: tensor.to(device) for name, tensor in tensors.items()}
    return Features(
        Images(
            train=FeatureImages(on_device["train"], on_device.get("mirrored"), images.train.labels),
            validation=FeatureImages(on_device["validation"], None, images.validation.labels),
            test=FeatureImages(on_device["test"], None, images.test.labels),
        ),
        head,
    )


@contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _split(name: str) -> str:
    return "train" if name == "mirrored" else name


def _captured(network: nn.Module, head: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return what enters the head and what leaves the network for a batch."""
    inputs: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    try:
        logits = network(batch)
    finally:
        handle.remove()
    if len(inputs) != 1:
        raise RuntimeError(f"the classifier ran {len(inputs)} times in one pass")
    return inputs[0], logits


def _of_split(
    network: nn.Module,
    head: nn.Module,
    images: SplitImages,
    name: str,
    autocast: Callable[[], AbstractContextManager[None]],
) -> Tensor:
    """Return the features of every image of a split, float32, on the CPU, in batches of a fixed size."""
    computed = []
    size = evaluation_batch(images.labels.device)
    with torch.inference_mode(), autocast(), _in_eval_mode(network):
        for first in range(0, len(images), size):
            positions = list(range(first, min(first + size, len(images))))
            batch = images.plain(positions, mirrored=name == "mirrored")
            computed.append(_captured(network, head, batch)[0].float().cpu())
    return torch.cat(computed).clone()


def _key(network: nn.Module, about: dict[str, object], names: Sequence[str]) -> str:
    of_the_head = set(head_parameters(network))
    backbone = {name: tensor for name, tensor in network.state_dict().items() if name not in of_the_head}
    decisive = {
        **about,
        "backbone": fingerprint(backbone),
        "architecture": hashlib.sha256(str(network).encode()).hexdigest(),
        "splits": names,
        "packages": environment.package_versions(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "batch": evaluation_batch(next(network.parameters()).device),
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def _checksum(tensors: dict[str, Tensor]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().numpy().tobytes(), value)
    return f"{value:08x}"


def _shared(
    folder: Path, key: str, names: Sequence[str], compute: Callable[[], dict[str, Tensor]]
) -> dict[str, Tensor]:
    """Return kept features, or compute and keep them; of several processes one computes and the others wait."""
    path = folder / f"{key}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{key}.lock"):
        kept = _kept(path, names)
        if kept is None:
            kept = compute()
            write_atomically(path, save(kept, metadata={"crc32": _checksum(kept)}))
        return kept


def _kept(path: Path, names: Sequence[str]) -> dict[str, Tensor] | None:
    """Return the features in a file, or None if it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in names}
            promised = (file.metadata() or {}).get("crc32")
    except (SafetensorError, OSError):
        return None
    return tensors if _checksum(tensors) == promised else None
