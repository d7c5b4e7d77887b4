"""Files: the old content or the new, never a part."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.errors import UserError
from benchmark.files import write_atomically


def test_writing_replaces_the_content_and_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_disk_that_is_full_leaves_the_old_content_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(UserError, match=r"file\.json: cannot be written \(File too large\)"):
            write_atomically(path, b"n" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_one_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "record.json", b"new")


def test_a_folder_that_cannot_be_written_is_told() -> None:
    path = Path("/proc/self/record.json")
    if not path.parent.is_dir():
        path = Path("/dev/record.json")
    with pytest.raises(UserError, match="cannot be written"):
        write_atomically(path, b"new")


def test_a_writer_killed_at_any_moment_leaves_one_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    code = (
        "import sys\nfrom pathlib import Path\nfrom benchmark.files import write_atomically\n"
        "print('ready', flush=True)\n"
        "while True:\n    for c in b'ab':\n        write_atomically(Path(sys.argv[1]), bytes([c]) * 200_000)\n"
    )
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            while not path.exists():
                pass
            seen = {path.read_bytes() for _ in range(200)}
            writer.kill()
        assert {*seen, path.read_bytes()} <= {b"a" * 200_000, b"b" * 200_000}
