"""Account balances and their rate of decrease."""

from datetime import timedelta

import pytest

from core.billing.balance import AccountBalance, record_balance
from core.money import MicroUsd
from tests.support.records import HOUR, MINUTE, NOW, SECOND

USD = 1_000_000


def balance_after(*figures: tuple[timedelta, int], minimum: int | None = None) -> AccountBalance:
    """The balance after readings, each with its age relative to `NOW`."""
    wallet = AccountBalance(minimum=None if minimum is None else MicroUsd(minimum))
    for after, usd in figures:
        wallet = record_balance(wallet, MicroUsd(usd * USD), NOW + after)
    return wallet


def test_one_reading_tells_no_burn() -> None:
    wallet = balance_after((0 * SECOND, 100))
    assert (wallet.balance, wallet.read_at) == (100 * USD, NOW)
    assert (wallet.burn_per_hour, wallet.time_remaining) == (None, None)


def test_two_readings_tell_the_burn_and_how_long_it_lasts() -> None:
    wallet = balance_after((0 * SECOND, 100), (HOUR, 90))
    assert wallet.burn_per_hour == 10 * USD
    assert wallet.time_remaining == 9 * HOUR


def test_later_readings_are_smoothed() -> None:
    wallet = balance_after((0 * SECOND, 100), (HOUR, 90), (2 * HOUR, 70))
    assert wallet.burn_per_hour == 13 * USD


def test_a_top_up_starts_the_burn_anew() -> None:
    wallet = balance_after((0 * SECOND, 100), (HOUR, 90), (2 * HOUR, 500))
    assert (wallet.balance, wallet.burn_per_hour) == (500 * USD, None)


def test_readings_close_together_change_nothing() -> None:
    """Over a few milliseconds one charge would extrapolate to a huge rate."""
    wallet = balance_after((0 * SECOND, 100), (29 * SECOND, 99))
    assert wallet == balance_after((0 * SECOND, 100))


def test_a_clock_put_back_starts_the_burn_anew() -> None:
    """Otherwise the rate would not change until the clock reached its old value."""
    wallet = balance_after((0 * SECOND, 100), (2 * HOUR, 90), (HOUR, 80))
    assert wallet == balance_after((HOUR, 80))


def test_an_empty_burn_lasts_for_ever() -> None:
    assert balance_after((0 * SECOND, 100), (HOUR, 100)).time_remaining is None


@pytest.mark.parametrize("after", [MINUTE, HOUR])
def test_the_floor_stays_whatever_is_read(after: timedelta) -> None:
    assert balance_after((0 * SECOND, 9), (after, 8), (2 * after, 50), minimum=5).minimum == 5
