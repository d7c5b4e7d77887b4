"""``datasets``: list, fetch, check and show datasets, find groups of images, and look after the cache."""

from __future__ import annotations

import functools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import options
from benchmark.errors import UserError, did_you_mean
from benchmark.locations import cache_directory, data_directory

if TYPE_CHECKING:
    from benchmark.matrix.augmentations import Step

app = typer.Typer(
    help="Datasets: list, prepare, check, show, groups, cache.", no_args_is_help=True, rich_markup_mode=None
)
cache_app = typer.Typer(help="Decoded images and indexes.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(cache_app, name="cache")

NameArgument = Annotated[str, typer.Argument(help="A dataset's name, folder:PATH, or hub:OWNER/NAME@COMMIT.")]
KeysOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="datasets.KEY=VALUE", help="A key of the dataset's entry, as in a matrix."),
]


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that updates one bar per thing under way, on the error stream; plain lines off a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
                if not console.is_terminal:
                    typer.echo(f"{what} …", err=True)
            bars.update(tasks[what], completed=done, total=total)

        yield update


def _state(name: str, data_dir: Path | None) -> str:
    from benchmark.data.catalogue import CATALOGUE
    from benchmark.data.layouts import list_dataset

    if CATALOGUE[name].source == "generated":
        return "generated when needed"
    try:
        listing = list_dataset(CATALOGUE[name], data_dir)
    except UserError:
        return "missing"
    return "incomplete: " + "; ".join(listing.notes) if listing.notes else "ready"


@app.command("list")
def list_datasets(data_dir: options.DataDir = None) -> None:
    """List the catalogue's datasets, and whether they are on this machine."""
    from tabulate import tabulate

    from benchmark.data.catalogue import CATALOGUE, SPLITS
    from benchmark.data.splits.rules import uses_folds

    rows = [
        (
            info.name,
            len(info.classes),
            f"{info.images['train']} in folds"
            if uses_folds(info.images, "split")
            else "/".join(str(info.images.get(split, "drawn")) for split in SPLITS),
            f"{info.megabytes} MB" if info.megabytes else "",
            info.licence,
            "colour" if info.colour else "grey",
            info.origin,
            _state(info.name, data_dir),
        )
        for info in CATALOGUE.values()
    ]
    headers = ("name", "classes", "train/validation/test", "size", "licence", "images", "source", "state")
    typer.echo(tabulate(rows, headers=headers, disable_numparse=True))
    typer.echo(
        f"Data directory: {data_directory(data_dir)}. Your own images: folder:PATH. The hub's: hub:OWNER/NAME@COMMIT."
    )


@app.command("prepare")
def prepare_datasets(
    names: Annotated[list[str] | None, typer.Argument(help="Datasets to fetch.")] = None,
    matrix: Annotated[
        str | None, typer.Option("--matrix", help="Fetch the datasets of a matrix, and decode them at its image sizes.")
    ] = None,
    keys: KeysOption = None,
    data_dir: options.DataDir = None,
) -> None:
    """Fetch datasets, verify and index them; with --matrix, decode them too. Complete ones are not fetched again."""
    from benchmark.data.catalogue import CATALOGUE, HUB, SPLITS
    from benchmark.data.download.hub import prepare_repository, require_commit
    from benchmark.data.download.prepare import prepare
    from benchmark.data.load import open_splits
    from benchmark.execution.preflight import images_key
    from benchmark.matrix import file as matrix_file
    from benchmark.matrix.identify import identify_folders
    from benchmark.matrix.tuning import every_run
    from benchmark.training.context import load_run_images

    loaded = matrix_file.load(matrix_file.find(matrix), keys or ()) if matrix else None
    for name in names or ():
        if name.startswith(HUB):
            require_commit(name)
    sources = [matrix_file.read_source(name, keys or ()) for name in names or ()]
    sources += [entry.source for entry in (loaded.datasets if loaded else ())]
    if not sources:
        raise UserError("datasets prepare: name a dataset, or a matrix with --matrix.")
    kept = ("evaluation", "on_bad_image", "on_leak")
    settings = {key: getattr(loaded, key) for key in kept} if loaded else {}
    seed = loaded.seeds[0] if loaded else 0
    settings["split_seed"] = loaded.split_seed_of(seed) if loaded else 0
    with _progress() as progress:
        for source in {each.model_copy(update={"limit": None}): each for each in sources}.values():
            if source.name in CATALOGUE:
                prepare(CATALOGUE[source.name], data_dir, progress)
            elif source.repository is not None and (licence := prepare_repository(source, progress)):
                typer.echo(f"{source.name}: licence {licence}, as its card says")
            index = open_splits(source, data_dir=data_dir, seed=seed, progress=progress, **settings)
            counts = Counter(index.splits)
            sizes = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
            in_fold = "" if index.fold is None else f" in fold {index.fold}"
            typer.echo(f"{source.name}: {sizes} images{in_fold}, fingerprint {index.fingerprint[:16]}")
            for note in (*index.scanned.notes, *index.notes):
                typer.echo(f"  {note}")
        if loaded is None:
            return
        runs = every_run(identify_folders(loaded, progress=progress))
        for run in {images_key(run): run for run in runs}.values():
            load_run_images(run, data_dir, progress)


