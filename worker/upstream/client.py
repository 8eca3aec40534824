"""RunComfy's four calls on a request, as `worker.ports.Upstream`.

A cancel is a POST and uses the same client as the submit: its rare calls need no keep-alive, and
the transport for reads can then refuse every POST.
"""

from datetime import timedelta
from typing import Final

from core.models.ids import build_model_path
from core.observability.outcomes import FaultKind
from worker.ports import (
    CancelAnswer,
    Rejected,
    RequestNotFound,
    ResultAnswer,
    StatusAnswer,
    SubmitAnswer,
    UpstreamFault,
)
from worker.upstream import json_parser
from worker.upstream.config import UpstreamLimits
from worker.upstream.faults import DEFAULT_MESSAGES
from worker.upstream.http_client import ApiCall, HttpClient
from worker.upstream.responses import parse_cancel, parse_result, parse_status, parse_submit

_INVALID_ID: Final = UpstreamFault(
    FaultKind.INVALID_ID.value, DEFAULT_MESSAGES[FaultKind.INVALID_ID]
)


class RunComfyClient:
    """See `worker.ports.Upstream`."""

    def __init__(self, http: HttpClient, limits: UpstreamLimits) -> None:
        self._http = http
        self._limits = limits

    async def submit(self, model_id: str, body: bytes) -> SubmitAnswer:
        """Send the one paid call, once.

        If this coroutine is cancelled the outcome is unknown: shield it.
        """
        path = build_model_path(model_id)
        if path is None:
            return Rejected(_INVALID_ID)
        call = self._build_post("submit", path, self._limits.submit_deadline, body)
        return await self._http.call(call, parse_submit)

    async def get_status(self, upstream_id: str) -> StatusAnswer:
        """Read the status of a request."""
        path = json_parser.build_request_path(upstream_id, "status")
        if path is None:
            return RequestNotFound(_INVALID_ID)
        call = self._build_get("status", path, self._limits.max_response_bytes)
        return await self._http.call(call, parse_status)

    async def get_result(self, upstream_id: str) -> ResultAnswer:
        """Read the final output, with its cost."""
        path = json_parser.build_request_path(upstream_id, "result")
        if path is None:
            return RequestNotFound(_INVALID_ID)
        call = self._build_get("result", f"{path}?include_cost=true", self._limits.max_result_bytes)
        return await self._http.call(call, parse_result)

    async def cancel(self, upstream_id: str) -> CancelAnswer:
        """Cancel a request that RunComfy still has queued. May be repeated."""
        path = json_parser.build_request_path(upstream_id, "cancel")
        if path is None:
            return RequestNotFound(_INVALID_ID)
        call = self._build_post("cancel", path, self._limits.read_deadline)
        return await self._http.call(call, parse_cancel)

    def _build_get(self, name: str, path: str, max_bytes: int) -> ApiCall:
        return ApiCall(name, "GET", path, self._limits.read_deadline, max_bytes)

    def _build_post(
        self, name: str, path: str, deadline: timedelta, body: bytes | None = None
    ) -> ApiCall:
        return ApiCall(name, "POST", path, deadline, self._limits.max_response_bytes, body)
