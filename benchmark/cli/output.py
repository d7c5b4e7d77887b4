"""Standard output and error, which no character and no reader that has gone can turn into a failure of a command."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

from benchmark.errors import UserError


class _Raw(io.FileIO):
    """A file descriptor that takes everything; what cannot be written is lost, and `problem` is the reason."""

    problem: OSError | None = None

    def write(self, content: Any) -> int:
        if self.problem is None:
            try:
                return super().write(content) or 0
            except OSError as error:
                self.problem = error
        return memoryview(content).nbytes


def make_unfailing() -> None:
    """Let standard output and error take every text from now on, in every encoding; call `raise_problem` at the end.

    A character that the encoding lacks is escaped. A command goes on without a reader: its results are files.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed when this process was started
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w"), "utf-8"))
        elif stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.flush()
            raw = io.BufferedWriter(_Raw(stream.fileno(), "w", closefd=False))
            text = io.TextIOWrapper(raw, stream.encoding, "backslashreplace", line_buffering=True)
            setattr(sys, name, text)


def raise_problem() -> None:
    """Raise why something that was printed is lost, unless its reader has gone.

    Raises:
        UserError: the disk of the file is full, for example.
    """
    sys.stdout.flush()
    problem = getattr(getattr(sys.stdout.buffer, "raw", None), "problem", None)
    if problem is not None and problem.errno != errno.EPIPE:
        raise UserError(f"standard output: cannot be written ({problem.strerror}); what was printed is not complete.")
