"""One file of a dataset on the Hugging Face hub, fetched by the hub's own client."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmark.data.decoding.pool import Progress

SCHEME = "hf://datasets/"
"""Start of the address of such a file; ``owner/name/path/in/the/repository`` follows."""

_TIMEOUT = 10.0  # seconds


class SourceFailed(Exception):
    """A source failed to deliver the file; the message is one line."""


def fetch_from_hub(address: str, target: Path, progress: Progress | None) -> None:
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
        get_hf_file_metadata(hf_hub_url(repository, path, repo_type="dataset"), timeout=_TIMEOUT, token=False)
        Path(hf_hub_download(repository, path, repo_type="dataset", local_dir=folder, token=False)).replace(target)
    except (httpx2.HTTPError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's: the client's own have no number
            raise
        raise SourceFailed(_reason(error)) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if progress is not None:
        size = target.stat().st_size
        progress(f"downloading {path.rsplit('/', 1)[-1]}", size, size)


def _reason(error: Exception) -> str:
    """Return one line; the client's own messages have several, and their first may be `Bad request:`."""
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        answer = error.response
        return f"the server answers {answer.status_code} {answer.reason_phrase} ({type(error).__name__})"
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"
