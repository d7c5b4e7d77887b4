"""Cells whose training is the same by construction: one experiment, shown once and no evidence against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmark.inputs import INPUT_MODES, Triple, identical_by_construction
from benchmark.matrix import RunSpec
from benchmark.records import DoneRun

CellKey = tuple[str, str, str, str]


def identical_cells(
    cells: Mapping[CellKey, Sequence[RunSpec]], records: Mapping[str, DoneRun]
) -> dict[CellKey, CellKey]:
    """Return, for each cell that repeats another one, the first cell that it repeats.

    Which do hangs on the mean and std of the model's weights (`benchmark.inputs.identical_by_construction`): they are
    read from the model's records, so nothing is known to be identical before any run is done.

    Args:
        cells: the runs of each cell, in the matrix's order.
        records: done records by run id.
    """
    normalisation: dict[str, tuple[Triple, Triple]] = {}
    for record in records.values():
        if (triples := _triples(record)) is not None:
            normalisation.setdefault(record.spec.model, triples)
    repeated: dict[CellKey, CellKey] = {}
    alike: dict[tuple[str, str, str], list[CellKey]] = {}
    for dataset, mode, policy, model in cells:
        alike.setdefault((dataset, policy, model), []).append((dataset, mode, policy, model))
    for (dataset, policy, model), keys in alike.items():
        if model not in normalisation:
            continue
        trained = any(stage.trainable == "all" for stage in cells[keys[0]][0].stages)
        modes = [key[1] for key in keys]
        for group in identical_by_construction(modes, *normalisation[model], stem_is_trained=trained):
            first, *others = ((dataset, mode, policy, model) for mode in group)
            repeated.update((other, first) for other in others)
    return repeated


def _triples(record: DoneRun) -> tuple[Triple, Triple] | None:
    """Return the three means and stds of the pretrained weights, or None if the record does not hold them."""
    model, mode = record.model, INPUT_MODES[record.spec.input_mode]
    if model.pretrained_mean is not None and model.pretrained_std is not None:
        return model.pretrained_mean, model.pretrained_std
    if mode.channels == len(model.mean) == 3 and not mode.shared:
        return model.mean, model.std
    return None
