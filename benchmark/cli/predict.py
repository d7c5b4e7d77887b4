"""``predict``: classify images with a trained run."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark import spreadsheet
from benchmark.cli import options
from benchmark.errors import UserError
from benchmark.files import write_atomically
from benchmark.words import count

if TYPE_CHECKING:
    from benchmark.trained.find import KeptRun
    from benchmark.trained.predict import Prediction

SOME_IMAGE_IS_BAD = 1

RunOption = Annotated[str | None, typer.Option("--run", metavar="ID", help="A run's id, from `plan` or table.csv.")]
BestOption = Annotated[
    str | None,
    typer.Option("--best", metavar="NAME", help="The winner of these results: the cell that the report recommends."),
]
DatasetOption = Annotated[
    str | None, typer.Option("--dataset", help="With --best: the dataset, if the results have several.")
]


def predict(
    images: Annotated[list[Path], typer.Argument(help="Images, and folders of images.", metavar="IMAGE…|DIR")],
    run: RunOption = None,
    best: BestOption = None,
    dataset: DatasetOption = None,
    as_csv: Annotated[
        bool,
        typer.Option(
            "--csv",
            help="Write CSV: path, class, probability of each class. A class that looks like a formula starts with '.",
        ),
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", help="Write the CSV to this file.")] = None,
    results: options.Results = options.DEFAULT_RESULTS,
) -> None:
    """Classify images with a run's kept weights, decoded and normalised exactly as the run's own images.

    The error stream names the network, and the files that are not images; the others are still classified, and the
    exit code is 1. `keep_weights: best` in a matrix keeps the weights.
    """
    from benchmark.trained.find import find_kept

    kept = find_kept(results, run, best, dataset)
    weights = kept.find_weights()
    typer.echo(describe_run(kept), err=True)

    from benchmark.trained.predict import list_images
    from benchmark.trained.predict import predict as predictions
    from benchmark.trained.restore import open_run

    trained = open_run(kept.record, weights)
    classes = trained.record.dataset.classes
    written = io.StringIO(newline="")
    table = csv.writer(written, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    table.writerow(["path", "class", *(f"p({name})" for name in classes)])
    total = bad = 0
    for prediction in predictions(trained, list_images(images)):
        total += 1
        if prediction.clipped:
            note = f"{count(prediction.clipped, 'value')} outside of the window of the run's own images clipped"
            typer.echo(f"{escape_unprintable(str(prediction.path))}: {note}", err=True)
        if prediction.probabilities is None:
            bad += 1
            typer.echo(f"bad image: {escape_unprintable(str(prediction.path))}: {prediction.problem}", err=True)
        elif as_csv or output is not None:
            table.writerow(_row(prediction, classes))
        else:
            typer.echo(_line(prediction, classes))
        if as_csv and output is None:
            typer.echo(written.getvalue(), nl=False)
            written.seek(0)
            written.truncate()
    if output is not None:
        write_atomically(output, written.getvalue().encode())
        typer.echo(f"{output}: {total - bad} predictions", err=True)
    if not total:
        raise UserError(f"predict: no files below {', '.join(str(path) for path in images)}.")
    if bad:
        typer.echo(f"{bad} of {total} files could not be read as images.", err=True)
        raise typer.Exit(SOME_IMAGE_IS_BAD)


def describe_run(kept: KeptRun) -> str:
    """Return a line that names the network, and its accuracy on its own test images."""
    record = kept.record
    side = f"{record.spec.input_size} x {record.spec.input_size} pixels"
    return (
        f"{kept.title}. {record.spec.model}, {record.spec}, {side}; on its {record.dataset.test_images} test images "
        f"{100 * record.test.accuracy:.1f} % were right. ({record.id})"
    )


def escape_unprintable(text: str) -> str:
    """Return a file's name for a terminal, with control characters and invalid bytes escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _line(prediction: Prediction, classes: tuple[str, ...]) -> str:
    assert prediction.probabilities is not None
    ranked = sorted(zip(prediction.probabilities.tolist(), classes, strict=True), key=lambda item: -item[0])
    (share, name), *others = ranked[:3]
    rest = ", ".join(f"{escape_unprintable(other)} {100 * p:.1f} %" for p, other in others)
    return f"{escape_unprintable(str(prediction.path))}: {escape_unprintable(name)} {100 * share:.1f} % ({rest})"


def _row(prediction: Prediction, classes: tuple[str, ...]) -> list[object]:
    assert prediction.probabilities is not None
    best = int(prediction.probabilities.argmax())
    shares = [float(f"{share:.8g}") for share in prediction.probabilities.tolist()]
    return [_cell(prediction.path), spreadsheet.cell(classes[best]), *shares]


def _cell(path: Path) -> str:
    """Return a path as UTF-8 text that a spreadsheet does not compute, and still a path: ``=x.png`` is ``./=x.png``."""
    text = str(path).encode("utf-8", "backslashreplace").decode()
    return text if spreadsheet.cell(text) == text else f"./{text}"
