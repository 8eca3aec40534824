"""A store of a newer release is refused; what a release writes it can read."""

import pytest

from core.store.schema import READS, WRITES, schema_issue


def test_a_release_reads_what_it_writes() -> None:
    assert WRITES <= READS <= WRITES + 1


@pytest.mark.parametrize("held", ["", "0", str(WRITES), str(READS)])
def test_what_can_be_read_is_used(held: str) -> None:
    assert schema_issue(held) is None


@pytest.mark.parametrize("held", [str(READS + 1), "2.1", "-1", "next"])
def test_what_cannot_be_read_is_refused_in_one_line(held: str) -> None:
    issue = schema_issue(held)
    assert issue is not None
    assert f"schema {held};" in issue
    assert "\n" not in issue
