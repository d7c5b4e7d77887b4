"""Features of a frozen backbone, computed once for every image and its mirror image.

While only the head is trained and the backbone is in eval mode, the features of an image do not change. A head trained
on cached features therefore takes the same steps as one trained on the running backbone, up to the last bits, which
depend on the batch in which an image was computed. Features are cached on disk and shared by all runs with the same
images, backbone, precision, thread count and library versions, and by all folds of a cross-validation.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from benchmark import environment
from benchmark.files import write_atomically
from benchmark.matrix.augmentations import Step
from benchmark.networks.heads import classifier, head_parameters
from benchmark.networks.weights import fingerprint
from benchmark.training.batches import EVALUATION_BATCHES, Batch, Images, Source, SplitImages
from benchmark.training.devices import to_device

Autocast = Callable[[], AbstractContextManager[None]]

LARGEST = 2 << 30
"""Maximum size of cached features, bytes. Above it, the backbone runs in every step."""


class FeatureImages(Source):
    """A split as features instead of images. Its only possible augmentation is the flip.

    Args:
        plain: features of each image: float32, shape (n, …).
        mirrored: features of each mirror image, or None for a split that is only evaluated.
        labels: int64, shape (n,).
    """

    def __init__(self, plain: Tensor, mirrored: Tensor | None, labels: Tensor) -> None:
        super().__init__(labels)
        self._plain = plain
        self._both = None if mirrored is None else torch.stack([plain, mirrored])

    def __getitems__(self, positions: list[int]) -> Batch:
        """Return (features, labels) of a batch."""
        where = to_device(torch.tensor(positions), self._plain.device)
        if self._mirrored is None or self._both is None:
            return self._plain[where], self.labels[where]
        return self._both[self._mirrored[where].long(), where], self.labels[where]


def compute_features(
    network: nn.Module,
    images: Images,
    augment: Sequence[Step],
    autocast: Autocast,
    folder: Path | None,
    about: dict[str, object],
) -> Images | None:
    """Return the splits as features of a network's frozen backbone, or None if that is not exact.

    It is not exact if there is another operation between the features and the logits than the classifier, or random
    dropout of features before it. Features of more than `LARGEST` bytes are not computed either.

    Args:
        network: in the train and eval modes of its stage (`freezing.set_modes`), on the device.
        images: the splits.
        augment: the flip, or nothing.
        autocast: returns the context of the run's precision.
        folder: folder of cached features, or None.
        about: everything else that decides them (dataset, splits, size, mode, precision, threads), as JSON values.
    """
    head = classifier(network)
    with torch.inference_mode(), autocast():
        batch, _ = images.validation.__getitems__(list(range(min(2, len(images.validation)))))
        in_its_stage, logits = _capture(network, head, batch)
        with _in_eval_mode(network):
            features, _ = _capture(network, head, batch)
        if not torch.equal(features, in_its_stage) or not torch.equal(head(features), logits):
            return None
    splits = {"train": images.train, "validation": images.validation}
    if images.test is not None:
        splits["test"] = images.test
    parts: dict[str, Source] = dict(splits)
    where: dict[str, tuple[str, slice | NDArray[np.int64]]] = {name: (name, slice(None)) for name in splits}
    if images.is_fold and images.test is not None:
        every, positions = SplitImages.joined([split for split in splits.values() if isinstance(split, SplitImages)])
        parts, where = {"all": every}, {name: ("all", own) for name, own in zip(splits, positions, strict=True)}
        about = {**about, "rows": hashlib.sha256(every.rows.tobytes()).hexdigest()}
    if augment:
        parts["mirrored"] = parts[where["train"][0]]
    if sum(map(len, parts.values())) * features[0].numel() * 4 > LARGEST:
        return None

    def compute() -> dict[str, Tensor]:
        return {name: _of_split(network, head, part, name == "mirrored", autocast) for name, part in parts.items()}

    names = tuple(parts)
    tensors = (
        compute() if folder is None else _load_or_compute(folder / _file_name(network, about, names), names, compute)
    )
    device = images.train.labels.device

    def of(split: str, part: str | None = None) -> Tensor:
        name, own = where[split]
        return tensors[part or name][own].to(device)

    return Images(
        train=FeatureImages(of("train"), of("train", "mirrored") if augment else None, images.train.labels),
        validation=FeatureImages(of("validation"), None, images.validation.labels),
        test=None if images.test is None else FeatureImages(of("test"), None, images.test.labels),
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


def _capture(network: nn.Module, head: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return the head's input and the network's output for a batch."""
    inputs: list[Tensor] = []
    handle = head.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    try:
        logits = network(batch)
    finally:
        handle.remove()
    if len(inputs) != 1:
        raise RuntimeError(f"the classifier ran {len(inputs)} times in one pass")
    return inputs[0], logits


def _of_split(network: nn.Module, head: nn.Module, images: Source, mirrored: bool, autocast: Autocast) -> Tensor:
    """Return the features of every image of a split, computed in batches of fixed size: float32, on the CPU."""
    assert isinstance(images, SplitImages)
    computed = []
    positions = torch.split(torch.arange(len(images)), EVALUATION_BATCHES[images.labels.device.type])
    with torch.inference_mode(), autocast(), _in_eval_mode(network):
        for part in positions:
            batch = images.plain(part.tolist(), mirrored=mirrored)
            computed.append(_capture(network, head, batch)[0].float().cpu())
    return torch.cat(computed).clone()


def _file_name(network: nn.Module, about: dict[str, object], names: Sequence[str]) -> str:
    of_the_head = set(head_parameters(network))
    backbone = {name: tensor for name, tensor in network.state_dict().items() if name not in of_the_head}
    decisive = {
        **about,
        "backbone": fingerprint(backbone),
        "architecture": hashlib.sha256(str(network).encode()).hexdigest(),
        "splits": names,
        "packages": environment.package_versions(),
        "processor": torch.backends.cpu.get_cpu_capability(),
        "batch": EVALUATION_BATCHES[next(network.parameters()).device.type],
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32] + ".safetensors"


def _checksum(tensors: dict[str, Tensor]) -> str:
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(tensors[name].contiguous().numpy().tobytes(), value)
    return f"{value:08x}"


def _load_or_compute(path: Path, names: Sequence[str], compute: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return cached features, or compute and cache them; one process computes while others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        kept = _load_features(path, names)
        if kept is None:
            kept = compute()
            write_atomically(path, save(kept, metadata={"crc32": _checksum(kept)}))
        return kept


def _load_features(path: Path, names: Sequence[str]) -> dict[str, Tensor] | None:
    """Return the features in a file, or None if it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in names}
            expected = (file.metadata() or {}).get("crc32")
    except (SafetensorError, OSError):
        return None
    return tensors if _checksum(tensors) == expected else None
