"""Runs whose worker on a Ray cluster is gone: recorded, or started again where it was their node that was lost.

The node is asked for the worker's last lines. One that answers has lost the worker alone; one that does not within a
time is taken for lost itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.executors.events import Event, Started, Warned
from benchmark.executors.ray_worker import About
from benchmark.executors.worker_log import clear_up
from benchmark.matrix import RunSpec
from benchmark.records import RunRecord, Status
from benchmark.run_context import Outcome, now

SILENCE = 10.0
"""Seconds after which a node that has broken a connection and does not answer is taken for lost; Ray itself notices
after about twenty."""

PATIENCE = 60.0
"""Seconds that a node has to answer which has told the end of a worker: it was alive then, and may be busy."""

NODES_LOST = 3
"""How many nodes a run may lose under it before it is recorded as killed."""


@dataclass(eq=False)
class _Lost:
    """A run whose worker is gone, while its node is asked for the worker's last lines."""

    spec: RunSpec
    record: RunRecord
    """What is recorded where the node answers."""
    lines: Any
    until: float
    node_may_be_lost: bool


def on_node(node: str) -> Any:
    """Return how Ray is asked for a place on one node, and on no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


class LostRuns:
    """The lost runs of one command.

    Args:
        ray: the module.
        on_event: told of runs that start again.

    Attributes:
        again: runs to start again.
    """

    def __init__(self, ray: Any, on_event: Callable[[Event], None]) -> None:
        self._ray = ray
        self._on_event = on_event
        self._lost: list[_Lost] = []
        self._losses: dict[str, int] = {}
        self.again: list[RunSpec] = []

    @property
    def awaited(self) -> list[Any]:
        """References of the nodes' answers that have not been taken in."""
        return [lost.lines for lost in self._lost]

    @property
    def nodes(self) -> bool:
        """Whether any node was lost under a run."""
        return bool(self._losses)

    def clear_up(self, node: str, folder: Path) -> Any:
        """Delete what a worker keeps on its node; return the reference of its last lines."""
        task = self._ray.remote(clear_up).options(num_cpus=0, max_retries=0, scheduling_strategy=on_node(node))
        return task.remote(folder)

    def worker_ended(self, spec: RunSpec, about: About, started: Started | None, status: Status, reason: str) -> None:
        """Take a run whose worker was ended: it is recorded, whatever its node answers."""
        self._ask(spec, about, started, status, reason, SILENCE, node_may_be_lost=False)

    def worker_died(self, spec: RunSpec, about: About, started: Started | None, *, told_by_its_node: bool) -> None:
        """Take a run whose worker died, alone or with its node."""
        patience = PATIENCE if told_by_its_node else SILENCE
        reason = f"its worker on {about.host} was killed"
        self._ask(spec, about, started, "killed", reason, patience, node_may_be_lost=True)

    def _ask(
        self,
        spec: RunSpec,
        about: About,
        started: Started | None,
        status: Status,
        reason: str,
        patience: float,
        *,
        node_may_be_lost: bool,
    ) -> None:
        began = started.at if started else now()
        record = RunRecord(id=spec.id, status=status, reason=reason, spec=spec, started_at=began, finished_at=now())
        lines = self.clear_up(about.node, about.folder)
        self._lost.append(_Lost(spec, record, lines, time.monotonic() + patience, node_may_be_lost))

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes of those of which is known what was lost; put the others into `again`."""
        from ray.exceptions import RayError

        found = []
        for lost in list(self._lost):
            lines: tuple[str, ...] | None = None
            if self._ray.wait([lost.lines], timeout=0)[0]:
                with suppress(RayError):
                    lines = self._ray.get(lost.lines)
            elif time.monotonic() < lost.until:
                continue
            self._lost.remove(lost)
            record = lost.record
            if lines is None and lost.node_may_be_lost:
                number = self._losses[lost.spec.id] = self._losses.get(lost.spec.id, 0) + 1
                if number < NODES_LOST:
                    self._on_event(Warned(lost.spec.id, f"{lost.spec}: its node was lost; it starts again on another"))
                    self.again.append(lost.spec)
                    continue
                record = record.model_copy(update={"reason": f"{number} times its node was lost"})
            found.append(Outcome(record.model_copy(update={"log": lines or ()})))
        return found
