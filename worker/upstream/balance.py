"""RunComfy's account balance, as `worker.ports.BalanceSource`."""

from typing import Final

from core.money import MicroUsd, from_usd
from core.observability.outcomes import FaultKind
from worker.ports import RequestNotFound, Unreachable
from worker.upstream.config import UpstreamLimits
from worker.upstream.faults import Redactor
from worker.upstream.http_client import ApiCall, HttpClient
from worker.upstream.http_request import HttpResponse
from worker.upstream.responses import build_unreachable, parse_document

PATH: Final = "/prod/v2/balance"
_MAX_MICRO_USD: Final = 10**15
"""Micro-dollars. A larger figure is an error, and Redis could not add it exactly."""


class RunComfyBalance:
    """See `worker.ports.BalanceSource`."""

    def __init__(self, http: HttpClient, limits: UpstreamLimits) -> None:
        """`http` calls RunComfy's account API."""
        self._http = http
        self._limits = limits

    async def get_balance(self) -> MicroUsd | Unreachable:
        """Return the account's balance."""
        deadline, size = self._limits.read_deadline, self._limits.max_response_bytes
        return await self._http.call(ApiCall("balance", "GET", PATH, deadline, size), parse_balance)


def parse_balance(response: HttpResponse, redactor: Redactor) -> MicroUsd | Unreachable:
    """Return the balance in an answer: the exact figure if it has one, else the one in USD."""
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound):
        return Unreachable(doc.fault)
    if isinstance(doc, Unreachable):
        return doc
    exact = doc.get("balance_microdollars")
    if isinstance(exact, int) and not isinstance(exact, bool) and abs(exact) <= _MAX_MICRO_USD:
        return MicroUsd(exact)
    rounded = _parse_usd(doc.get("balance_usd"))
    if rounded is None:
        return build_unreachable(FaultKind.MALFORMED, response, redactor)
    return rounded


def _parse_usd(value: object) -> MicroUsd | None:
    is_negative = isinstance(value, int | float) and not isinstance(value, bool) and value < 0
    amount = from_usd(-value if is_negative else value)  # type: ignore[operator]  # it is a number
    if amount is None:
        return None
    return MicroUsd(-amount) if is_negative else amount
