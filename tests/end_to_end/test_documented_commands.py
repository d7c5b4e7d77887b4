"""Every command that the documentation gives is run: here, or where `ELSEWHERE` says.

Commands of this project are run here as they are written, in the order in which they are written, but for what stands
for the reader's own (DIR, PATH) and for matrices that take hours, which a tiny one replaces.
"""

from __future__ import annotations

import json
import re
import secrets
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests import factories
from tests.commands import Commands

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "results/README.md", *PAGES)
WITHOUT_COMMANDS = {"docs/protocol.md", "docs/records.md", "docs/stem-filters.md", "docs/traps.md", "docs/api.md"}
OURS = "python -m benchmark "
STARTS = ("python ", "pip ", "mkdocs ")
STARTS_OF_BLOCKS = (*STARTS, "python3 ", "export ", "ray ", "ruff ", "mypy", "lint-imports", ".ci/run", "source ")

ONE_AFTER_THE_OTHER = """
import json, sys
if __name__ == "__main__":  # and not in the workers
    codes = []
    for words in json.loads(sys.argv[1]):
        sys.argv[1:] = words
        from benchmark.cli import main
        print("==", *words, file=sys.stderr, flush=True)
        try:
            main()
            codes.append(0)
        except SystemExit as ended:
            codes.append(ended.code)
    print("done", json.dumps(codes))
"""
"""In one process, which imports the libraries once."""

ELSEWHERE = {
    r"python3 -m venv .*|source .*/activate": (".ci/run", "python3 -m venv"),
    r"pip install -e '\.\[(quick|ray|slurm|tensorboard|export|test|dicom)\]'": (
        ".ci/run",
        "pip install --quiet -e '.[test]'",
    ),
    r"pip install -e '\.\[dev\]'": (".ci/run", "pip install --quiet -e '.[dev]'"),
    r"python -m pytest -n 2": (".ci/run", "python -m pytest -n 2"),
    r'python -m pytest -m "?(not slow|stress|gpu)"?': ("pyproject.toml", "markers = ["),
    r"ruff check \.": (".ci/run", "ruff check ."),
    r"ruff format --check \.": (".ci/run", "ruff format --check ."),
    r"mypy": (".ci/run", "mypy"),
    r"lint-imports": (".ci/run", "lint-imports"),
    r"\.ci/run": (".ci/run", "#!/usr/bin/env bash"),
    r"pip install pre-commit|pre-commit install": (".pre-commit-config.yaml", "id: codespell"),  # as .ci/run does
    r"pip install -e '\.\[docs\]'": (".ci/run", "pip install --quiet -e '.[dev]'"),
    r"mkdocs build --strict|mkdocs serve": (".ci/run", "mkdocs build --strict"),
    r"python docs/(draw_rooms|write_keys)\.py": (".ci/run", "python docs/draw_rooms.py --check"),
    r"python -m experiments\.studies\.answers": (".ci/run", "python -m experiments.studies.answers --check"),
    r"python -m experiments\.studies\.recompute results/quick": (
        "tests/report/test_recompute.py",
        "recompute.disagreements",
    ),
    r"python -m tests\.performance\.gpu_acceptance": (
        "tests/end_to_end/test_gpu_acceptance.py",
        'accept("--device", "cpu", "--tiny"',
    ),
    r"python -m benchmark run --folder PATH( --budget 1h)?": (
        "tests/end_to_end/test_own_folder.py",
        '"run", "--folder"',
    ),
    r"python -m benchmark merge alice/quick bob/quick --into results/quick": (
        "tests/end_to_end/test_merging.py",
        '"merge", "alice/tiny", "bob/tiny", "--into"',
    ),
    r"python -m benchmark compare alice/quick bob/quick --into drift": (
        "tests/end_to_end/test_merging.py",
        '"compare", "one/tiny", "threads/tiny", "--into"',
    ),
    r"python -m benchmark run --matrix full --data-dir DIR --executor slurm .*": (
        "tests/end_to_end/test_slurm.py",
        '"--executor", "slurm", "--slurm"',
    ),
    r"python -m pytest -m stress tests/end_to_end/test_slurm\.py": (
        "tests/end_to_end/test_slurm.py",
        "pytestmark = pytest.mark.stress",
    ),
    r"python -m benchmark run --track tensorboard": (
        "tests/execution/test_tracking.py",
        '"--track", "tensorboard"',
    ),
    r"python -m benchmark predict --best NAME IMAGE…": ("tests/end_to_end/test_own_folder.py", '"predict", "--best"'),
    r"python -m benchmark export --best NAME --output DIR": (
        "tests/end_to_end/test_own_folder.py",
        '"export", "--best"',
    ),
}
"""What is run by another test or by the build server: a pattern of the command, the file, and what it holds then."""


def commands(document: str) -> Iterator[str]:
    """Yield the commands of a document, without their comments: each line of its shell blocks, and its inline code."""
    tokens = MarkdownIt("commonmark").parse((ROOT / document).read_text(encoding="utf-8"))
    blocks = [token.content for token in tokens if token.type == "fence" and token.info in ("", "sh")]
    children = [child for token in tokens for child in token.children or () if child.type == "code_inline"]
    inline = [child.content for child in children if child.content.startswith(STARTS)]
    for line in [*(line for block in blocks for line in block.splitlines()), *inline]:
        if line.startswith(STARTS_OF_BLOCKS):
            yield from (part.strip() for part in re.sub(r"\s#.*", "", line).split("&&"))


