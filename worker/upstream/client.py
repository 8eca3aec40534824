"""RunComfy's four calls on a request, as `worker.ports.Upstream`. Knows the paths; knows no jobs.

Cancel is a POST and goes the way of the submit: its rare calls need no keep-alive, and the reads'
transport can then refuse every POST.
"""

from datetime import timedelta
from typing import Final

from worker.ports import (
    CancelAnswer,
    Gone,
    Rejected,
    ResultAnswer,
    StatusAnswer,
    SubmitAnswer,
    UpstreamFault,
)
from worker.upstream import json_parser as wire
from worker.upstream.config import UpstreamLimits
from worker.upstream.error_classification import Kind
from worker.upstream.faults import SENTENCES
from worker.upstream.http_client import Call, Line
from worker.upstream.responses import read_cancel, read_result, read_status, read_submit

_BAD_NAME: Final = UpstreamFault(Kind.BAD_NAME.value, SENTENCES[Kind.BAD_NAME])


class RunComfyClient:
    """See `worker.ports.Upstream`."""

    def __init__(self, line: Line, limits: UpstreamLimits) -> None:
        self._line = line
        self._limits = limits

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """Send the one paid call, once.

        Cancelling this coroutine leaves the outcome unknown: shield it.
        """
        path = wire.model_path(model_id)
        if path is None:
            return Rejected(_BAD_NAME)
        call = self._post("submit", path, self._limits.submit_deadline, body)
        return await self._line.ask(call, read_submit)

    async def status(self, upstream_id: str) -> StatusAnswer:
        """Ask where a request stands."""
        path = wire.request_path(upstream_id, "status")
        if path is None:
            return Gone(_BAD_NAME)
        call = self._get("status", path, self._limits.answer_bytes)
        return await self._line.ask(call, read_status)

    async def result(self, upstream_id: str) -> ResultAnswer:
        """Ask for the final output, with its cost."""
        path = wire.request_path(upstream_id, "result")
        if path is None:
            return Gone(_BAD_NAME)
        call = self._get("result", f"{path}?include_cost=true", self._limits.result_bytes)
        return await self._line.ask(call, read_result)

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """Ask RunComfy to cancel a request that it still has queued. May be repeated."""
        path = wire.request_path(upstream_id, "cancel")
        if path is None:
            return Gone(_BAD_NAME)
        call = self._post("cancel", path, self._limits.read_deadline)
        return await self._line.ask(call, read_cancel)

    def _get(self, name: str, path: str, size: int) -> Call:
        return Call(name, "GET", path, self._limits.read_deadline, size)

    def _post(self, name: str, path: str, deadline: timedelta, body: bytes | None = None) -> Call:
        return Call(name, "POST", path, deadline, self._limits.answer_bytes, body)
