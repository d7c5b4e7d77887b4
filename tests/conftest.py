"""On a build server (``CI=true``) a skipped test is a failed one: what a test needs is installed there.

Tests marked ``gpu`` are left out where there is no CUDA device, not skipped; expected failures are no skips. What tests
decode or compute goes to a cache folder of their own, unless BENCHMARK_CACHE_DIR names one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from pathlib import Path

import pytest

from benchmark import environment


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache folder for decoded images and features."""
    return tmp_path_factory.mktemp("cache")


class NoSkips:
    """Collects skipped tests and modules, and fails the session for them."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.skipped.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self.skipped:
            terminalreporter.write_line(f"SKIPPED ON CI, counted as failed: {line}", red=True)


def pytest_configure(config: pytest.Config) -> None:
    if "BENCHMARK_CACHE_DIR" not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="benchmark-tests-")
        os.environ["BENCHMARK_CACHE_DIR"] = folder.name
        config.add_cleanup(folder.cleanup)
    settings = contextlib.ExitStack()
    settings.enter_context(environment.without_settings())  # of the machine, which commands would name
    config.add_cleanup(settings.close)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job, whose programs would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("CI") == "true":
        config.pluginmanager.register(NoSkips(), "no-skips")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests out that take minutes, unless asked for by ``-m stress``, and those of a GPU where there is none."""
    left_out = {"stress"} if "stress" not in (config.option.markexpr or "") else set()
    if any(item.get_closest_marker("gpu") for item in items) and not _has_gpu():
        left_out.add("gpu")
    kept = [item for item in items if not any(item.get_closest_marker(name) for name in left_out)]
    if len(kept) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def _has_gpu() -> bool:
    import torch  # only where tests of a GPU are collected: it takes seconds

    return torch.cuda.is_available()
