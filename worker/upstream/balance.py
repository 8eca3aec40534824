"""RunComfy's balance, as `worker.ports.BalanceSource`. Knows one path; judges no figure."""

from typing import Final

from core.money import MicroUsd, from_usd
from worker.ports import Gone, Unreachable
from worker.upstream.config import UpstreamLimits
from worker.upstream.error_classification import Kind
from worker.upstream.faults import Scrub
from worker.upstream.http_client import Call, Line
from worker.upstream.http_request import Reply
from worker.upstream.responses import read_document, unreachable

PATH: Final = "/prod/v2/balance"
_MOST: Final = 10**15
"""Micro-dollars; a figure beyond is nobody's balance, and would not be added exactly."""


class RunComfyBalance:
    """See `worker.ports.BalanceSource`."""

    def __init__(self, line: Line, limits: UpstreamLimits) -> None:
        """`line` leads to RunComfy's account API."""
        self._line = line
        self._limits = limits

    async def balance(self) -> MicroUsd | Unreachable:
        """What is left on the account."""
        deadline, size = self._limits.read_deadline, self._limits.answer_bytes
        return await self._line.ask(Call("balance", "GET", PATH, deadline, size), read_balance)


def read_balance(reply: Reply, scrub: Scrub) -> MicroUsd | Unreachable:
    """The balance in an answer: the exact figure where it has one, else the one in USD."""
    doc = read_document(reply, scrub)
    if isinstance(doc, Gone):
        return Unreachable(doc.fault)
    if isinstance(doc, Unreachable):
        return doc
    exact = doc.get("balance_microdollars")
    if isinstance(exact, int) and not isinstance(exact, bool) and abs(exact) <= _MOST:
        return MicroUsd(exact)
    told = _dollars(doc.get("balance_usd"))
    return unreachable(Kind.MALFORMED, reply, scrub) if told is None else told


def _dollars(value: object) -> MicroUsd | None:
    below = isinstance(value, int | float) and not isinstance(value, bool) and value < 0
    amount = from_usd(-value if below else value)  # type: ignore[operator]  # below: a number
    if amount is None:
        return None
    return MicroUsd(-amount) if below else amount
