"""The chain of digests: whatever is changed, removed or added breaks it."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from core.operators.audit import AuditRecord, find_break

RecordList = list[AuditRecord]


def chain(number: int) -> RecordList:
    """So many records, each after the one before."""
    records: RecordList = []
    for index in range(number):
        previous = records[-1].digest if records else ""
        records.append(AuditRecord.following(previous, b'{"at":%d}' % index))
    return records


def test_what_was_only_appended_fits() -> None:
    assert find_break(chain(5)) is None
    assert find_break(chain(5), "") is None
    assert find_break([]) is None


def test_the_oldest_records_may_be_gone() -> None:
    assert find_break(chain(5)[2:]) is None
    assert find_break(chain(5)[2:], "") is not None


def _changed(records: RecordList) -> RecordList:
    return [*records[:2], replace(records[2], document=b'{"at":9}'), *records[3:]]


def _removed(records: RecordList) -> RecordList:
    return [*records[:2], *records[3:]]


def _swapped(records: RecordList) -> RecordList:
    return [*records[:2], records[3], records[2], *records[4:]]


def _forged(records: RecordList) -> RecordList:
    """Change one record and compute its digest anew, but not those after it."""
    return [*records[:2], AuditRecord.following(records[2].previous, b"{}"), *records[3:]]


@pytest.mark.parametrize(
    ("change", "first"), [(_changed, 2), (_removed, 2), (_swapped, 2), (_forged, 3)]
)
def test_every_change_is_found(change: Callable[[RecordList], RecordList], first: int) -> None:
    changed = change(chain(5))
    assert find_break(changed) == changed[first]


def test_the_digest_is_one_that_other_tools_compute() -> None:
    record = AuditRecord.following("ab", b'{"at":1}')
    assert record.digest == hashlib.sha256(b'ab\n{"at":1}').hexdigest()
