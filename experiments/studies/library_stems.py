"""What libraries make of a pretrained first convolution if they are asked for one channel, against our input modes.

``python -m experiments.studies.library_stems`` writes ``experiments/studies/library_stems.md``. It installs the
libraries in an environment of their own in the cache folder (about 7 GB), calls each one's loading code there
(`library_rules.py`) with made-up checkpoints, and compares what it gives with `benchmark.networks.stems.adapt_stem`.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor

from benchmark.locations import cache_directory
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.networks.stems import adapt_stem

HERE = Path(__file__).resolve().parent
TARGET = HERE / "library_stems.md"
COMMON = ("torch==2.14.1", "torchvision==0.29.1", "numpy<3", "setuptools<81", "wheel")
SUMS = ("grey-1ch", "grey-1ch-mean", "grey-1ch-red", "grey-1ch-luma")
"""Modes whose stem is computed from the pretrained one."""

Cases = Mapping[tuple[bool, int], Mapping[str, Any]]
"""By (whether sums of the weights are exact in float32, seed), what `library_rules` saved."""


@dataclass(frozen=True)
class Library:
    """A version of a library, what it is said to do, and where.

    Attributes:
        name, version: on PyPI.
        versions: all that do the same, in words.
        licence: of the library.
        rule: in words.
        mode: ours that does the same, or None if the library does nothing.
        where: the function that was called or read.
    """

    name: str
    version: str
    versions: str
    licence: str
    rule: str
    mode: str | None
    where: str


_ULTRALYTICS = "`ClassificationModel(ch=1).load(...)`; `ultralytics.nn.tasks.BaseModel.load`"
LIBRARIES = (
    Library(
        "timm",
        "1.0.31",
        "",
        "Apache-2.0",
        "the sum of the three channels",
        "grey-1ch",
        "`create_model(..., pretrained=True, in_chans=1)`; `timm.models._manipulate.adapt_input_conv`",
    ),
    Library(
        "fastai",
        "2.8.12",
        "",
        "Apache-2.0",
        "the sum of the three channels",
        "grey-1ch",
        "`create_body(..., n_in=1, pretrained=True)`; `fastai.vision.learner._load_pretrained_weights`",
    ),
    Library(
        "segmentation-models-pytorch",
        "0.6.0",
        "",
        "MIT",
        "the sum of the three channels",
        "grey-1ch",
        "`encoder.set_in_channels(1, pretrained=True)`; `segmentation_models_pytorch.encoders._utils.patch_first_conv`",
    ),
    Library(
        "ultralytics",
        "8.4.190",
        "from 8.4.175 on",
        "AGPL-3.0",
        "the sum of the three channels",
        "grey-1ch",
        _ULTRALYTICS,
    ),
    Library(
        "ultralytics",
        "8.4.174",
        "8.3.132 to 8.4.174",
        "AGPL-3.0",
        "the red channel alone, unscaled",
        "grey-1ch-red",
        _ULTRALYTICS,
    ),
    Library(
        "ultralytics",
        "8.3.131",
        "8.3.0 to 8.3.131",
        "AGPL-3.0",
        "random, without a word",
        "grey-1ch-random-stem",
        _ULTRALYTICS,
    ),
    Library(
        "efficientnet-pytorch",
        "0.7.1",
        "",
        "Apache-2.0",
        "random, drawn anew at each load, without a word",
        "grey-1ch-random-stem",
        "`EfficientNet.from_pretrained(..., in_channels=1)`; `EfficientNet._change_in_channels`",
    ),
    Library(
        "transformers",
        "5.18.0",
        "",
        "Apache-2.0",
        "refused; with `ignore_mismatched_sizes=True` random, with a warning",
        "grey-1ch-random-stem",
        "`ViTForImageClassification.from_pretrained(..., num_channels=1)`",
    ),
    Library(
        "torchvision",
        "0.29.1",
        "",
        "BSD-3-Clause",
        "none: no argument for it, and weights of three channels do not load into one",
        None,
        "`resnet18`, with another `conv1`, and `load_state_dict`",
    ),
)


def prepare() -> Path:
    """Return the folder of the libraries' environment, which is made if it has not these versions.

    Older versions of a library lie in folders of their own in it, ``NAME-VERSION``.
    """
    folder = cache_directory() / "library-stems"
    newest = {library.name: library.version for library in reversed(LIBRARIES)}
    wanted = [*COMMON, *(f"{name}=={version}" for name, version in newest.items() if name != "torchvision")]
    marker, python = folder / "installed.txt", _python(folder)
    if not marker.is_file() or marker.read_text(encoding="utf-8").split("\n") != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, *COMMON], check=True)
        subprocess.run([*install, "--no-build-isolation", *wanted], check=True)
        marker.write_text("\n".join(wanted), encoding="utf-8")
    for library in LIBRARIES:
        if library.version != newest[library.name] and not (aside := _aside(folder, library)).is_dir():
            install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
            subprocess.run([*install, "--target", str(aside), f"{library.name}=={library.version}"], check=True)
    return folder


def _python(folder: Path) -> str:
    return str(folder / "bin" / "python")


def _aside(folder: Path, library: Library) -> Path:
    return folder / f"{library.name}-{library.version}"


def observe(environment: Path, library: Library) -> Cases:
    """Return what a library did, in a process of its own."""
    aside = _aside(environment, library)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cases.pt"
        command = [_python(environment), "-I", str(HERE / "library_rules.py"), library.name, str(target)]
        variables = {"PATH": "/usr/bin:/bin", "HOME": folder, "HF_HUB_OFFLINE": "1", "YOLO_OFFLINE": "true"}
        command += [str(aside)] if aside.is_dir() else []
        subprocess.run(command, check=True, cwd=folder, env=variables, stdout=subprocess.DEVNULL)
        cases: Cases = torch.load(target, weights_only=True)
    return cases


def ours(before: Tensor, mode: str) -> Tensor:
    """Return our stem; the means and stds do not enter the modes of `SUMS`."""
    return adapt_stem(before, INPUT_MODES[mode].stem, (0.5,) * 3, (0.5,) * 3)


def rule_found(cases: Cases) -> tuple[str | None, str]:
    """Return the mode of ours that a library's stem is, bit for bit, and what was seen, in words.

    Raises:
        ValueError: it is none of them.
    """
    if all("after" not in case for case in cases.values()):
        return None, f"it refuses: {next(iter(cases.values()))['refused']}"
    exact = [case for (is_exact, _), case in cases.items() if is_exact]
    usual = [case for (is_exact, _), case in cases.items() if not is_exact]
    for mode in SUMS:
        if all(torch.equal(case["after"], ours(case["before"], mode)) for case in exact):
            pairs = [(case["after"], ours(case["before"], mode)) for case in usual]
            if all(torch.equal(*pair) for pair in pairs):
                return mode, "bit for bit"
            off = torch.cat([(a != b).flatten() for a, b in pairs]).double().mean().item()
            scale = torch.cat([case["before"].abs().sum(dim=1).flatten() for case in usual])
            worst = (torch.cat([(a - b).abs().flatten() for a, b in pairs]) / scale).max().item()
            return mode, (
                "bit for bit, where the sums are exact in float32; it sums in float32 and we in float64, so that "
                f"{100 * off:.0f} % of other weights differ in the last bit (by at most {worst:.0e} of the channels)"
            )
    first, second = exact
    if torch.equal(first["after"], second["after"]):
        raise ValueError("neither one of our modes nor random")
    if not all(torch.equal(case["after"], case["fresh"]) for case in cases.values()):
        raise ValueError("random, but not as the layer is initialised")
    refused = f"; without that argument: {first['refused']}" if first.get("refused") else ""
    return "grey-1ch-random-stem", f"bit for bit the layer's own initialisation, another with each seed{refused}"


HEADER = """\
# What libraries do with a pretrained first convolution if they are asked for one channel

