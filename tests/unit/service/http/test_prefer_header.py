"""`Prefer: wait=N` in the forms that RFC 7240 allows."""

from datetime import timedelta

import pytest

from service.http.prefer_header import parse_wait_preference, preference_applied_header

LONGEST = timedelta(seconds=60)


@pytest.mark.parametrize(
    "headers",
    [
        ["wait=10"],
        ["Wait = 10"],
        ['wait="10"'],
        ["respond-async, wait=10"],
        ["respond-async", "wait=10"],
        ["wait=10; strict=yes"],
        ['note="a, wait=99; b\\"", wait=10'],
        ["wait=10, wait=20"],
        ["wait=010"],
    ],
)
def test_a_wait_is_found(headers: list[str]) -> None:
    assert parse_wait_preference(headers, LONGEST) == timedelta(seconds=10)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [""],
        ["respond-async"],
        ["wait"],
        ["wait="],
        ["wait=0"],
        ["wait=-1"],
        ["wait=1.5"],
        ["wait=soon"],
        ["wait=\uff11\uff10"],
        ["wait=" + "9" * 400],
        ["await=10"],
        ["wait=x, wait=10"],  # the first counts, whatever it says
        ['note="wait=10'],
    ],
)
def test_what_is_no_wait_is_ignored(headers: list[str]) -> None:
    assert parse_wait_preference(headers, LONGEST) is None


def test_a_long_wait_is_cut_and_the_caller_told() -> None:
    wait = parse_wait_preference(["wait=3600"], LONGEST)

    assert wait == LONGEST
    assert preference_applied_header(LONGEST) == {"preference-applied": "wait=60"}
