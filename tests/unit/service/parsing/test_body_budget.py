"""Bodies in flight are bounded in all, per tenant and per address; small ones always pass."""

import pytest

from service.errors import TooManyBodies
from service.parsing.body_budget import SMALL_BODY, BodyBudget, BodyBudgetPolicy, BodyReservation

MIB = 2**20
LARGE = 40 * MIB
POLICY = BodyBudgetPolicy(max_bytes=128 * MIB, max_body_bytes=64 * MIB)


def reserve(
    budget: BodyBudget, size: int, tenant: str = "a", address: str = "192.0.2.1"
) -> BodyReservation:
    reservation = budget.open(tenant, address)
    reservation.grow_to(size)
    return reservation


def is_refused(budget: BodyBudget, size: int, tenant: str, address: str) -> bool:
    try:
        reserve(budget, size, tenant, address).release()
    except TooManyBodies:
        return True
    return False


@pytest.mark.parametrize(
    ("tenant", "address", "refused"),
    [("a", "2", True), ("b", "1", True), ("b", "2", False)],
)
def test_one_tenant_or_address_has_its_share(tenant: str, address: str, *, refused: bool) -> None:
    budget = BodyBudget(POLICY)
    reserve(budget, LARGE, "a", "1")
    assert is_refused(budget, LARGE, tenant, address) is refused


def test_all_together_have_the_whole_and_a_release_makes_room() -> None:
    budget = BodyBudget(POLICY)
    first = reserve(budget, LARGE, "a", "1")
    reserve(budget, LARGE, "b", "2")
    assert is_refused(budget, LARGE, "c", "3")
    first.release()
    first.release()
    assert not is_refused(budget, LARGE, "c", "3")


def test_large_bodies_do_not_stop_small_ones() -> None:
    budget = BodyBudget(POLICY)
    for name in "abcdefghijklmnop":
        is_refused(budget, 7 * MIB, name, name)
        reserve(budget, 7 * MIB, name, name)
    assert is_refused(budget, SMALL_BODY + 1, "z", "z")
    assert not is_refused(budget, SMALL_BODY, "z", "z")


def test_small_bodies_are_bounded_too() -> None:
    budget = BodyBudget(POLICY)
    taken = 0
    while not is_refused(budget, SMALL_BODY, "a", "1"):
        reserve(budget, SMALL_BODY, "a", "1")
        taken += SMALL_BODY
    assert taken == POLICY.max_bytes // 16
    assert not is_refused(budget, SMALL_BODY, "b", "2")


def test_a_body_grows_from_small_to_large_and_gives_everything_back() -> None:
    budget = BodyBudget(POLICY)
    reservation = budget.open("a", "1")
    for size in (0, 10, SMALL_BODY, SMALL_BODY + 1, MIB, 10):
        reservation.grow_to(size)
    assert (budget.small.used, budget.large.used) == (0, MIB)
    reservation.release()
    assert (budget.small.used, budget.large.used) == (0, 0)
    assert not budget.small.by_owner
    assert not budget.large.by_owner


def test_a_refused_growth_keeps_what_was_reserved() -> None:
    budget = BodyBudget(POLICY)
    reserve(budget, 64 * MIB, "a", "1")
    reservation = reserve(budget, 10, "a", "1")
    with pytest.raises(TooManyBodies):
        reservation.grow_to(SMALL_BODY + 1)
    assert (budget.small.used, budget.large.used) == (10, 64 * MIB)


def test_a_share_is_enough_for_the_largest_body() -> None:
    budget = BodyBudget(BodyBudgetPolicy(max_bytes=80 * MIB, max_body_bytes=64 * MIB))
    reserve(budget, 64 * MIB)