Made by `python -m experiments.studies.library_stems`, which installs each library at the version below, gives its own
loading code a made-up checkpoint of three channels and asks for one. *Verified* compares the weights that it then has
with those of our input mode. Where Ultralytics' rule changes was found by reading `load` in releases, halving the
distance. What each rule costs in accuracy is for the matrix `stems` to measure; `grey-1ch-mean` and `grey-1ch-luma`,
which tutorials show, are none of these libraries'.

"""
FOOTER = f"""

Checkpoints are made up, since no rule looks at what the weights are: of multiples of 2^-10, whose sums are exact, and
of normal random numbers; each with two seeds. Python {sys.version_info.major}.{sys.version_info.minor}, {COMMON[0]}.
None of the libraries but timm and torchvision is a dependency of this project.
"""


def main() -> None:
    """Install, observe, compare, and write the table.

    Raises:
        ValueError: a library does not do what the table says.
    """
    environment = prepare()
    rows = []
    for library in LIBRARIES:
        title = f"{library.name} {library.version}"
        mode, seen = rule_found(observe(environment, library))
        sys.stdout.write(f"{title}: {mode}: {seen}\n")
        if mode != library.mode:
            raise ValueError(f"{title} does {mode}, not {library.mode}: {seen}")
        ours_is = f"`{mode}`" if mode else "none"
        title += f" ({library.versions})" if library.versions else ""
        rows.append([title, library.licence, library.rule, ours_is, seen, library.where])
    headers = ["library", "licence", "one channel becomes", "our mode", "verified", "called; the rule is in"]
    TARGET.write_text(HEADER + tabulate(rows, headers, tablefmt="github") + FOOTER, encoding="utf-8")


if __name__ == "__main__":
    main()
