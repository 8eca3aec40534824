"""Ids carry their kind, sort by age and do not collide."""

import re
from datetime import timedelta

from core.ids import SECRET_BYTES, SystemIds
from tests.support.records import NOW

IDS = SystemIds()
_ULID = "[0-9A-HJKMNP-TV-Z]{26}"


def test_ids_say_what_they_name() -> None:
    assert re.fullmatch(f"req_{_ULID}", IDS.job_id(NOW))
    assert re.fullmatch(f"msg_{_ULID}", IDS.delivery_id(NOW))


def test_ids_sort_by_age_to_the_millisecond() -> None:
    instants = [NOW + timedelta(milliseconds=step**3) for step in range(60)]
    ids = [IDS.job_id(instant) for instant in instants]
    assert ids == sorted(ids)
    assert [name[4:14] for name in ids] == sorted({name[4:14] for name in ids})


def test_ids_of_one_instant_differ() -> None:
    assert len({IDS.job_id(NOW) for _ in range(1000)}) == 1000


def test_secrets_are_long_and_never_the_same() -> None:
    assert {len(IDS.secret()) for _ in range(100)} == {SECRET_BYTES} == {32}
    assert len({IDS.secret() for _ in range(100)}) == 100
