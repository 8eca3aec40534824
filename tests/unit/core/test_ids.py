"""Ids sort by age and never collide; a job's id is a UUID, others name their kind."""

import re
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest

from core.ids import SECRET_BYTES, SystemIds, is_valid_id, uuid7
from tests.support.records import NOW

IDS = SystemIds()
_ULID = "[0-9A-HJKMNP-TV-Z]{26}"
# RFC 9562, appendix A.6: its instant, and its random bits after the 12 of `rand_a`.
RFC_EXAMPLE = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
RFC_INSTANT = datetime.fromtimestamp(0x17F22E279B0 / 1000, UTC)
RFC_RANDOM = 0x18C4DC0C0C07398F


def test_ids_say_what_they_name() -> None:
    assert re.fullmatch(f"msg_{_ULID}", IDS.delivery_id(NOW))
    assert re.fullmatch(f"ep_{_ULID}", IDS.endpoint_id(NOW))
    assert re.fullmatch(f"bat_{_ULID}", IDS.batch_id(NOW))


def test_a_job_id_is_a_uuid_of_version_7_without_a_prefix() -> None:
    text = IDS.job_id(NOW)
    parsed = UUID(text)
    assert (str(parsed), parsed.version, parsed.variant) == (text, 7, RFC_4122)
    assert is_valid_id(text)
    # RunComfy's strictest client allows no other characters.
    assert re.fullmatch("[a-zA-Z0-9-]+", text)


def test_a_uuid_is_that_of_the_rfcs_example() -> None:
    # `rand_a` is free in the example; here it is the fraction of the millisecond, which is 0.
    assert uuid7(RFC_INSTANT, RFC_RANDOM) == RFC_EXAMPLE.replace("7cc3", "7000")


@pytest.mark.parametrize(
    ("microsecond", "rand_a"), [(0, 0), (1, 4), (500, 2048), (999, 4091), (1999, 4091)]
)
def test_a_uuid_holds_the_fraction_of_the_millisecond(microsecond: int, rand_a: int) -> None:
    instant = datetime(2026, 3, 1, tzinfo=UTC).replace(microsecond=microsecond)
    assert int(uuid7(instant, 0)[15:18], 16) == rand_a


@pytest.mark.parametrize("random_bits", [0, 1, (1 << 62) - 1, (1 << 80) - 1])
def test_random_bits_reach_neither_the_time_nor_the_variant(random_bits: int) -> None:
    parsed = UUID(uuid7(RFC_INSTANT, random_bits))
    assert (parsed.version, parsed.variant, parsed.int >> 80) == (7, RFC_4122, 0x17F22E279B0)


def test_ids_sort_by_age_to_the_microsecond() -> None:
    instants = [NOW + timedelta(microseconds=step**3) for step in range(200)]
    ids = [IDS.job_id(instant) for instant in instants]
    assert ids == sorted(ids)
    assert [name[:18] for name in ids] == sorted({name[:18] for name in ids})


def test_ids_of_one_instant_differ() -> None:
    assert len({IDS.job_id(NOW) for _ in range(1000)}) == 1000


def test_secrets_are_long_and_never_the_same() -> None:
    assert {len(IDS.secret()) for _ in range(100)} == {SECRET_BYTES} == {32}
    assert len({IDS.secret() for _ in range(100)}) == 100