@app.command("check")
def check(
    name: NameArgument,
    keys: KeysOption = None,
    data_dir: options.DataDir = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all findings to this file.")] = None,
) -> None:
    """Look for problems that make results wrong. Exit code 1 if there are any."""
    from tabulate import tabulate

    from benchmark.data.load import check_dataset
    from benchmark.files import write_atomically
    from benchmark.matrix.file import read_source

    with _progress() as progress:
        listing, findings = check_dataset(read_source(name, keys or ()), data_dir, progress)
    rows = [
        (finding.severity, finding.kind, len(finding.images) or "", finding.meaning, ", ".join(finding.images[:3]))
        for finding in findings
    ]
    if rows:
        headers = ("severity", "found", "images", "meaning", "examples")
        typer.echo(tabulate(rows, headers=headers, disable_numparse=True))
    errors = [finding for finding in findings if finding.severity == "error"]
    for finding in errors:
        for line in finding.lines():
            typer.echo(line)
    typer.echo(f"{name}: {len(listing.files)} images, {len(findings)} findings, {len(errors)} of them errors.")
    if json_file is not None:
        found = [{**asdict(finding), "count": len(finding.images)} for finding in findings]
        report = {"dataset": name, "images": len(listing.files), "findings": found}
        write_atomically(json_file, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    if errors:
        raise typer.Exit(1)


def _step(text: str) -> Step:
    from benchmark.matrix import plain_yaml
    from benchmark.matrix.augmentations import parse

    name, _, parameters = text.partition("=")
    try:
        return parse({name: plain_yaml.read(parameters)[0]} if parameters else name)
    except (ValueError, plain_yaml.NotPlainError) as error:
        raise UserError(f"--augment {text}: {error}") from None


def _map(name: str | None) -> str:
    from benchmark.matrix.input_modes import DEFAULT_MAP, check_map

    try:
        return check_map(DEFAULT_MAP if name is None else name)
    except ValueError as error:
        raise UserError(f"--colormap: {error}") from None


@app.command("show")
def show_dataset(
    name: NameArgument,
    keys: KeysOption = None,
    mode: Annotated[list[str] | None, typer.Option("--mode", help="Input modes; default: all.")] = None,
    augment: Annotated[
        list[str] | None,
        typer.Option("--augment", metavar="NAME[=YAML]", help="e.g. hflip or rotation='{degrees: 30}'; or `all`."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="PNG file; default: NAME.png.")] = None,
    size: Annotated[int, typer.Option(min=8, max=1024, help="Side length of an image, pixels.")] = 96,
    colormap: Annotated[str | None, typer.Option(help="Matplotlib's colour map for the input mode colormap.")] = None,
    columns: Annotated[int, typer.Option(min=2, max=50, help="Images per row.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed for choosing the images.")] = 0,
    data_dir: options.DataDir = None,
) -> None:
    """Write a contact sheet: what the network sees, per class and input mode; `--augment all`: every augmentation."""
    from benchmark.data.load import list_unpacked
    from benchmark.data.scan import scan
    from benchmark.matrix.file import read_source
    from benchmark.matrix.input_modes import INPUT_MODES
    from benchmark.training.contact_sheet import draw_contact_sheet, draw_gallery

    source = read_source(name, keys or ())
    with _progress() as progress:
        listing = list_unpacked(source, data_dir, progress)
    for word in mode or ():
        if word not in INPUT_MODES:
            raise UserError(f"--mode {word}: unknown input mode.{did_you_mean(word, INPUT_MODES)}")
    reading, colour = source.reading, source.has_colour
    if source.is_folder:
        with _progress() as progress:
            scanned = scan(listing, source, progress)
        reading, colour = scanned.reading, scanned.has_colour
        if scanned.unclear is not None:
            typer.echo(f"{scanned.unclear} Until then shown from the smallest value to the largest.", err=True)
        for line in scanned.described:
            typer.echo(line)
    modes = mode or [word for word, m in INPUT_MODES.items() if (m.grey or colour) and not m.ablation]
    if not colour and any(not INPUT_MODES[word].grey for word in modes):
        typer.echo(f"{name} has no colour: rgb is grey-3ch under another name.", err=True)
    if augment == ["all"]:
        draw = functools.partial(draw_gallery, listing)
    else:
        steps = [_step(text) for text in augment or ()]
        draw = functools.partial(draw_contact_sheet, listing, modes=modes, steps=steps, colormap=_map(colormap))
    sheet = draw(reading=reading, size=size, columns=columns, seed=seed)
    path = output or Path(f"{listing.name}.png")
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}).") from None
    typer.echo(f"{path}: {sheet.width} x {sheet.height} pixels")