DOCUMENTED = list(dict.fromkeys(command for document in DOCUMENTS for command in commands(document)))
RAY = [command for command in DOCUMENTED if re.match(r"export RAY|ray |.*--executor ray", command)]
HERE = [
    command
    for command in DOCUMENTED
    if f"{command} ".startswith(OURS) and command not in RAY and not any(re.fullmatch(p, command) for p in ELSEWHERE)
]


def words_of(command: str, project: Commands, folder: Path) -> tuple[str, ...]:
    """Return the words after ``python -m benchmark``, with the reader's own and the tiny matrix filled in."""
    words = shlex.split(command)[3:]
    name = "tiny" if words[:2] == ["datasets", "groups"] else "shape-control" if words[0] == "datasets" else "mine.yaml"
    given = {
        "DIR": str(project.folder / "data"),
        "folder:PATH": f"folder:{folder}",
        "NAME": name,
        "datasets=[breastmnist]": "datasets=[{name: shape-control, limit: 32}]",
    }
    words = [given.get(word, word) for word in words]
    if "run" in words or words[:2] == ["datasets", "prepare"] or words[0] == "doctor":
        words = [*words, *([] if "--matrix" in words else ["--matrix", ""])]
        words[words.index("--matrix") + 1] = "mine.yaml"
    if words[0] == "run":
        words += ["--workers", "1"]
    return tuple(words)


def planned(command: str) -> list[str] | None:
    """Return the command that plans what a documented one runs, with its own matrix; None: it runs no shipped one."""
    words = shlex.split(command)[3:]
    if words[0] != "run" or not {"NAME", "mine.yaml"}.isdisjoint(words):
        return None
    return ["plan", *words[1:]]


@pytest.fixture
def project(tmp_path: Path, cache: Path) -> Commands:
    made = Commands(tmp_path, cache)
    Path(made.matrix()).rename(tmp_path / "mine.yaml")
    return made


def test_a_command_that_is_not_run_here_is_run_where_it_is_said() -> None:
    others = [command for command in DOCUMENTED if command not in HERE and command not in RAY]
    assert others
    for command in others:
        found = [place for pattern, place in ELSEWHERE.items() if re.fullmatch(pattern, command)]
        assert found, f"documented, and run by no test: {command}"
        for file, text in found:
            assert text in (ROOT / file).read_text(encoding="utf-8"), (command, file, text)


def test_each_document_and_each_verb_has_its_commands_found() -> None:
    assert {shlex.split(command)[3] for command in HERE} >= {"run", "plan", "status", "report", "doctor", "datasets"}
    assert len(RAY) == 4
    assert [document for document in DOCUMENTS if not list(commands(document))] == sorted(
        WITHOUT_COMMANDS & set(DOCUMENTS)
    )


@pytest.mark.slow
def test_the_documented_commands_end_as_they_should(project: Commands) -> None:
    folder = factories.write_bars(project.folder / "own", each=20)
    as_written = [tuple(words) for command in HERE if (words := planned(command)) is not None]
    filled_in = dict.fromkeys(words_of(command, project, folder) for command in HERE)
    given = [*as_written, *filled_in]
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(given)],
        cwd=project.folder,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert "done" in done.stdout, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1].removeprefix("done "))
    assert [words for words, code in zip(given, codes, strict=True) if code] == [], done.stderr
    named = {words[words.index("--name") + 1] for words in filled_in if words[0] == "run" and "--name" in words}
    assert named >= {"mine", "turned"}
    assert {path.name for path in (project.folder / "results").iterdir() if path.is_dir()} == {"tiny", *named}
    assert len(project.records()) == len(project.records("turned")) == 4


@pytest.mark.slow
def test_the_documented_cluster_of_two_nodes_executes_a_matrix(project: Commands) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    exported = RAY[0].replace("RAY_AUTH_TOKEN=TOKEN", f"RAY_AUTH_TOKEN={secrets.token_hex(16)}")
    for word in shlex.split(exported)[1:]:
        name, _, value = word.partition("=")
        project.environment[name] = value
    own = ["--block", "--num-cpus", "1", "--num-gpus", "0", "--object-store-memory", str(80 << 20)]
    nodes: list[subprocess.Popen[str]] = []
    try:
        for command in RAY[1:3]:
            words = shlex.split(command.replace("HEAD", "127.0.0.1").replace("6379", port))
            ray = str(Path(sys.executable).with_name(words[0]))
            command_line = [ray, *words[1:], *own]
            nodes.append(subprocess.Popen(command_line, env=project.environment, stdout=subprocess.PIPE, text=True))
            assert nodes[-1].stdout is not None
            assert any("Ray runtime started" in line for line in nodes[-1].stdout), command
        done = project.run(*words_of(RAY[3].replace(" auto", f" 127.0.0.1:{port}"), project, project.folder))
    finally:
        for node in nodes:
            node.terminate()
        for node in nodes:
            node.wait(60)
    assert done.returncode == 0, done.stderr
    assert len(project.records()) == 4
    assert {record["status"] for record in project.records().values()} == {"done"}
