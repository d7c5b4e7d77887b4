"""Time saved by cached features: frozen stages of five seeds of `finetune` on beans, with them and with the backbone.

``python -m experiments.studies.shared_features --data-dir DIR`` trains stage 1 of each seed both ways, one after the
other, in one process and with no features cached beforehand, and compares the heads that come out. Seconds are those of
a frozen stage as a record has them: features, training steps, evaluation.
"""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import patch

import torch

from benchmark.matrix.expand import expand
from benchmark.matrix.file import find, load
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks import build
from benchmark.networks.heads import head_parameters
from benchmark.training.batches import Images, Normaliser, SplitImages
from benchmark.training.stages import TrainedNetwork, train
from benchmark.training.trainer import Support
from tests.performance import common

SEEDS = 5


def frozen_stages() -> list[RunSpec]:
    """Return the first stage of `finetune` in the cpu matrix, on beans, by seed."""
    chosen = ["datasets=[beans]", "input_modes=[grey-1ch]", "policies=[finetune]", f"seeds={list(range(SEEDS))}"]
    return [run.model_copy(update={"stages": run.stages[:1]}) for run in expand(load(find("cpu"), chosen))]


def trained(spec: RunSpec, data_dir: Path, folder: Path | None) -> tuple[TrainedNetwork, torch.Tensor]:
    """Return a trained frozen stage and its head's last weights; without a folder the backbone runs in every step."""
    mode, device = INPUT_MODES[spec.input_mode], torch.device("cpu")
    data = common.opened(spec, data_dir)
    built = build.build(spec.model, mode, classes=len(data.classes), source=spec.weights, seed=spec.seed)
    built.network.to(memory_format=torch.channels_last)
    normaliser = Normaliser(built.mean, built.std, device)
    splits = (SplitImages(data.images, split, normaliser, device) for split in (data.train, data.validation, data.test))
    running = patch.object(Stage, "keeps_features", lambda stage, augment: False) if folder is None else nullcontext()
    with running:
        result = train(built.network, spec, Images(*splits), "fp32", Support(features=folder))
    (stage,) = result.run_state.stages
    if stage.cached_features is (folder is None):
        raise RuntimeError("the stage was not trained in the way that is measured")
    return result, torch.cat([result.last_state[name].flatten() for name in head_parameters(built.network)])


def seconds(result: TrainedNetwork) -> float:
    """Return what the stage took: features, training steps and evaluation."""
    return result.run_state.feature_seconds + result.run_state.train_seconds + result.run_state.eval_seconds


def main() -> None:
    """Measure and print."""
    data_dir = common.parser(__doc__).parse_args().data_dir
    torch.set_num_threads(1)
    rows: list[dict[str, float]] = []
    apart, equal = 0.0, True
    with tempfile.TemporaryDirectory() as name:
        for spec in frozen_stages():
            running, head = trained(spec, data_dir, None)
            kept, same = trained(spec, data_dir, Path(name))
            apart = max(apart, float((head - same).abs().max()))
            accuracies = [[epoch.val_accuracy for epoch in way.run_state.history] for way in (running, kept)]
            equal &= accuracies[0] == accuracies[1]
            rows.append(
                {
                    "ratio": seconds(running) / seconds(kept),
                    "seed": spec.seed,
                    "backbone, s": seconds(running),
                    "cached features, s": seconds(kept),
                    "validation accuracy": accuracies[0][-1],
                    "validation accuracy, kept": accuracies[1][-1],
                }
            )
    with_backbone, with_features = (
        sum(float(row[way]) for row in rows) for way in ("backbone, s", "cached features, s")
    )
    common.conclude(
        f"{SEEDS} frozen stages with the backbone over those with cached features",
        with_backbone / with_features,
        "none",
        rows,
        seconds_with_backbone=round(with_backbone, 2),
        seconds_with_kept_features=round(with_features, 2),
        largest_difference_of_a_head_weight=apart,
        same_validation_accuracy_in_every_epoch=equal,
    )


if __name__ == "__main__":
    main()
