"""Images per second of a run and of the bare loop over the same batches, on a run's device. A child process.

Both have the same network with random weights, generated images, precision and deterministic kernels; the run flips
images and writes checkpoints, too. One short round of each comes first and does not count: kernels are loaded and
memory is allocated. Then they take turns.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from benchmark.data.dataset import PreparedDataset
from benchmark.matrix.run_spec import RunSpec
from benchmark.training.batches import EVALUATION_BATCHES, Batch, Normaliser
from benchmark.training.context import RunContext
from benchmark.training.devices import choose_device, resolve_precision
from benchmark.training.run import build_network, train_and_score
from tests import factories
from tests.performance import bare_loop

EPOCHS = 2
"""Of training; the bare loop evaluates as many times."""


def harness(run: RunSpec, data: PreparedDataset) -> tuple[float, float]:
    """Execute a run; return its images per second in training and in evaluation."""
    with tempfile.TemporaryDirectory() as folder:
        context = RunContext(None, Path(folder) / "weights", checkpoints=Path(folder) / "checkpoints")
        timing = train_and_score(run, context, lambda: data).record.timing
    assert timing is not None
    return timing.train_images_per_second, timing.eval_images_per_second


def bare(run: RunSpec, data: PreparedDataset) -> tuple[float, float]:
    """Train and evaluate by the bare loop; return its images per second likewise."""
    device = choose_device()
    precision = resolve_precision(run.precision, device)
    built = build_network(run, data.classes)
    network = built.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads leave memory_format out
    normalise = Normaliser(built.mean, built.std, device)
    stored = torch.from_numpy(data.images[data.train.rows]).permute(0, 3, 1, 2).to(device)
    labels = torch.from_numpy(data.train.labels).to(device)

    def batches(size: int) -> list[Batch]:
        return [(normalise(x), y) for x, y in zip(stored.split(size), labels.split(size), strict=True)]

    def rate(loop: Callable[..., None], of_images: list[Batch]) -> float:
        wait(device)
        began = time.perf_counter()
        loop(network, of_images, EPOCHS, precision)
        wait(device)
        return EPOCHS * len(labels) / (time.perf_counter() - began)

    training = rate(bare_loop.train, batches(run.batch_size))
    return training, rate(bare_loop.evaluate, batches(EVALUATION_BATCHES[device.type]))


def wait(device: torch.device) -> None:
    """Wait until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--images", type=int, required=True, help="a multiple of both batch sizes")
    parser.add_argument("--rounds", type=int, required=True)
    options = parser.parse_args()
    training = {"image_size": options.size, "batch_size": 32, "epochs": EPOCHS, "early_stopping": None}
    run = factories.spec(models=[options.model], training=training)
    generated = factories.dataset(options.images, 0, options.size, channels=3)
    data = replace(generated, validation=generated.train, test=generated.train)
    few = factories.dataset(64, EVALUATION_BATCHES["cuda"], options.size, channels=3)
    harness(run, few)
    bare(run, few)
    rates = [(*harness(run, data), *bare(run, data)) for _ in range(options.rounds)]
    device = choose_device()
    found = dict(zip(("train", "evaluate", "bare_train", "bare_evaluate"), zip(*rates, strict=True), strict=True))
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    print(json.dumps({"device": name, "precision": resolve_precision(run.precision, device), **found}))


if __name__ == "__main__":
    main()
