"""Preparation of a repository of the Hugging Face hub: download its images, or write those of its Parquet files.

Only images, tables of labels and Parquet files are downloaded; no code of a repository is run. Parquet files are read
as the library ``datasets`` writes them: images as ``{bytes, path}`` or bytes; names of classes in the schema's metadata
``huggingface``, or in the YAML of the repository's card (https://huggingface.co/docs/hub/datasets-cards).
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from benchmark.data.catalogue import HUB
from benchmark.data.decoding.pool import Progress
from benchmark.data.download.unpack import LARGEST_RATIO, SMALLEST_BOUND
from benchmark.data.download.web import TIMEOUT, explain_hub_error
from benchmark.data.folders import repository_folder
from benchmark.data.source import DatasetSource, Repository
from benchmark.data.splits.words import meaning
from benchmark.data.table_file import LABELS, METADATA
from benchmark.errors import UserError
from benchmark.files import sync
from benchmark.words import listed

if TYPE_CHECKING:
    import pyarrow as pa
    from huggingface_hub import RepoFile

IMAGES = frozenset(
    (
        *(".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".jp2", ".dcm"),
        *(".pgm", ".ppm", ".pbm", ".pnm"),
    )
)
"""Suffixes of the files of a repository that are downloaded as images."""

_TABLES = (LABELS, *METADATA)
_TOGETHER = 8  # downloads at a time
_BATCH = 32  # rows of a Parquet file in memory

Answer = TypeVar("Answer")


def require_commit(name: str) -> None:
    """Refuse a name with a branch or without a revision, and name its current commit.

    Raises:
        UserError: the name is not a repository's, or does not end with a commit.
    """
    repository = _parse(name)
    if repository.is_fixed:
        return
    sha = _ask(name, lambda: _info(repository).sha)
    written = f"{HUB}{repository.id}@{sha}{name.partition('@')[2].removeprefix(repository.revision)}"
    branch = repository.revision or "the main branch"
    raise UserError(
        f"{name}: what a branch holds can change. The current commit of {branch} is {sha}: write {written}."
    )


def prepare_repository(source: DatasetSource, progress: Progress | None = None) -> str | None:
    """Download a repository at its commit, if it is not on this machine, into `repository_folder`.

    The folder appears with one rename. Downloaded files are kept next to it until then, so that an interrupted
    download continues; a lock makes processes that prepare the same repository wait for the first. ``HF_ENDPOINT``
    names another hub, ``HF_TOKEN`` gives access to private repositories.

    Args:
        source: an entry with a repository.
        progress: called with (what is being done, done, in all).

    Returns:
        The licence that the repository's card names, or None if it names none or nothing was downloaded.

    Raises:
        UserError: the repository cannot be reached or read, has neither images nor Parquet files, or can be read in two
            ways; or the cache folder cannot be written.
    """
    place, repository = repository_folder(source), _parse(source.name)
    if place.is_dir():
        return None
    part, made = (place.with_name(f".{place.name}.{word}") for word in ("part", "made"))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f".{place.name}.lock")):
            if place.is_dir():
                return None
            info = _ask(source.name, lambda: _info(repository))
            if info.sha != repository.revision:
                raise UserError(f"{source.name}: the server answers with another commit, {info.sha}.")
            card: Mapping[str, Any] = info.card_data.to_dict() if info.card_data else {}
            files = _choose(source, _ask(source.name, lambda: _list(repository)))
            _download(source.name, repository, files, part, progress)
            shutil.rmtree(part / ".cache", ignore_errors=True)
            shutil.rmtree(made, ignore_errors=True)
            if files[0].path.endswith(".parquet"):
                _write_images(source, [part / file.path for file in files], part, made, card)
            else:
                (part / repository.folder).replace(made)
            if hasattr(os, "sync"):
                os.sync()
            made.replace(place)
            sync(place.parent)
            shutil.rmtree(part, ignore_errors=True)
            return str(card["license"]) if card.get("license") else None
    except OSError as error:
        raise UserError(
            f"{source.name}: {place.parent} cannot be written ({error.strerror or error}). "
            "Name another cache folder with BENCHMARK_CACHE_DIR."
        ) from None
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _parse(name: str) -> Repository:
    try:
        return Repository.parse(name)
    except ValueError as error:
        raise UserError(str(error)) from None


def _info(repository: Repository) -> Any:
    from huggingface_hub import HfApi

    return HfApi().dataset_info(repository.id, revision=repository.revision or None, timeout=TIMEOUT[0])


def _list(repository: Repository) -> list[RepoFile]:
    from huggingface_hub import HfApi, RepoFile

    tree = HfApi().list_repo_tree(
        repository.id,
        repository.folder or None,
        recursive=True,
        revision=repository.revision,
        repo_type="dataset",
    )
    return [entry for entry in tree if isinstance(entry, RepoFile)]


def _ask(name: str, question: Callable[[], Answer]) -> Answer:
    """Return the hub's answer; its errors become one message."""
    import httpx2
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return question()
    except GatedRepoError:
        raise UserError(f"{name}: accept the repository's terms on its page, and set HF_TOKEN to your token.") from None
    except RepositoryNotFoundError:
        raise UserError(
            f"{name}: there is no such repository, or it is private. Check the name, or set HF_TOKEN to a token that "
            "may read it."
        ) from None
    except RevisionNotFoundError:
        raise UserError(f"{name}: the repository has no such commit or branch.") from None
    except (httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's: the client's own have no number
            raise
        denied = isinstance(error, HfHubHTTPError) and error.response.status_code in (401, 403)
        advice = "Set HF_TOKEN to a token that may read it" if denied else "Run this again to continue"
        raise UserError(f"{name}: cannot be downloaded: {explain_hub_error(error)}. {advice}.") from None


def _choose(source: DatasetSource, files: Sequence[RepoFile]) -> list[RepoFile]:
    """Return the files to download: all Parquet files, or else all images and their tables, sorted by path."""
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or {"..", "."} & {*path.parts} or any(sign in file.path for sign in "\\:\0"):
            raise UserError(f"{source.name}: the file {file.path!r} would be written outside of its folder.")
    ordered = sorted(files, key=lambda file: file.path)
    parquet = [file for file in ordered if file.path.endswith(".parquet")]
    images = [file for file in ordered if PurePosixPath(file.path).suffix.lower() in IMAGES]
    if parquet:
        return parquet
    if images:
        return [file for file in ordered if file in images or PurePosixPath(file.path).name.lower() in _TABLES]
    others = ", ".join(file.path for file in ordered[:5] if not file.path.startswith(".")) or "no files"
    scripts = [file.path for file in ordered if file.path.endswith(".py")]
    why = f" Its images come from a script, {scripts[0]}, and no code from the hub is run." if scripts else ""
    raise UserError(f"{source.name}: neither Parquet files nor images, but {others}.{why}")


def _download(
    name: str, repository: Repository, files: Sequence[RepoFile], folder: Path, progress: Progress | None
) -> None:
    from huggingface_hub import HfApi, constants
    from huggingface_hub.utils.tqdm import disable_progress_bars

    constants.HF_HUB_DISABLE_XET = True  # see `web`
    disable_progress_bars()
    needed, free = sum(file.size for file in files), shutil.disk_usage(folder.parent).free
    if 2 * needed > free:
        raise UserError(f"{name}: needs {2 * needed:,} bytes on the disk, but {folder.parent} has {free:,} left.")

    def load(file: RepoFile) -> None:
        def fetch() -> str:
            return HfApi().hf_hub_download(
                repository.id, file.path, repo_type="dataset", revision=repository.revision, local_dir=folder
            )

        path = Path(_ask(name, fetch))
        if not _is_intact(path, file):
            path.unlink()
            raise UserError(f"{name}: {file.path} does not have the hash that the hub names. Run this again.")

    with ThreadPoolExecutor(_TOGETHER) as pool:
        try:
            for done, _ in enumerate(pool.map(load, files), start=1):
                if progress is not None:
                    progress(f"downloading {repository.id}", done, len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _is_intact(path: Path, file: RepoFile) -> bool:
    """Return whether a file has the SHA-256 of its LFS entry, or else the hash of a Git blob."""
    digest = hashlib.sha256() if file.lfs else hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as content:
        while block := content.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() == (file.lfs.sha256 if file.lfs else file.blob_id)


@dataclass(frozen=True)
class _Columns:
    """The columns of a Parquet file that are used, and the names of the classes, if labels are numbers."""

    image: str
    label: str
    classes: Sequence[str] | None


def _write_images(source: DatasetSource, files: list[Path], root: Path, made: Path, card: Mapping[str, Any]) -> None:
    """Write the images of Parquet files and a table with their labels and splits."""
    import pyarrow as pa

    names = {file: file.relative_to(root).as_posix() for file in files}
    splits = _splits(source, list(names.values()))
    bound = max(SMALLEST_BOUND, LARGEST_RATIO * sum(file.stat().st_size for file in files))
    written = 0
    (made / "images").mkdir(parents=True)
    with (made / LABELS).open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table)
        has_splits = any(splits.values())
        writer.writerow(["path", "label", *(["split"] if has_splits else [])])
        for number, (file, name) in enumerate(names.items()):
            where = f"{source.name}: {name}"
            try:
                if _claimed(file) > bound:
                    raise UserError(f"{where}: claims to hold more than the {bound:,} bytes that its size allows.")
                for row, (content, suffix, label) in enumerate(_rows(source, file, where, card)):
                    written += len(content)
                    if written > bound:
                        raise UserError(f"{where}: its images have more than the {bound:,} bytes that its size allows.")
                    path = f"images/{number:04d}-{row:07d}{suffix}"
                    (made / path).write_bytes(content)
                    writer.writerow([path, label, *([splits[name]] if has_splits else [])])
            except (pa.ArrowException, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                raise UserError(f"{where}: cannot be read as Parquet ({str(error).splitlines()[0]}).") from None


def _claimed(file: Path) -> int:
    """Return the uncompressed size of a Parquet file as it claims, bytes."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        return sum(parquet.metadata.row_group(k).total_byte_size for k in range(parquet.metadata.num_row_groups))


def _splits(source: DatasetSource, names: Sequence[str]) -> dict[str, str | None]:
    """Return the word for the split of each Parquet file: of its name, ``train-00000-of-00001``, or of its folder."""
    found: dict[str, str | None] = {}
    folders: set[str] = set()
    for name in names:
        path = PurePosixPath(name)
        word = re.split(r"[-_.]", path.name)[0]
        is_folder = not meaning(word) and bool(meaning(path.parent.name))
        found[name] = path.parent.name if is_folder else word if meaning(word) else None
        folders.add(str(path.parent.parent if is_folder else path.parent))
    if len(folders) > 1:
        raise UserError(
            f"{source.name}: Parquet files of several datasets, in {listed(sorted(folders))}. "
            f"Write one of them after the commit, as in @{_parse(source.name).revision}/{sorted(folders)[-1]}."
        )
    if any(found.values()) and (unknown := [name for name, word in found.items() if word is None]):
        raise UserError(f"{source.name}: {unknown[0]} is not named after train, validation or test as other files are.")
    return found


def _rows(source: DatasetSource, file: Path, where: str, card: Mapping[str, Any]) -> Iterator[tuple[bytes, str, str]]:
    """Yield each row's image file, its suffix and its class."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as parquet:
        used = _columns(source, parquet.schema_arrow, where, card)
        first = 0
        for batch in parquet.iter_batches(batch_size=_BATCH, columns=[used.image, used.label]):
            images, labels = batch.column(used.image).to_pylist(), batch.column(used.label).to_pylist()
            for row, (image, label) in enumerate(zip(images, labels, strict=True), start=first):
                content = image.get("bytes") if isinstance(image, dict) else image
                path = str(image.get("path") or "") if isinstance(image, dict) else ""
                if not content:
                    raise UserError(f"{where}: row {row} has no image in column {used.image}.")
                if label is None:
                    raise UserError(f"{where}: row {row} has no label in column {used.label}.")
                if used.classes is not None and not 0 <= label < len(used.classes):
                    raise UserError(
                        f"{where}: row {row} has label {label} in column {used.label}, which names "
                        f"{len(used.classes)} classes, from 0."
                    )
                suffix = PurePosixPath(path).suffix.lower()
                name = str(label) if used.classes is None else used.classes[label]
                yield content, suffix if suffix in IMAGES else ".img", name
            first += len(images)


def _columns(source: DatasetSource, schema: pa.Schema, where: str, card: Mapping[str, Any]) -> _Columns:
    import pyarrow as pa

    types = pa.types
    classes = {**_classes_of_card(source, card), **_classes_of_schema(schema)}
    images, labels = [], []
    for field in schema:
        kind = field.type
        is_struct = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
        held = kind.field("bytes").type if is_struct else kind
        if types.is_binary(held) or types.is_large_binary(held):
            images.append(field.name)
        elif field.name.startswith("__index_level_"):
            continue  # pandas' index
        elif types.is_integer(kind) or types.is_string(kind) or types.is_large_string(kind):
            labels.append(field.name)
    named = [name for name in labels if name in classes and types.is_integer(schema.field(name).type)]
    wanted = _parse(source.name).columns
    if wanted is None:
        chosen = (images, named or labels)
    else:
        chosen = ([name for name in images if name == wanted[0]], [name for name in labels if name == wanted[1]])
    if [len(each) for each in chosen] != [1, 1]:
        of_images, of_labels = ", ".join(images) or "none", ", ".join(labels) or "none"
        raise UserError(
            f"{where}: one column of images and one of labels are needed. Columns of images: {of_images}; of labels: "
            f"{of_labels}. Name two of them: {source.name.partition('#')[0]}#IMAGE,LABEL."
        )
    (image,), (label,) = chosen
    return _Columns(image, label, classes[label] if label in named else None)


def _classes_of_schema(schema: pa.Schema) -> dict[str, list[str]]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: [*map(str, each["names"])] for name, each in features.items() if "names" in each}
    except (KeyError, TypeError, ValueError):
        return {}


def _classes_of_card(source: DatasetSource, card: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the classes in a card's ``dataset_info``, of the configuration named as the folder is."""
    found = card.get("dataset_info") or []
    infos = found if isinstance(found, list) else [found]
    folder = _parse(source.name).folder
    try:
        if len(infos) > 1:
            infos = [info for info in infos if info["config_name"] == folder]
        features = [each for info in infos for each in info["features"]]
        names = {
            each["name"]: each["dtype"]["class_label"]["names"]
            for each in features
            if "dtype" in each and isinstance(each["dtype"], dict) and "class_label" in each["dtype"]
        }
        return {
            column: [str(value) for _, value in sorted(each.items(), key=lambda pair: int(pair[0]))]
            for column, each in names.items()
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}
