"""The command line, one module per verb.

A verb imports what it needs when it runs.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import benchmark
from benchmark import environment
from benchmark.cli import compare, datasets, doctor, export, merge, output, plan, predict, report, run, status
from benchmark.errors import UserError
from benchmark.protocol import PROTOCOL_VERSION

BAD_COMMAND = 2
"""Exit code of a bad command, matrix, dataset or preflight."""

app = typer.Typer(
    help="Which way should a network pretrained on colour be given greyscale images? Measure it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("plan")(plan.plan)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("merge")(merge.merge)
app.command("compare")(compare.compare)
app.command("predict")(predict.predict)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.add_typer(datasets.app, name="datasets")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"greyscale-transfer-benchmark {benchmark.__version__}, protocol {PROTOCOL_VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run a command; a user's mistake becomes one message and exit code 2.

    Settings of libraries are removed from the environment (`environment.remove_settings`), and printing cannot fail
    (`output.make_unfailing`).
    """
    environment.remove_settings()
    output.make_unfailing()
    try:
        _require_unicode()
        try:
            app(prog_name="python -m benchmark")
        finally:
            output.raise_problem()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(BAD_COMMAND)


def _require_unicode() -> None:
    encoding = sys.getfilesystemencoding()
    if encoding.lower() not in ("utf-8", "utf8"):
        raise UserError(
            f"this system's locale reads file names as {encoding} instead of UTF-8, which would give images other ids, "
            "and so other splits. Set PYTHONUTF8=1."
        )
