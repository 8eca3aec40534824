"""Opens a client of obstore, for every part of the gateway that keeps objects."""

import atexit
import time
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore, from_url

_MAX_RETRIES: Final = 2
"""Of one call, by obstore; its callers repeat what failed for longer themselves."""
_MISSING_BUCKET: Final = ("NoSuchBucket", "ContainerNotFound")
"""The error codes of S3 and Google, and of Azure."""
_FOLDER_MODE: Final = 0o700
_EXIT_PAUSE: Final = timedelta(milliseconds=200)


def open_obstore(url: str, timeout: timedelta) -> ObjectStore:
    """Return the client for `file:///path`, `s3://bucket/prefix`, `gs://…` or `az://…`.

    Credentials and region come from the environment's default variables (`AWS_…`, `GOOGLE_…`,
    `AZURE_…`) or from the machine's identity. A call fails after `timeout`. Raises `ValueError`
    for a URL that obstore cannot use, and for a folder that cannot be created.
    """
    _pause_at_exit()
    try:
        if url.startswith("file:"):
            folder = Path(unquote(urlsplit(url).path))
            folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            return LocalStore(prefix=folder)
        return from_url(
            url,
            client_options={"timeout": timeout, "connect_timeout": timeout, "allow_http": True},
            retry_config={"max_retries": _MAX_RETRIES, "retry_timeout": timeout},
        )
    except (BaseError, OSError) as error:
        raise ValueError(str(error)) from error


@cache
def _pause_at_exit() -> None:
    """Let this process end a moment later, once.

    obstore's threads release Python objects just after a call has returned. Python stops a thread
    that needs its lock during the exit, which the thread's Rust frames turn into SIGABRT: a
    command that had done its work failed, on a busy machine nearly every second one.
    """
    atexit.register(time.sleep, _EXIT_PAUSE.total_seconds())  # noqa: TID251 - no loop, no clock then


def is_absent(error: BaseError | OSError) -> bool:
    """Return whether an object does not exist; False if its whole bucket does not."""
    if not isinstance(error, NotFoundError | FileNotFoundError):
        return False
    return not any(code in str(error) for code in _MISSING_BUCKET)
