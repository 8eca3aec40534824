"""The event of an upload, however it ends."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.clock import Clock
from core.errors import CallerError, ObjectsUnavailable, Unavailable
from core.files.records import StoredFile
from core.observability.events import Emit, FileReceived
from core.observability.outcomes import FileOrigin, FileOutcome


@contextmanager
def report_upload(tenant: str, clock: Clock, emit: Emit) -> Iterator[Callable[[StoredFile], None]]:
    """Emit `FileReceived` at the end of the block, which calls the yielded function with the file.

    What else than an error of the caller or of the storage ends it was broken off by the caller.
    """
    files: list[StoredFile] = []
    started_at, outcome, detail = clock.monotonic(), FileOutcome.BROKEN_OFF, None
    try:
        yield files.append
        outcome = FileOutcome.STORED
    except CallerError as error:
        outcome, detail = FileOutcome.REFUSED, error.code
        raise
    except ObjectsUnavailable as error:
        outcome, detail = FileOutcome.STORAGE_FAILED, error.operator_detail
        raise
    except Unavailable as error:
        outcome, detail = FileOutcome.STORAGE_FAILED, error.code
        raise
    finally:
        size, duration = sum(file.bytes for file in files), clock.monotonic() - started_at
        emit(FileReceived(tenant, FileOrigin.UPLOAD, outcome, size, duration, None, detail))
