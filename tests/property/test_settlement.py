from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from core.billing.settlement import ReservationTotals, Settlement, SettlementStatus
from core.money import MicroUsd
from tests.support.memory_store.settlement import totals_of

amounts = st.integers(0, 10**15).map(MicroUsd)

standings = st.builds(Settlement, st.sampled_from(SettlementStatus), amounts)


@given(amounts, st.lists(standings, min_size=1))
def test_whatever_is_said_in_which_order_the_books_balance(
    estimate: MicroUsd, said: list[Settlement]
) -> None:
    booking = ReservationTotals(estimate)
    for at in said:
        booking = totals_of(booking.reserved, at)
        assert booking.reserved == booking.settled + booking.released + booking.held
        assert min(booking.settled, booking.released, booking.held) >= 0
        assert booking.used == booking.settled + booking.held
        assert booking.reserved >= estimate


@given(amounts, standings)
def test_saying_it_twice_books_it_once(estimate: MicroUsd, at: Settlement) -> None:
    once = totals_of(estimate, at)
    assert totals_of(once.reserved, at) == once


@given(amounts, amounts)
def test_what_was_spent_counts_to_the_micro_dollar(estimate: MicroUsd, cost: MicroUsd) -> None:
    booking = totals_of(estimate, Settlement(SettlementStatus.SPENT, cost))
    assert (booking.used, booking.held) == (cost, 0)
