"""The response to each call without a fault: an HTTP status and a JSON document.

Changes nothing but the state that it is given.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from simulator.runcomfy.catalogue import categories_of, page_of, without_schemas
from simulator.runcomfy.documents import (
    MICRO_PER_USD,
    RenderContext,
    cancel_document,
    cost_document,
    result_document,
    status_document,
    submit_document,
)
from simulator.runcomfy.errors import HTTP_STATUS, RunComfyErrorCode, error_document
from simulator.runcomfy.input_check import validate_input
from simulator.runcomfy.job import Anomaly, SimulatedRequest
from simulator.runcomfy.prompt_triggers import NO_TRIGGERS, PromptTriggers
from simulator.runcomfy.state import RunComfyState
from simulator.script import Json

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One call. ``payload``: a submit's JSON object; None if the body is not one."""

    base_url: str
    now: datetime
    token: str | None = None
    model_id: str = ""
    request_id: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    payload: Json | None = None
    triggers: PromptTriggers = NO_TRIGGERS
    anomaly: Anomaly | None = None

    def render_context(self, state: RunComfyState) -> RenderContext:
        """Return the values that documents depend on."""
        return RenderContext(self.now, self.base_url, state.config.vocabulary)


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """An HTTP status and a JSON document."""

    status: int
    document: Json


CallHandler = Callable[[RunComfyState, ApiRequest], ApiResponse]


def authenticate_and_handle(
    handler: CallHandler, state: RunComfyState, api_request: ApiRequest
) -> ApiResponse:
    """Return the handler's response, or 400004 without a valid token."""
    token = state.config.token
    if not api_request.token or token not in {None, api_request.token}:
        return _error_response(
            RunComfyErrorCode.INVALID_TOKEN, "API token is missing, expired or revoked"
        )
    return handler(state, api_request)


def submit(state: RunComfyState, api_request: ApiRequest) -> ApiResponse:
    """Accept a request, charge it, and return its URLs."""
    model = state.models.get(api_request.model_id)
    if model is None:
        return _error_response(
            RunComfyErrorCode.INVALID_ID, f"Unknown model: {api_request.model_id}"
        )
    if api_request.payload is None:
        detail = [{"loc": ["body"], "msg": "Input should be a JSON object", "type": "json_invalid"}]
        return _error_response(RunComfyErrorCode.VALIDATION_FAILED, "Validation error", detail)
    errors = validate_input(api_request.payload, model.card["input_schema"])
    if errors:
        return _error_response(RunComfyErrorCode.VALIDATION_FAILED, "Validation error", errors)
    if state.is_out_of_balance:
        return _error_response(RunComfyErrorCode.INSUFFICIENT_BALANCE, "Insufficient balance")
    job = state.submit(
        model, api_request.payload, api_request.now, api_request.triggers, api_request.anomaly
    )
    return ApiResponse(200, submit_document(job, api_request.render_context(state)))


def status(state: RunComfyState, api_request: ApiRequest) -> ApiResponse:
    """Return a request's status."""
    return _handle_request_call(
        state, api_request, lambda job: status_document(job, api_request.render_context(state))
    )


def result(state: RunComfyState, api_request: ApiRequest) -> ApiResponse:
    """Return a request's result; with ``include_cost`` its cost."""

    def document(job: SimulatedRequest) -> Json:
        include_cost = _is_true(api_request.query.get("include_cost"))
        cost = cost_document(job, api_request.now, state.config.cost_delay) if include_cost else {}
        return {**result_document(job, api_request.render_context(state)), **cost}

    return _handle_request_call(state, api_request, document)


def cancel(state: RunComfyState, api_request: ApiRequest) -> ApiResponse:
    """Cancel a queued request; 202 whatever the outcome."""
    context = api_request.render_context(state)
    answer = _handle_request_call(
        state,
        api_request,
        lambda job: cancel_document(state.cancel(job, api_request.now), context),
    )
    return replace(answer, status=202) if answer.status == 200 else answer  # noqa: PLR2004 - HTTP


def models(state: RunComfyState, api_request: ApiRequest) -> ApiResponse:
    """Return one page of the catalogue."""
    query = api_request.query
    limit, offset = query.get("limit", "20"), query.get("offset", "0")
    if not (limit.isdecimal() and offset.isdecimal()):
        detail = [{"loc": ["query"], "msg": "limit and offset are integers", "type": "int_parsing"}]
        return _error_response(RunComfyErrorCode.VALIDATION_FAILED, "Validation error", detail)
    page = page_of(state.models, query, int(limit), int(offset))
    if not _is_true(query.get("include_schema")):
        page["models"] = [without_schemas(card) for card in page["models"]]
    return ApiResponse(200, page)


def categories(state: RunComfyState, _api_request: ApiRequest) -> ApiResponse:
    """Return all categories."""
    return ApiResponse(200, {"categories": categories_of(state.models)})


def model(state: RunComfyState, api_request: ApiRequest) -> ApiResponse:
    """Return one model with its schemas."""
    found = state.models.get(api_request.model_id)
    if found is None:
        return _error_response(
            RunComfyErrorCode.NOT_FOUND, f"Unknown model: {api_request.model_id}"
        )
    return ApiResponse(200, found.card)


def balance(state: RunComfyState, _api_request: ApiRequest) -> ApiResponse:
    """Return the balance, in USD and in micro-dollars."""
    amount = state.config.balance
    document = {
        "balance_usd": amount / MICRO_PER_USD,
        "balance_microdollars": amount,
        "currency": "USD",
    }
    return ApiResponse(200, document)


def not_found() -> ApiResponse:
    """Return the response for a deleted or expired request."""
    return _error_response(RunComfyErrorCode.NOT_FOUND, "Request not found")


def _handle_request_call(
    state: RunComfyState, api_request: ApiRequest, document: Callable[[SimulatedRequest], Json]
) -> ApiResponse:
    if not _REQUEST_ID.fullmatch(api_request.request_id):
        return _error_response(RunComfyErrorCode.INVALID_ID, "Malformed request id")
    job = state.jobs.get(api_request.request_id)
    return not_found() if job is None else ApiResponse(200, document(job))


def _error_response(
    code: RunComfyErrorCode, message: str, detail: list[Json] | None = None
) -> ApiResponse:
    return ApiResponse(HTTP_STATUS[code], error_document(code, message, detail))


def _is_true(value: str | None) -> bool:
    return value is not None and value.lower() in {"true", "1"}
