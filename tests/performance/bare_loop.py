"""The floor: a bare PyTorch loop over batches that lie in memory, normalised and channels-last. A child process."""

from __future__ import annotations

import torch
from torch import nn

from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks import build
from benchmark.training.batches import EVALUATION_BATCHES, Batch, Normaliser
from benchmark.training.devices import Precision
from tests.performance import common


def main() -> None:
    """Train or evaluate."""
    parser = common.parser(__doc__, mode="grey-3ch")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--what", choices=("train", "evaluate"), default="train")
    options = parser.parse_args()
    torch.set_num_threads(1)
    spec = common.spec(options.mode, options.epochs)
    mode = INPUT_MODES[spec.input_mode]
    data = common.opened(spec, options.data_dir)
    built = build.build(spec.model, mode, classes=len(data.classes), source=spec.weights, seed=0)
    network = built.network.to(memory_format=torch.channels_last)
    normalise = Normaliser(built.mean, built.std, torch.device("cpu"))
    stored = torch.from_numpy(data.images[data.train.rows]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(data.train.labels)
    size = spec.batch_size if options.what == "train" else EVALUATION_BATCHES["cpu"]
    batches = [(normalise(x), y) for x, y in zip(stored.split(size), labels.split(size), strict=True)]
    if options.what == "train":
        train(network, batches, options.epochs)
    else:
        evaluate(network, batches, options.epochs)


def train(network: nn.Module, batches: list[Batch], epochs: int, precision: Precision = "fp32") -> None:
    """Take AdamW's steps over the batches, so many times."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    scaler = torch.amp.GradScaler(enabled=precision == "fp16")
    network.train()
    for _ in range(epochs):
        for images, labels in batches:
            with autocast(images.device, precision):
                loss = nn.functional.cross_entropy(network(images), labels)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()


def evaluate(network: nn.Module, batches: list[Batch], times: int, precision: Precision = "fp32") -> None:
    """Compute the logits of the batches, so many times."""
    network.eval()
    with torch.inference_mode(), autocast(batches[0][0].device, precision):
        for _ in range(times):
            torch.cat([network(images) for images, _ in batches])


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which a forward pass has a precision."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


if __name__ == "__main__":
    main()
