"""State of a run: its history, its best weights and its times, as plain data for a checkpoint."""

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
"""Share of its wall time that work waits for a processor, or does not run, from which it counts as contended."""


class Stopwatch:
    """A timer of one stretch of work after another, all in one thread.

    Two clocks in addition to the wall's: the time in which this thread was ready to run and had no processor, and the
    processor time of the process. Only the second notices a process that was stopped (Ctrl-Z, a suspended job, a paused
    container). It is the sum over all threads, so that with several of them only a long stop shows; on a GPU it says
    nothing.
    """

    def __init__(self) -> None:
        self._total = (0.0, 0.0, 0.0)
        self._begun = (0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begin a stretch of work."""
        self._begun = _clocks()

    def stop(self) -> float:
        """End the stretch of work and return its seconds."""
        wall, processor, waited = (now - begun for now, begun in zip(_clocks(), self._begun, strict=True))
        self._total = (self._total[0] + wall, self._total[1] + processor, self._total[2] + waited)
        return wall

    def contended(self, on_cpu: bool) -> bool | None:
        """Return whether the work so far was contended, or None if waiting cannot be measured (not on Linux).

        Args:
            on_cpu: whether the work computes on the processor all the time, rather than waiting for a GPU.
        """
        wall, processor, waited = self._total
        allowed = CONTENDED_SHARE * wall
        if on_cpu and wall - processor > allowed:
            return True
        return None if math.isnan(waited) else waited > allowed


def _clocks() -> tuple[float, float, float]:
    """Return seconds of wall time, of processor time of the process, and of this thread's waiting for a processor.

    The last is the second field of ``/proc/thread-self/schedstat``, nanoseconds (Linux,
    Documentation/scheduler/sched-stats); NaN elsewhere.
    """
    try:
        waited = int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        waited = math.nan
    return time.perf_counter(), time.process_time(), waited


def choice_key(record: EpochRecord, choose_by: ChooseBy, images: int) -> tuple[float, float]:
    """Return what is compared to choose an epoch: the higher is better, and of equal ones the earlier is taken.

    ``accuracy``: the accuracy, then the lower loss; on fewer than `FEWEST_FOR_ACCURACY` images the loss first.
    ``loss``: the lower loss, then the accuracy. ``roc_auc``: the area, then the lower loss; if all images are of one
    class, no epoch has an area.

    Args:
        record: scores on validation.
        choose_by: the matrix's ``training.choose_by``.
        images: number of validation images.
    """
    if choose_by == "roc_auc":
        return record.val_roc_auc or 0.0, -record.val_loss
    if choose_by == "loss" or images < FEWEST_FOR_ACCURACY:
        return -record.val_loss, record.val_accuracy
    return record.val_accuracy, -record.val_loss


@dataclass
class Best:
    """The best weights so far of the last stage, of its starting point among them.

    Attributes:
        epoch: epochs trained when they were reached, over all stages.
        key: what is compared, see `choice_key`.
        state: the network's tensors, on the device.
    """

    epoch: int
    key: tuple[float, float]
    state: dict[str, Tensor]


@dataclass
class RunState:
    """State of a run over all of its stages and interruptions. Times are seconds of wall clock.

    Attributes:
        history: epoch 0, before any training, and the trained epochs.
        stages: one record per finished stage.
        images_trained: images through training steps.
        images_evaluated: images through evaluations.
        whole_network_images: those of ``images_trained`` that went through the whole network and not the head alone.
        train_seconds: training steps of all epochs.
        whole_network_seconds: those of ``train_seconds`` that ``whole_network_images`` took.
        eval_seconds: evaluations.
        feature_seconds: computing, or reading, the features of a frozen backbone.
        seconds_before: seconds that the run had taken when it was last interrupted.
        resumed_after: epochs after which it was resumed from a checkpoint.
        stopwatch: of training steps and evaluations since the last interruption; not kept.
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
        """Return the seconds of the run so far, those before interruptions included."""
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
        """Return the state that `as_data` wrote, with the interruption noted."""
        state = RunState(
            **{
                **data,
                "history": [EpochRecord.model_validate(epoch) for epoch in data["history"]],
                "stages": [StageRecord.model_validate(stage) for stage in data["stages"]],
            }
        )
        state.resumed_after.append(state.epochs)
        return state
