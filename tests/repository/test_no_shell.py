"""Nothing that is read can run: no shell, no unpickling, no unsafe YAML, anywhere in the package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "benchmark"
FORBIDDEN = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "eval", "exec", "marshal.loads"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "joblib.load", "torch.hub.load"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "pandas.read_pickle", "pd.read_pickle"),
}


def dangers(source: str) -> Iterator[str]:
    """Yield the calls in a source text by which data could be executed (an ``exec`` of a literal cannot)."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if name in FORBIDDEN and not (name == "exec" and isinstance(node.args[0], ast.Constant)):
            yield name
        if "shell" in keywords and ast.unparse(keywords["shell"]) != "False":
            yield f"{name} with a shell"
        if name == "torch.load" and ast.unparse(keywords.get("weights_only", ast.Constant(None))) != "True":
            yield "torch.load of more than weights"
        if ast.unparse(keywords.get("allow_pickle", ast.Constant(False))) != "False":
            yield f"{name} that unpickles"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_can_execute_what_it_reads(path: Path) -> None:
    assert list(dangers(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "os.system('x')",
        "subprocess.run(x, shell=True)",
        "subprocess.Popen(x, shell=wanted)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "yaml.load(text, Loader=yaml.Loader)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
        "exec(text)",
    ],
)
def test_the_look_finds_each_danger(source: str) -> None:
    assert len(list(dangers(source))) == 1


def test_safe_calls_are_left_alone() -> None:
    source = "torch.load(p, weights_only=True); yaml.safe_load(t); network.eval(); subprocess.run(['git'], check=True)"
    assert list(dangers(f"{source}; exec('')")) == []
