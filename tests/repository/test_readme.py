from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmark.data.catalogue import CATALOGUE
from benchmark.execution.forecast import REFERENCE_RATES, run_times
from benchmark.matrix import file
from benchmark.matrix.expand import expand
from benchmark.matrix.input_modes import INPUT_MODES
from benchmark.matrix.policies import POLICIES
from benchmark.trained.export import render_readme

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "results" / "README.md").read_text(encoding="utf-8")
FOLDERS = ("experiments/studies", "results", "tests/performance")
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
DOCUMENTS = ("README.md", "CONTRIBUTING.md", *(f"{folder}/README.md" for folder in FOLDERS), *PAGES)
SECTIONS = dict(section.split("\n", 1) for section in RESULTS.split("\n## ")[1:])


def differences(text: str) -> set[str]:
    return set(re.findall(r"−?\d+\.\d ± \d+\.\d", text))


def report(matrix: str) -> str:
    return (ROOT / "results" / matrix / "report.md").read_text(encoding="utf-8")


def named_files(document: str) -> set[Path]:
    """Return what a document links to, and the paths and modules of this repository in its code."""
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"""(?:\]\(|src=")([^)#:"]+)[)#"]""", text)
    paths = re.findall(r"`((?:benchmark|docs|experiments|results|tests)/[\w./-]*)`", text)
    modules = re.findall(r"\b((?:experiments\.studies|tests\.performance)\.\w+)", text)
    commands = re.findall(r"`(\w+)(?: [^`]*)? --data-dir DIR`", text) if "performance" in document else []
    return {
        *((ROOT / document).parent / link for link in links),
        *(ROOT / path for path in paths),
        *(ROOT / f"{module.replace('.', '/')}.py" for module in modules),
        *(ROOT / "tests/performance" / f"{command}.py" for command in commands),
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_module_that_a_document_names_exists(document: str) -> None:
    named = named_files(document)
    assert named
    assert [str(path) for path in named if not path.exists()] == []


def text_of(page: str) -> str:
    return (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")


def test_the_readme_is_one_page() -> None:
    assert len(README.splitlines()) <= 120


def test_the_documentation_shows_the_ten_lines_that_an_export_is_loaded_by() -> None:
    reading = {"windows": {"16-bit": [0.0, 4095.0]}, "frames": "first"}
    shown = {"grey": None, "views": False, "colours": None, "channels": "", "resize": [8, 8], "centre_crop": None}
    preprocessing = {**reading, **shown, "mean": [0.5], "std": [0.5]}
    run = {"library": "timm", "architecture": "", "input_mode": "rgb", "policy": "", "run": "", "seed": 0}
    images = {"classes": ["a", "b"], "input_size": [3, 8, 8], "preprocessing": preprocessing}
    lines, *_ = re.findall(
        r"```python\n.*?```", render_readme({**run, **images, "changed_tensors": {}, "test_accuracy": 1}), re.S
    )
    assert lines in text_of("own-images")
    assert len(lines.splitlines()) <= 10 + 2


def test_each_difference_that_is_told_of_a_matrix_stands_in_its_report() -> None:
    for matrix, section in SECTIONS.items():
        told = differences(section)
        assert told, matrix
        assert told <= differences(report(matrix)), matrix


ANSWERS = (ROOT / "results" / "answers.md").read_text(encoding="utf-8")


def test_each_difference_that_is_told_of_a_question_stands_among_the_answers() -> None:
    for text in (README, RESULTS.split("\n## ")[0]):
        told = differences(text)
        assert told
        assert told <= differences(ANSWERS)


def test_the_verdicts_that_are_told_of_the_first_question_are_those_of_the_answers() -> None:
    (row,) = re.findall(r"\| three channels - one \| (\d+) \| \+?(\S+ ± \S+) \| \S+ \| ([^|]+?) \|", ANSWERS)
    sets, points, verdict = row
    word = {"inconclusive": "inconclusive", "equivalent": "equivalent within one point"}[verdict.split()[0].strip(":")]
    for text in (README, RESULTS.split("\n## ")[0]):
        assert re.search(rf"{re.escape(points)} (?:points apart|over nine test sets): {word}", " ".join(text.split()))
    assert sets == "9"


def test_the_table_of_the_readme_is_that_of_cpu() -> None:
    def cells(text: str) -> dict[tuple[str, str], list[str]]:
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
        return {(row[0], row[1]): row[2:] for row in rows if len(row) >= 5 and row[1] in INPUT_MODES}

    measured = cells(report("cpu").partition("## Test accuracy")[2].partition("Accuracy on the test split")[0])
    told = cells(README)
    assert told.keys() == measured.keys()
    for key, row in told.items():
        finetune, whole, _, scratch = (re.sub(r"^\**(\d+\.\d).*", r"\1", cell) for cell in measured[key])
        assert row == [finetune, whole, scratch]


@pytest.mark.parametrize("matrix", ["quick", "grey", "flowers", "stems", "size", "resolution"])
def test_each_accuracy_that_is_told_of_a_matrix_stands_in_its_report(matrix: str) -> None:
    told = set(re.findall(r"(?<![\d.,])(\d+\.\d)(?=(?: and \d+\.\d)? %)", SECTIONS[matrix]))
    assert told
    assert told <= set(re.findall(r"\| \**(\d+\.\d)(?= )", report(matrix)))


def test_the_training_losses_that_are_told_of_flowers_are_those_of_its_records() -> None:
    records = [json.loads(path.read_text()) for path in (ROOT / "results/flowers/records").glob("*.json")]
    whole = [record for record in records if record["spec"]["policy"] == "finetune-whole"]
    colour, grey = (
        sorted(
            f"{record['history'][-1]['train_loss']:.1f}"
            for record in whole
            if (record["spec"]["input_mode"] == "rgb") is is_colour
        )
        for is_colour in (True, False)
    )
    assert set(colour) == {"0.6"}
    assert f"a training loss of {colour[0]} in colour and {grey[0]} to {grey[-1]} in grey" in " ".join(
        SECTIONS["flowers"].split()
    )


def test_the_comparison_with_the_published_figures_of_breastmnist_stands_in_its_report() -> None:
    text = " ".join(SECTIONS["medmnist-breast"].split())
    rows = [[cell.strip() for cell in line.split("|")] for line in report("medmnist-breast").splitlines()]
    compared = {(row[4], *row[5:6], row[7], row[8], row[9]) for row in rows if len(row) > 12 and row[2] == "grey-3ch"}
    assert compared == {
        ("ROC AUC, %", "87.4 ± 1.2", "90.1", "+2.7", "± 2.2"),
        ("test accuracy, %", "80.6 ± 0.8", "85.8", "+5.2", "± 0.6"),
        ("ROC AUC, %", "90.1", "90.1", "0.0", "± 2.2"),
        ("test accuracy, %", "86.3", "85.8", "−0.5", "± 0.6"),
    }
    for words in (
        "85.8 % test accuracy and 90.1 % ROC AUC, its own are 86.3 and 90.1",
        "(−0.5 and 0.0 points) are within what other seeds alone make of three runs (± 0.6 and ± 2.2)",
        '80.6 % "outside its tolerance" is outside ours too, by 5.2 points of accuracy (± 0.6) and 2.7 of ROC AUC',
    ):
        assert words in text


def test_the_epoch_that_few_validation_images_chose_on_beans_is_that_of_the_records() -> None:
    records = [json.loads(path.read_text()) for path in (ROOT / "results/cpu/records").glob("*.json")]
    runs = {
        (record["spec"]["input_mode"], record["spec"]["seed"]): record
        for record in records
        if (record["spec"]["dataset"], record["spec"]["policy"]) == ("beans", "finetune-whole")
    }
    grey = [100 * run["test"]["accuracy"] for (mode, _), run in runs.items() if mode != "rgb"]
    text = " ".join(SECTIONS["cpu"].split())
    assert f"from {min(grey):.1f} to {max(grey):.1f} %" in text
    both = [runs[mode, 1] for mode in ("grey-3ch", "grey-1ch")]
    assert [run["best_epoch"] for run in both] == [1, 1]
    validation, test, last = (
        " and ".join(f"{100 * share:.1f}" for share in shares)
        for shares in (
            [run["validation"]["accuracy"] for run in both],
            [run["test"]["accuracy"] for run in both],
            [run["last_epoch_test_accuracy"] for run in both],
        )
    )
    assert f"({validation} %, on test {test} %), and after the last one it has {last} %" in text


def test_each_committed_matrix_has_its_section() -> None:
    assert set(SECTIONS) == {path.parent.name for path in (ROOT / "results").glob("*/report.md")}


def test_the_forecast_of_the_full_matrix_follows_from_the_published_rates_it_names() -> None:
    text = " ".join(text_of("running").split())
    told = re.search(r"\*\*(\d\.\d) hours\*\*.* ([\d,]+) images per second at 160 px.* ([\d,]+) at 224 px", text)
    assert told
    assert f"{told[1]} hours" in README
    (rate,) = [rate for rate in REFERENCE_RATES if rate.device == "gpu"]
    assert (f"{rate.train:,.0f}", f"{rate.evaluate:,.0f}", rate.size) == (told[2], told[3], (160, 224))
    runs = expand(file.load(file.find("full")))
    seconds = [found.seconds for found in run_times(runs, [], "gpu").values()]
    assert len(seconds) == 81
    assert f"{sum(seconds) / 3600:.1f}" == told[1]


def test_each_page_is_in_the_navigation_of_the_site() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    named = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    assert set(PAGES) <= set(named)
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_coverage_that_the_statistics_state_is_the_simulated_one() -> None:
    simulated = (ROOT / "experiments/studies/interval_coverage.md").read_text(encoding="utf-8")
    (section,) = re.findall(r"## How often it holds the truth\n(.*)", text_of("statistics"), re.DOTALL)
    rows = re.findall(r"^\| (.+) \| (\S+) % \| (\S+) % \| (\S+) % \|$", section, re.MULTILINE)
    assert len(rows) == 4
    for world, differences, narrowest, cells in rows:
        (line,) = [line for line in simulated.splitlines() if line.startswith("- Accuracy") and world in line]
        assert re.findall(r"(?:covered in|fifth in|cells in) (\S+) %", line) == [differences, narrowest, cells]
    (wrong,) = re.findall(r"at most (\S+) % of the simulated reports", section)
    assert f"A wrong verdict is in at most {wrong} % of reports" in simulated


def test_each_trap_names_a_test_that_exists_and_each_remedy_of_a_library_is_listed() -> None:
    traps = text_of("traps")
    named = set(re.findall(r"`(test_\w+)`", traps))
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert named <= defined
    remedies = (ROOT / "tests/repository/remedies.py").read_text(encoding="utf-8")
    entries = re.findall(r'@without\(\s*"([^"]+)",\s*"(test_\w+)', remedies)
    of_libraries = {
        test for trap, test in entries if re.match(r"\d|timm|tifffile|Pillow|bf16|features|variables", trap)
    }
    assert len(of_libraries) > 25
    assert of_libraries <= named


def test_the_page_of_the_matrices_lists_each_with_its_number_of_runs() -> None:
    listed = dict(re.findall(r"^\| `([\w-]+)` \| (\d+) \|", text_of("matrices"), re.MULTILINE))
    assert {*listed, "lr", "folder"} == set(file.shipped_matrices())
    assert {name: len(expand(file.load(file.find(name)))) for name in listed} == {
        name: int(runs) for name, runs in listed.items()
    }


def test_the_page_of_the_matrices_lists_every_dataset_input_mode_and_policy() -> None:
    named = set(re.findall(r"`([\w-]+)`", text_of("matrices")))
    sizes = {f"{name}{size}" for name in named for size in ("-64", "-128", "-224") if name.endswith("mnist")}
    assert {*CATALOGUE, *INPUT_MODES, *POLICIES} <= named | sizes
