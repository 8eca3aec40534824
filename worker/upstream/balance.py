"""RunComfy's balance, as `worker.ports.BalanceSource`. Knows one path; judges no figure."""

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
"""Micro-dollars; a figure beyond is nobody's balance, and would not be added exactly."""


class RunComfyBalance:
    """See `worker.ports.BalanceSource`."""

    def __init__(self, http: HttpClient, limits: UpstreamLimits) -> None:
        """`line` leads to RunComfy's account API."""
        self._http = http
        self._limits = limits

    async def get_balance(self) -> MicroUsd | Unreachable:
        """What is left on the account."""
        deadline, size = self._limits.read_deadline, self._limits.max_response_bytes
        return await self._http.call(ApiCall("balance", "GET", PATH, deadline, size), parse_balance)


def parse_balance(response: HttpResponse, redactor: Redactor) -> MicroUsd | Unreachable:
    """The balance in an answer: the exact figure where it has one, else the one in USD."""
    doc = parse_document(response, redactor)
    if isinstance(doc, RequestNotFound):
        return Unreachable(doc.fault)
    if isinstance(doc, Unreachable):
        return doc
    exact = doc.get("balance_microdollars")
    if isinstance(exact, int) and not isinstance(exact, bool) and abs(exact) <= _MAX_MICRO_USD:
        return MicroUsd(exact)
    told = _parse_usd(doc.get("balance_usd"))
    return build_unreachable(FaultKind.MALFORMED, response, redactor) if told is None else told


def _parse_usd(value: object) -> MicroUsd | None:
    below = isinstance(value, int | float) and not isinstance(value, bool) and value < 0
    amount = from_usd(-value if below else value)  # type: ignore[operator]  # below: a number
    if amount is None:
        return None
    return MicroUsd(-amount) if below else amount
