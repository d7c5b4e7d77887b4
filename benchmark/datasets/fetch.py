"""One file over HTTP: sources in order, a broken download resumed, the hash verified before anybody sees the file.

The hub's files are fetched by its client. pooch hashes files, but does not download: it cannot resume, and takes one
source. torchvision's `OxfordIIITPet` and `Flowers102` do not either: they take one address each and
unpack into the final folder. `OxfordIIITPet` then asks only whether its two folders exist, so that a process killed
while it unpacks the annotations leaves what passes for a whole dataset; `Flowers102` starts again. Their addresses
and their MD5 sums (or SHA-256, where published) are in the catalogue.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pooch
import requests
import urllib3

from benchmark.datasets.catalogue import Download
from benchmark.datasets.hub import SCHEME, HubFailed, fetch_from_hub
from benchmark.datasets.parallel import Progress

ATTEMPTS = 4
"""Per source, as long as each brings the file forward or the connection breaks."""

TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and to wait for the next bytes."""

_CHUNK = 1 << 18

log = logging.getLogger(__name__)


class NotFetched(Exception):
    """No source gave the file; the message has one line a source."""


class _SourceFailed(Exception):
    pass


def fetch(download: Download, target: Path, progress: Progress | None = None) -> Path:
    """Return ``target``, downloaded where it is not there yet; its hash is verified either way.

    The part that has arrived stays in ``<target>.part``, and the next attempt, in this process or a later one, asks the
    server for the rest. A file with the wrong hash is removed. Where a source fails and another is left, a warning is
    logged at that moment, one line; where nobody set up logging, Python writes it to the error stream.

    Args:
        download: where the file is, and its hash.
        target: where it goes; its folder exists.
        progress: called with (what is being done, bytes done, bytes in all).

    Raises:
        NotFetched: no source gave the file.
        OSError: it cannot be written.
    """
    if target.exists():
        if _matches(target, download.hash):
            return target
        target.unlink()
    reasons = []
    for url, following in zip(download.urls, (*download.urls[1:], None), strict=True):
        try:
            part = _from_source(url, target, progress)
            if not _matches(part, download.hash):
                part.unlink()
                raise _SourceFailed(f"the file does not have the expected hash {download.hash}")
        except _SourceFailed as error:
            reasons.append(f"{url}: {error}")
            if following is not None:
                log.warning("%s: %s: %s; trying %s", download.file, url, error, following)
            continue
        part.replace(target)
        return target
    raise NotFetched("\n".join(reasons))


def _matches(path: Path, expected: str | None) -> bool:
    if expected is None:
        return True
    algorithm, _, digest = expected.partition(":")
    return bool(pooch.file_hash(str(path), alg=algorithm) == digest)


def _from_source(url: str, target: Path, progress: Progress | None) -> Path:
    part = target.with_name(f"{target.name}.part")
    if url.startswith(SCHEME):
        try:
            fetch_from_hub(url, part, progress)
        except HubFailed as error:
            raise _SourceFailed(str(error)) from None
        return part
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(min(0.2 * 4**attempt, 5.0))
        try:
            if _transfer(url, part, progress):
                return part
            reason = "the connection was cut before the file's end"
        except (requests.ConnectionError, requests.Timeout) as error:
            reason = f"no connection ({type(error).__name__})"
            if not part.exists():
                break
        except requests.RequestException as error:
            reason = f"{type(error).__name__}: {error}"
    raise _SourceFailed(reason)


def _transfer(url: str, part: Path, progress: Progress | None) -> bool:
    """Get what is missing of a file; return whether it is whole."""
    have = part.stat().st_size if part.exists() else 0
    asked = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(url, headers=asked, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == 416:  # nothing is left to send, or the file is another one by now
            if response.headers.get("Content-Range", "") == f"bytes */{have}":
                return True
            part.unlink()
            return False
        if response.status_code not in (200, 206):
            raise _SourceFailed(f"the server answers {response.status_code} {response.reason}")
        resumed = response.status_code == 206
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _SourceFailed("the server sends another part of the file than it was asked for")
        start = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        done = start
        with part.open("ab" if resumed else "wb") as file:
            # Without this a read that the end of the connection cuts short would raise, and lose what had arrived.
            response.raw.enforce_content_length = False
            try:
                while block := response.raw.read(_CHUNK):
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(f"downloading {part.name.removesuffix('.part')}", done, total or done)
            except urllib3.exceptions.HTTPError:
                return False
        return total is None or done == total
