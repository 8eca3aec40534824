"""Opens the journal that the settings name."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.clock import Clock
from core.journal.files import FileStorage
from core.journal.journal import Journal
from core.journal.objects import ObjectStorage
from core.observability.events import Emit
from core.settings.definitions import JOURNAL_OFF, JournalSettings


def open_journal(settings: JournalSettings, clock: Clock, emit: Emit) -> Journal | None:
    """Return the journal; None if there is none. Nothing is read or written yet.

    Raises `ValueError` for a URL that cannot be used.
    """
    if settings.url is None or settings.url == JOURNAL_OFF:
        return None
    return Journal(_open_storage(settings.url, settings.timeout), clock, emit, settings.timeout)


def _open_storage(url: str, timeout: timedelta) -> ObjectStorage:
    if url.startswith("file:"):
        return FileStorage(Path(unquote(urlsplit(url).path)))
    from core.journal.buckets import open_bucket  # noqa: PLC0415 - heavy: only where a bucket is used

    return open_bucket(url, timeout)
