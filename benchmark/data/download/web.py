"""One file over HTTP: sources in order, a broken download resumed, the hash verified before the file gets its name.

The hub's files are fetched by its client. pooch hashes files, but does not download: it cannot resume, and takes one
source; so do torchvision's `OxfordIIITPet` and `Flowers102`, which also unpack in place: after a kill, a part of
`OxfordIIITPet` passes for the complete dataset.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path

import pooch
import requests
from urllib3.exceptions import HTTPError

from benchmark.data.catalogue import Download
from benchmark.data.decoding.pool import Progress

ATTEMPTS = 4
"""Attempts per source that has delivered a part of the file; a source that delivers nothing is tried once."""

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for the next bytes."""

SCHEME = "hf://datasets/"
"""Start of the address of such a file; ``owner/name/path/in/the/repository`` follows."""

_CHUNK = 1 << 16  # bytes that a broken connection may lose

log = logging.getLogger(__name__)


class SourceFailed(Exception):
    """A source failed to deliver the file; the message is one line."""


class NotFetched(Exception):
    """No source delivered the file; the message has one line per source."""


def fetch(download: Download, target: Path, progress: Progress | None = None) -> Path:
    """Return ``target``, downloaded if it is missing; its hash is verified either way.

    The part that has arrived stays in ``<target>.part``, and the next attempt, in this process or a later one, asks the
    server for the rest. A file with the wrong hash is removed. A source that fails while another is left is logged at
    once, as a warning of one line; without a logging setup, Python writes it to the error stream.

    Args:
        download: the file's addresses and its hash.
        target: the file to write; its folder exists.
        progress: called with (what is being done, bytes done, bytes in all).

    Raises:
        NotFetched: no source delivered the file.
        OSError: the file cannot be written.
    """
    if target.exists():
        if matches(target, download.hash):
            return target
        target.unlink()
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url, following in zip(download.urls, (*download.urls[1:], None), strict=True):
        try:
            (_fetch_from_hub if url.startswith(SCHEME) else _fetch_from_web)(url, part, progress)
            if matches(part, download.hash):
                return part.replace(target)
            part.unlink()
            raise SourceFailed(f"the file does not have the expected hash {download.hash}")
        except SourceFailed as error:
            reasons.append(f"{url}: {error}")
            if following is not None:
                log.warning("%s: %s: %s; trying %s", download.file, url, error, following)
    raise NotFetched("\n".join(reasons))


def matches(path: Path, expected: str | None) -> bool:
    """Return whether a file has a hash, written as in `Download.hash`; always if none is known."""
    if expected is None:
        return True
    algorithm, _, digest = expected.partition(":")
    return bool(pooch.file_hash(str(path), alg=algorithm) == digest)


def _fetch_from_web(url: str, part: Path, progress: Progress | None) -> None:
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(min(0.2 * 4**attempt, 5.0))
        try:
            _transfer(url, part, progress)
            return
        except (requests.RequestException, HTTPError) as error:
            if not part.exists():
                raise SourceFailed(f"no connection ({type(error).__name__})") from None
            reason = f"the connection was cut before the file's end ({type(error).__name__})"
    raise SourceFailed(reason)


def _transfer(url: str, part: Path, progress: Progress | None) -> None:
    """Append the missing bytes of a file.

    Raises:
        SourceFailed: the server refuses.
        requests.RequestException, urllib3.exceptions.HTTPError: the connection failed; what arrived is kept.
    """
    done = part.stat().st_size if part.exists() else 0
    asked = {"Accept-Encoding": "identity", **({"Range": f"bytes={done}-"} if done else {})}
    with requests.get(url, headers=asked, stream=True, timeout=TIMEOUT) as response:
        sent = response.headers.get("Content-Range", "")
        if response.status_code == 416 and done:
            if sent != f"bytes */{done}":  # not the end of this file: the server has another one
                part.unlink()
                _transfer(url, part, progress)
            return
        if response.status_code not in (200, 206):
            raise SourceFailed(f"the server answers {response.status_code} {response.reason}")
        if response.status_code == 200:
            done = 0
        elif not sent.startswith(f"bytes {done}-"):
            raise SourceFailed("the server sends another part of the file than it was asked for")
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if done else "wb") as file:
            # not `iter_content`, which decodes: some servers call the compression of a .tar.gz file an encoding
            for block in response.raw.stream(_CHUNK, decode_content=False):
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(f"downloading {part.name.removesuffix('.part')}", done, total or done)
    if total not in (None, done):
        raise requests.ConnectionError(f"{done} of {total} bytes")


def _fetch_from_hub(address: str, target: Path, progress: Progress | None) -> None:
    """Download a file of the dataset's main branch; ``HF_ENDPOINT`` names another hub.

    The client resumes a broken connection, but keeps nothing for a later process. It shows its own progress bar. No
    token is sent. Its Xet protocol is switched off for this process: with a storage server out of reach it retries for
    more than three minutes, and its errors are bare RuntimeErrors.

    Args:
        address: ``hf://datasets/owner/name/path``.
        target: the file to write; an existing one is replaced.
        progress: called at the end with (what was done, bytes, bytes).

    Raises:
        SourceFailed: the hub cannot be reached or does not have the file, or the download broke for good.
        OSError: the file cannot be written.
    """
    import httpx2
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url

    constants.HF_HUB_DISABLE_XET = True
    owner, name, path = address.removeprefix(SCHEME).split("/", 2)
    repository = f"{owner}/{name}"
    folder = target.with_name(f"{target.name}.hub")
    try:
        # Asked first, because the download itself would retry an unreachable hub for most of a minute.
        get_hf_file_metadata(hf_hub_url(repository, path, repo_type="dataset"), timeout=TIMEOUT[0], token=False)
        Path(hf_hub_download(repository, path, repo_type="dataset", local_dir=folder, token=False)).replace(target)
    except (httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's: the client's own have no number
            raise
        raise SourceFailed(explain_hub_error(error)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if progress is not None:
        size = target.stat().st_size
        progress(f"downloading {path.rsplit('/', 1)[-1]}", size, size)


def explain_hub_error(error: Exception) -> str:
    """Return one line; the client's own messages have several, and their first may be `Bad request:`."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        answer = error.response
        return f"the server answers {answer.status_code} {answer.reason_phrase} ({type(error).__name__})"
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
