"""Expansion of a matrix into runs."""

from __future__ import annotations

from benchmark.matrix.input_modes import DEFAULT_MAP, INPUT_MODES
from benchmark.matrix.matrix import Matrix, list_cells
from benchmark.matrix.policies import resolve_stages
from benchmark.matrix.run_spec import RunSpec


def expand(matrix: Matrix) -> list[RunSpec]:
    """Return the runs of a matrix: model x image size x dataset x input mode x policy x seed, in this order.

    Combinations that do not make sense (`benchmark.matrix.matrix.list_not_applicable`) and those in ``exclude`` are
    left out.

    Args:
        matrix: a matrix with one learning rate; for several see `benchmark.matrix.tuning`.
    """
    training = matrix.training
    stages = {name: resolve_stages(name, matrix.policy(name), training) for name in matrix.policies}
    return [
        RunSpec(
            dataset=entry.title,
            source=source,
            input_mode=cell.input_mode,
            policy=cell.policy,
            seed=seed,
            model=cell.model,
            weights=matrix.weights if matrix.policy(cell.policy).pretrained else "none",
            split_seed=matrix.split_seed_of(seed),
            evaluation=matrix.evaluation,
            on_bad_image=matrix.on_bad_image,
            on_leak=matrix.on_leak if source.is_folder else "refuse",
            stages=stages[cell.policy],
            image_size=cell.image_size,
            batch_size=training.batch_size,
            augment=training.augment,
            precision=training.precision,
            threads=matrix.threads,
            crop_size=training.crop_size,
            head_init=training.head_init,
            choose_by=training.choose_by,
            backbone=matrix.policy(cell.policy).backbone,
            choose_start=matrix.policy(cell.policy).choose_start,
            recalibrate=matrix.policy(cell.policy).recalibrate,
            colormap=matrix.colormap if INPUT_MODES[cell.input_mode].derived == "map" else DEFAULT_MAP,
        )
        for entry, cell in list_cells(matrix)
        for source in (entry.source,)
        for seed in matrix.seeds
    ]