@app.command("groups")
def find_groups(
    name: Annotated[str, typer.Argument(help="A results folder.")],
    results: options.Results = options.DEFAULT_RESULTS,
    data_dir: options.DataDir = None,
) -> None:
    """Find which test images of a results folder's datasets belong together, and add them to its groups.csv.

    `run` does so itself. This command is for results that lack groups: the images must be those of the records.
    Datasets whose groups are known keep them. `report` reads the file.
    """
    from benchmark.data import load
    from benchmark.matrix import file
    from benchmark.records import groups_file
    from benchmark.records.plan import make_plan
    from benchmark.records.store import find_results

    store = find_results(results, name)
    matrix = file.load(store.matrix)
    done = make_plan(matrix, store).done
    for entry in matrix.datasets:
        found, fingerprint = load.test_groups(
            entry.source,
            data_dir=data_dir,
            evaluation=matrix.evaluation,
            on_bad_image=matrix.on_bad_image,
            on_leak=matrix.on_leak,
        )
        recorded = {run.dataset.fingerprint for run in done if run.dataset and run.spec.dataset == entry.title}
        if recorded - {fingerprint}:
            raise UserError(
                f"{store.folder}: its records of {entry.title} were made with other images than those at hand "
                f"(fingerprint {sorted(recorded)[0][:12]}, here {fingerprint[:12]}). Give the right --data-dir."
            )
        is_new = groups_file.add(store.folder, {fingerprint: found})
        groups = groups_file.read(store.folder)[groups_file.key(fingerprint)]
        typer.echo(_summary(entry.title, groups) + ("" if is_new else ", kept as they are"))


def _summary(title: str, found: dict[str, str]) -> str:
    sizes = Counter(found.values())
    largest = max(sizes.values(), default=0)
    return f"{title}: {len(found)} test images in {len(sizes)} groups, the largest of {largest}"


def _megabytes(path: Path) -> float:
    return sum(file.stat().st_size for file in (path, *path.rglob("*")) if file.is_file()) / 2**20


@cache_app.command("list")
def list_cache() -> None:
    """List the cache and verify the decoded images."""
    from tabulate import tabulate

    from benchmark.data.decoding.cache import is_undamaged

    root = cache_directory()
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix in (".npy", ".parquet"))
    folders = sorted(path for path in (root / "generated").glob("*") if path.is_dir())
    sizes = {path: _megabytes(path) for path in (*folders, *files)}
    rows = [
        (
            path.relative_to(root).as_posix(),
            f"{size:.1f} MB",
            "" if path.suffix != ".npy" else "complete" if is_undamaged(path) else "DAMAGED",
        )
        for path, size in sizes.items()
    ]
    if rows:
        typer.echo(tabulate(rows, headers=("file", "size", "checksum"), disable_numparse=True))
    typer.echo(f"{root}: {len(files)} files and {len(folders)} folders of images, {sum(sizes.values()):.1f} MB.")
    if any(row[2] == "DAMAGED" for row in rows):
        raise typer.Exit(1)


@cache_app.command("clear")
def clear_cache(
    name: Annotated[str | None, typer.Argument(help="Only this dataset's files; default: everything.")] = None,
) -> None:
    """Remove decoded images, indexes and generated images, all of which can be made again."""
    root, removed = cache_directory(), 0.0
    for folder in ("images", "index", "generated"):
        for path in sorted((root / folder).glob(f"{name}-*" if name else "*")):
            removed += _megabytes(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    typer.echo(f"{root}: {removed:.1f} MB removed.")
