"""A test skipped on a build server fails the session; elsewhere it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

IMPORT = "import pytest\n\npytest.importorskip('a_library_that_is_not_there')\n\ndef test_it():\n    pass\n"
SKIP = (
    "import pytest\n\n@pytest.mark.skipif(True, reason='no')\ndef test_it():\n    pass\n\ndef test_other():\n    pass\n"
)
GPU = (
    "import pytest\nimport torch\n\n@pytest.mark.gpu\ndef test_it():\n    assert torch.cuda.is_available()\n\n"
    "def test_other():\n    pass\n"
)
XFAIL = "import pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert False\n"
PASS = "def test_other():\n    pass\n"


def run(folder: Path, text: str, ci: str, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(Path(__file__).parents[1].joinpath("conftest.py").read_text(encoding="utf-8"))
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = gpu: needs one\n")
    (folder / "test_skip.py").write_text(text)
    (folder / "test_passing.py").write_text(PASS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("options", [(), ("-p", "xdist.plugin", "-n", "2")], ids=["one process", "as .ci/run"])
@pytest.mark.parametrize("text", [IMPORT, SKIP], ids=["import", "skipif"])
def test_a_skip_fails_the_session_on_a_build_server_only(tmp_path: Path, text: str, options: tuple[str, ...]) -> None:
    on_ci = run(tmp_path, text, "true", *options)
    assert on_ci.returncode == 1, on_ci.stdout
    assert "SKIPPED ON CI, counted as failed: test_skip.py" in on_ci.stdout
    assert run(tmp_path, text, "").returncode == 0


@pytest.mark.parametrize("text", [GPU, XFAIL, PASS], ids=["gpu", "xfail", "no skip"])
def test_tests_of_a_missing_gpu_are_left_out_and_an_expected_failure_is_accepted(tmp_path: Path, text: str) -> None:
    on_ci = run(tmp_path, text, "true")
    assert on_ci.returncode == 0, on_ci.stdout
