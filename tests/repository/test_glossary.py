"""The project's English: words that read as translated, and what to write instead.

Docstrings, messages, labels and help texts of the package are checked, in other words every string in it, the names of
its functions, classes, parameters and variables, and the pages of the documentation.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "benchmark"

_THINGS = (
    r"(?:images?|seconds?|bits?|bytes?|samples|MB|runs?|lines?|rows?|files?|folders?|entry|entries|column|texts?"
    r"|numbers?|row)"
)
_UNITS = (
    r"(?:second|run|class|split|image|line|epoch|fold|dataset|verb|matrix|cell|column|step|batch|stage|file|sample"
    r"|pixel)"
)

GLOSSARY = {
    r"\bbeside\b": "next to, in addition to, in another process",
    r"\banew\b": "from scratch, again",
    r"(?<!would )(?<!seeds )\b(?:told|tells?|telling)\b": "report, raise, print, say",  # "about 12 seeds would tell"
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bcould not (?:tell|be told)\b": "inconclusive",
    r"\bst(?:ands?|ood)\b(?! for)": "is, exists, is listed",
    r"\bgo(?:es|ing)? on\b": "resume, continue",
    r"\bthere (?:is|are) none\b": "missing, or say what is missing",
    r"\bto be had\b": "available",
    r"(?:^|[\s;,.(])None: ": "or None if ...",
    rf"\b{_THINGS} an? {_UNITS}\b": "per",
    r"(?<!-)\bwhole\b(?! (?:number|network|groups))": "complete, entire, valid",
    r"\bparted\b": "split",
    r"\bshall\b": "must, should",
    r"(?<![Tt]here )\b(?:is|are|was|were) no (?!longer\b|more\b|such\b|fewer\b|less\b|other\b|need\b)\w+": "is not a",
    r"\bflatters?\b": "is biased",
    r"\bca(?:me|n come) about\b": "was made, was measured",
    r"\bwithout a word\b": "without a message",
    r"\bfrom now on\b": "say since when",
    r"\btwice over\b|\bthere twice\b": "duplicate",
    r"\bby the way\b": "leave it out",
    r"\bha(?:s|ve) not(?=[.,;:)])": "does not have",
    r"\bOf several\b": "if there are several",
    r"\bnobody publishes\b": "not published",
    r"\btak(?:e|es|ing) (?:\S+ )?away\b": "remove",
    r"\bholds (?:no|another)\b": "contains",
    r"\bwhereof\b|\bthereof\b|\bwherein\b|\btherein\b": "of which, of it, in which, in it",
    r"\bin the place of\b": "instead of, in place of",
    r"\bkept features\b": "cached features",
    r"\bone to a reader\b": "look the same",
    r"(?m)^ *\w+: of (?:the|an?|its|their|each|all|this)\b": "a noun first: `limit: limit of the ...`",
}
"""Expression -> better words."""

NAMES = {
    **dict.fromkeys(("told", "tell", "tells", "telling"), "report, print, informative"),
    **dict.fromkeys(("beside", "besides"), "next_to, overhead"),
    "anew": "again",
    "parted": "split",
    "mend": "fix",
    "whence": "origin",
    "whereof": "of_which",
}
"""Word of a name -> better words."""

OPENING = re.compile(r"(?:What|Which|How|Who|Where|Of|That|As)\b")
"""A docstring's first word, where it is neither a noun nor an imperative."""


def _strings(path: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield the line, the text and whether it is a docstring, for every string of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in docstrings


def _names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of every function, class, parameter and variable that a file defines."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name


def _problems(path: Path) -> list[str]:
    """Return one line per expression of the glossary in the strings of a file, and per word of `NAMES` in its names."""
    found = [
        f"line {line}: the name {name!r}: {NAMES[word]}"
        for line, name in _names(path)
        for word in re.findall(r"[a-z]+", re.sub(r"([A-Z])", r"_\1", name).lower())
        if word in NAMES
    ]
    for line, text, is_docstring in _strings(path):
        for expression, better in GLOSSARY.items():
            found += [f"line {line}: {match.group().strip()!r}: {better}" for match in re.finditer(expression, text)]
        if is_docstring and (match := OPENING.match(text)):
            found.append(f"line {line}: opens with {match.group()!r}: a noun phrase or an imperative")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_is_written_in_english_that_nobody_notices(path: Path) -> None:
    problems = _problems(path)
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('"""Errors, told in one message."""', "line 1: 'told': report, raise, print, say"),
        ('print("its weights, which the model has not.")', "line 1: 'has not': does not have"),
        ('"""What a run has reached."""', "line 1: opens with 'What': a noun phrase or an imperative"),
        ('"""Test.\n\ndesign: of the test."""', "line 1: 'design: of the': a noun first: `limit: limit of the ...`"),
        ("told = 1", "line 1: the name 'told': report, print, informative"),
        ("class Values:\n    def would_tell(self): ...", "line 2: the name 'would_tell': report, print, informative"),
        ("def draw(pool, *, whence): ...", "line 1: the name 'whence': origin"),
        ('"""There is no tag, and it would tell."""', None),
    ],
)
def test_a_planted_word_is_found_with_its_line_and_a_better_one(
    source: str, problem: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert _problems(path) == ([] if problem is None else [problem])


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_so_is_a_page_of_the_documentation(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").split())
    found = [
        f"{text[max(0, match.start() - 30) : match.end() + 30]!r}: {better}"
        for expression, better in GLOSSARY.items()
        for match in re.finditer(expression, text)
    ]
    assert not found, "\n".join(found)
