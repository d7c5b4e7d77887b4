"""Training of a run's network through the stages of its policy."""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.matrix.policies import Stage
from benchmark.matrix.run_spec import RunSpec
from benchmark.networks.freezing import set_modes, set_trainable
from benchmark.networks.heads import classifier
from benchmark.training.batches import Images
from benchmark.training.features import compute_features
from benchmark.training.isolation import reset_accelerate
from benchmark.training.progress import Best, RunState
from benchmark.training.recalibration import recalibrate
from benchmark.training.trainer import StageTrainer, Support, make_accelerator


@dataclass(frozen=True)
class TrainedNetwork:
    """Result of all stages; the network has the best weights.

    Attributes:
        run_state: history, stages and times.
        best: best weights of the last stage.
        validation_logits: logits with the best weights: float32, shape (n, classes), on the CPU.
        test_logits: likewise; empty in a tuning run.
        last_state: tensors of the network after the last epoch.
        last_test_logits: test logits with these tensors.
    """

    run_state: RunState
    best: Best
    validation_logits: Tensor
    test_logits: Tensor
    last_state: dict[str, Tensor]
    last_test_logits: Tensor


def train(
    network: nn.Module, spec: RunSpec, images: Images, precision: str, support: Support | None = None
) -> TrainedNetwork:
    """Train a network through the stages of its policy, in place, resuming from the last checkpoint if there is one.

    Args:
        network: on the images' device, channels-last.
        spec: definition of the run.
        images: the splits.
        precision: ``fp32``, ``fp16`` or ``bf16``.
        support: see `Support`.

    Raises:
        Diverged: a loss is not finite.
    """
    reset_accelerate()
    support = support or Support()
    resumed = support.checkpoints.load() if support.checkpoints else None
    state = RunState.from_data(resumed["progress"]) if resumed else RunState()
    if resumed:
        network.load_state_dict(resumed["network"], strict=True)
    elif spec.recalibrate:
        recalibrate(network, images.train, spec, make_accelerator(precision))
    trainer: StageTrainer | None = None
    try:
        for stage in spec.stages[len(state.stages) :]:
            set_trainable(network, stage.trainable)
            features = _as_features(network, stage, spec, images, precision, support, state)
            # A module around the head, because accelerate changes the forward method of the module it trains.
            trained = network if features is None else nn.Sequential(classifier(network))
            shown = features or images
            trainer = StageTrainer(network, trained, stage, spec, shown, state, precision, support, resumed)
            trainer.run()
            resumed = None
    finally:
        if support.checkpoints:
            support.checkpoints.close()
    if trainer is None or trainer.best is None:
        raise RuntimeError("a policy has at least one stage of at least one epoch")
    last_state, last_test_logits = deepcopy(network.state_dict()), trainer.evaluate_split("test")
    network.load_state_dict(trainer.best.state, strict=True)
    validation_logits, test_logits = trainer.evaluate_split("validation"), trainer.evaluate_split("test")
    network.eval()
    return TrainedNetwork(state, trainer.best, validation_logits, test_logits, last_state, last_test_logits)


def _as_features(
    network: nn.Module,
    stage: Stage,
    spec: RunSpec,
    images: Images,
    precision: str,
    support: Support,
    state: RunState,
) -> Images | None:
    """Return the splits as features of the frozen backbone, or None if the stage needs the images."""
    if not stage.keeps_features(spec.augment):
        return None
    started = time.perf_counter()
    reset_accelerate()
    set_modes(network, stage.trainable, stage.batch_norm)
    about = {**support.about_images, "precision": precision, "threads": spec.threads}
    shared = support.features if not state.stages else None
    autocast = make_accelerator(precision).autocast
    found = compute_features(network, images, spec.augment, autocast, shared, about)
    state.feature_seconds += time.perf_counter() - started
    return found
