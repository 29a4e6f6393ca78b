"""One public file over https, whole or not at all."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

from harness.mirror import DataError

RAW = "https://raw.githubusercontent.com/"  # + owner/name/commit/path: a file of a public repository at a commit
MEGABYTES_AT_MOST = 64
SECONDS = 60  # without an answer


def download(url: str, what: str, otherwise: str) -> bytes:
    """The file at `url`.

    Args:
        what: the file in words, for messages.
        otherwise: what the user can do if it cannot be had.

    Raises:
        DataError: not reachable, not there, cut off, or larger than `MEGABYTES_AT_MOST`.
    """
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer:
            raw = answer.read((MEGABYTES_AT_MOST << 20) + 1)
            expected = answer.headers.get("Content-Length")
    except (urllib.error.URLError, TimeoutError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        code = f"{error.code} " if isinstance(error, urllib.error.HTTPError) else ""
        raise DataError(f"{what}: cannot download {url} ({code}{reason}); {otherwise}.") from error
    if len(raw) > MEGABYTES_AT_MOST << 20:
        raise DataError(f"{what}: {url} is larger than {MEGABYTES_AT_MOST} MiB; {otherwise}.")
    if expected is not None and len(raw) != int(expected):
        raise DataError(f"{what}: {url} was cut off after {len(raw)} of {expected} bytes; try again, or {otherwise}.")
    return raw
