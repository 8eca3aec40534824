"""The amounts of a reservation: in Python what the Lua library `ledger` computes in the store."""

from core.billing.settlement import ReservationTotals, Settlement, SettlementStatus


def totals_of(reserved: int, settlement: Settlement) -> ReservationTotals:
    """Return the amounts of a reservation with this settlement.

    A cost above the estimate raises the reservation. The contract tests compare it with Redis.
    """
    match settlement.status:
        case SettlementStatus.HELD:
            return ReservationTotals(reserved)
        case SettlementStatus.FREE:
            return ReservationTotals(reserved, released=reserved)
        case SettlementStatus.ESTIMATED:
            return ReservationTotals(reserved, settled=reserved)
        case SettlementStatus.SPENT:
            total = max(reserved, settlement.cost)
            return ReservationTotals(
                total, settled=settlement.cost, released=total - settlement.cost
            )
