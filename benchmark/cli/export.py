"""``export``: write a trained run as a folder for plain timm or torchvision, and as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import options
from benchmark.cli.predict import BestOption, DatasetOption, RunOption, describe_run


def export(
    run: RunOption = None,
    best: BestOption = None,
    dataset: DatasetOption = None,
    output: Annotated[Path | None, typer.Option("--output", help="The folder; default: export-ID.")] = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Write a run's weights (safetensors, ONNX), classes and preprocessing, with a README that shows how to use them.

    The ONNX network is checked against PyTorch by onnxruntime. Needs `pip install -e '.[export]'`.
    """
    from benchmark.trained.find import find_kept

    kept = find_kept(results, run, best, dataset)
    weights = kept.find_weights()
    typer.echo(describe_run(kept), err=True)

    import torch

    from benchmark.trained.export import TOLERANCE
    from benchmark.trained.export import export as write
    from benchmark.trained.restore import open_run

    trained = open_run(kept.record, weights, torch.device("cpu"))
    folder = output or Path(f"export-{kept.record.id}")
    difference = write(trained, folder)
    typer.echo(f"largest difference of a logit between onnxruntime and PyTorch: {difference:.1e} (limit {TOLERANCE:g})")
    typer.echo(f"wrote {folder}; its README.md shows how to load it")
