"""The bucket that a URL names. Its objects: `tests/contract/test_journal_storage.py`."""

from datetime import timedelta

import pytest

from core.journal.buckets import open_bucket


def test_a_url_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        open_bucket("nowhere://x", timedelta(seconds=1))
