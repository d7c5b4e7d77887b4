"""``datasets groups``: find the groups of test images, for results that lack them."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer

from benchmark.cli.options import DEFAULT_RESULTS, DataDirOption, ResultsOption
from benchmark.errors import UserError


def groups(
    name: Annotated[str, typer.Argument(help="A results folder.")],
    results: ResultsOption = DEFAULT_RESULTS,
    data_dir: DataDirOption = None,
) -> None:
    """Find which test images of a results folder's datasets belong together, and add them to its groups.csv.

    `run` does so itself. This command is for results that lack groups: the images must be those of the records.
    Datasets whose groups are known keep them. `report` reads the file.
    """
    from benchmark.data import load
    from benchmark.matrix import file
    from benchmark.matrix.expand import expand
    from benchmark.records import groups_file
    from benchmark.records.plan import make_plan
    from benchmark.records.store import find_results

    store = find_results(results, name)
    matrix = file.load(store.matrix)
    done = make_plan(expand(matrix), store).done
    known = groups_file.read(store.folder)
    for entry in matrix.datasets:
        if entry.title in known:
            typer.echo(_summary(entry.title, known[entry.title]) + ", kept as they are")
            continue
        found, fingerprint = load.test_groups(
            entry.source,
            split_seed=matrix.split_seed,
            data_dir=data_dir,
            drop_bad_images=matrix.on_bad_image == "drop",
        )
        recorded = {run.dataset.fingerprint for run in done if run.dataset and run.spec.dataset == entry.title}
        if recorded - {fingerprint}:
            raise UserError(
                f"{store.folder}: its records of {entry.title} were made with other images than those at hand "
                f"(fingerprint {sorted(recorded)[0][:12]}, here {fingerprint[:12]}). Give the right --data-dir."
            )
        groups_file.add(store.folder, {entry.title: found})
        typer.echo(_summary(entry.title, found))


def _summary(title: str, found: dict[str, str]) -> str:
    sizes = Counter(found.values())
    largest = max(sizes.values(), default=0)
    return f"{title}: {len(found)} test images in {len(sizes)} groups, the largest of {largest}"
