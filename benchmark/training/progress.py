"""State of a run: history, best weights and times, as plain data for a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmark.matrix.settings import FEWEST_FOR_ACCURACY, ChooseBy
from benchmark.records.record import EpochRecord, StageRecord

CONTENDED_SHARE = 0.05
"""Smallest share of wall time spent stopped or waiting for a processor that counts as contended."""


class Stopwatch:
    """A timer of successive intervals of work in one thread.

    In addition to wall time, it reads the time this thread waited for a processor and the processor time of the
    process. Only the latter reveals that the process was stopped (Ctrl-Z, a suspended job, a paused container). It is
    the sum over all threads, so with several threads only a long stop shows. On a GPU it is meaningless.
    """

    def __init__(self) -> None:
        self._total = (0.0, 0.0, 0.0)
        self._begun = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin an interval of work."""
        self._begun = _clocks()

    def stop(self) -> float:
        """End the interval of work and return its seconds."""
        wall, processor, waited = (now - begun for now, begun in zip(_clocks(), self._begun, strict=True))
        self._total = (self._total[0] + wall, self._total[1] + processor, self._total[2] + waited)
        return wall

    def contended(self, on_cpu: bool) -> bool | None:
        """Return whether the work so far was contended, or None if waiting cannot be measured (not on Linux).

        Args:
            on_cpu: whether the work computes on the processor rather than waiting for a GPU.
        """
        wall, processor, waited = self._total
        allowed = CONTENDED_SHARE * wall
        if on_cpu and wall - processor > allowed:
            return True
        return None if math.isnan(waited) else waited > allowed


def _clocks() -> tuple[float, float, float]:
    """Return wall time, processor time of the process, and time this thread waited for a processor, in seconds.

    The last is the second field of ``/proc/thread-self/schedstat`` (Linux, Documentation/scheduler/sched-stats,
    nanoseconds); NaN on other systems.
    """
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = math.nan
    return time.perf_counter(), time.process_time(), waited


def choice_key(record: EpochRecord, choose_by: ChooseBy, images: int) -> tuple[float, float]:
    """Return the key by which epochs are compared; the highest is chosen, and the earliest of equal ones.

    ``accuracy``: accuracy, then the lower loss; with fewer than `FEWEST_FOR_ACCURACY` images, the loss first.
    ``loss``: the lower loss, then accuracy. ``roc_auc``: the area, then the lower loss; if all images are of one class,
    no epoch has an area.

    Args:
        record: scores on the validation split.
        choose_by: ``training.choose_by`` of the matrix.
        images: number of validation images.
    """
    if choose_by == "roc_auc":
        return record.val_roc_auc or 0.0, -record.val_loss
    if choose_by == "loss" or images < FEWEST_FOR_ACCURACY:
        return -record.val_loss, record.val_accuracy
    return record.val_accuracy, -record.val_loss


@dataclass
class Best:
    """The best weights of the last stage so far, including its starting point.

    Attributes:
        epoch: number of epochs trained, over all stages.
        key: key of the comparison, see `choice_key`.
        state: tensors of the network, on the device.
    """

    epoch: int
    key: tuple[float, float]
    state: dict[str, Tensor]


@dataclass
class RunState:
    """State of a run over all stages and interruptions. Times are wall-clock seconds.

    Attributes:
        history: epoch 0, before training, and the trained epochs.
        stages: one record per finished stage.
        images_trained: number of images in training steps.
        images_evaluated: number of images in evaluations.
        whole_network_images: part of ``images_trained`` that went through the whole network, not only the head.
        train_seconds: time of all training steps.
        whole_network_seconds: part of ``train_seconds`` for ``whole_network_images``.
        eval_seconds: time of evaluations.
        feature_seconds: time to compute or read the features of a frozen backbone.
        seconds_before: duration of the run before its last interruption.
        resumed_after: epochs after which the run was resumed from a checkpoint.
        stopwatch: timer of training steps and evaluations since the last interruption; not saved.
    """

    history: list[EpochRecord] = field(default_factory=list)
    stages: list[StageRecord] = field(default_factory=list)
    images_trained: int = 0
    images_evaluated: int = 0
    whole_network_images: int = 0
    train_seconds: float = 0.0
    whole_network_seconds: float = 0.0
    eval_seconds: float = 0.0
    feature_seconds: float = 0.0
    seconds_before: float = 0.0
    resumed_after: list[int] = field(default_factory=list)
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    _started: float = field(default_factory=time.perf_counter)

    @property
    def epochs(self) -> int:
        """Epochs trained so far, over all stages."""
        return self.history[-1].epoch if self.history else 0

    def seconds(self) -> float:
        """Return the duration of the run so far in seconds, including the time before interruptions."""
        return self.seconds_before + time.perf_counter() - self._started

    def as_data(self) -> dict[str, Any]:
        """Return the state as plain data for `from_data`."""
        others = ("history", "stages", "stopwatch", "_started")
        plain = {name: value for name, value in vars(self).items() if name not in others}
        return {
            **plain,
            "seconds_before": self.seconds(),
            "history": [epoch.model_dump() for epoch in self.history],
            "stages": [stage.model_dump() for stage in self.stages],
        }

    @staticmethod
    def from_data(data: Mapping[str, Any]) -> RunState:
        """Return the state that `as_data` returned, and note the interruption."""
        state = RunState(
            **{
                **data,
                "history": [EpochRecord.model_validate(epoch) for epoch in data["history"]],
                "stages": [StageRecord.model_validate(stage) for stage in data["stages"]],
            }
        )
        state.resumed_after.append(state.epochs)
        return state
