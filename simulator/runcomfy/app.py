"""The simulated RunComfy's HTTP API: parses a call, gets its response, applies a fault rule."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from simulator import media
from simulator.clock import SimulatorClock
from simulator.runcomfy import answers
from simulator.runcomfy.answers import ApiRequest, ApiResponse, CallHandler, authenticate_and_handle
from simulator.runcomfy.control import build_control_routes
from simulator.runcomfy.documents import file_names
from simulator.runcomfy.fault_effects import TriggeredFault, build_faulty_response, build_response
from simulator.runcomfy.faults import FaultRule, SimulatedOperation
from simulator.runcomfy.job import Status
from simulator.runcomfy.prompt_triggers import NO_TRIGGERS, parse_triggers
from simulator.runcomfy.state import RunComfyState
from simulator.script import Json

RequestHandler = Callable[[Request], Awaitable[Response]]


def create_runcomfy_app(state: RunComfyState, clock: SimulatorClock) -> Starlette:
    """Return the app: RunComfy's API, the files of outputs, and ``/_sim`` for scripting."""
    api = RunComfyApi(state, clock)
    return Starlette(
        routes=[
            *_request_routes(api),
            *_model_routes(api),
            Route(
                "/prod/v2/balance", api.build_handler(SimulatedOperation.BALANCE, answers.balance)
            ),
            Route("/media/{request_id}/{name}", api.serve_media),
            *build_control_routes(state),
        ]
    )


class RunComfyApi:
    """Endpoints over one state."""

    def __init__(self, state: RunComfyState, clock: SimulatorClock) -> None:
        self._state = state
        self._clock = clock

    def build_handler(self, operation: SimulatedOperation, handler: CallHandler) -> RequestHandler:
        """Return a handler that counts the call and executes it unless a fault rule applies."""

        async def handle(request: Request) -> Response:
            api_request = await self._parse_request(request)
            self._state.calls[operation] += 1
            rule = self._find_rule(operation, api_request)
            if rule is None:
                return build_response(authenticate_and_handle(handler, self._state, api_request))
            self._state.faulty_calls[operation] += 1
            return build_faulty_response(self._build_fault(rule, operation, handler, api_request))

        return handle

    async def serve_media(self, request: Request) -> Response:
        """Return a finished request's file, with ranges and without a token, like a CDN."""
        job = self._state.jobs.get(request.path_params["request_id"])
        name = request.path_params["name"]
        if job is None or job.status_at(self._clock.now()) is not Status.COMPLETED:
            return build_response(answers.not_found())
        if name not in file_names(job.product):
            return build_response(answers.not_found())
        first = file_names(job.product)[0]
        return FileResponse(media.media_path(first))

    def _build_fault(
        self,
        rule: FaultRule,
        operation: SimulatedOperation,
        handler: CallHandler,
        api_request: ApiRequest,
    ) -> TriggeredFault:
        answer: ApiResponse | None = None
        if rule.executes_call:
            answer = authenticate_and_handle(
                handler, self._state, replace(api_request, anomaly=rule.anomaly)
            )
        words = self._state.config.vocabulary
        return TriggeredFault(rule, operation, answer, self._clock, words)

    def _find_rule(
        self, operation: SimulatedOperation, api_request: ApiRequest
    ) -> FaultRule | None:
        if api_request.triggers is not NO_TRIGGERS and api_request.payload is not None:
            triggered = self._state.take_triggered_rule(
                api_request.triggers, api_request.payload["prompt"]
            )
            if triggered is not None:
                return triggered
        return self._state.take_rule(
            operation, api_request.model_id or None, api_request.request_id or None
        )

    async def _parse_request(self, request: Request) -> ApiRequest:
        payload = _parse_object(await request.body()) if request.method == "POST" else None
        headers, params = request.headers, request.path_params
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return ApiRequest(
            base_url=f"{request.scope['scheme']}://{headers.get('host', 'localhost')}",
            now=self._clock.now(),
            token=token.strip() if scheme.lower() == "bearer" else None,
            model_id=params.get("model_id", ""),
            request_id=params.get("request_id", ""),
            query=request.query_params,
            payload=payload,
            triggers=NO_TRIGGERS if payload is None else parse_triggers(payload),
        )


def _request_routes(api: RunComfyApi) -> list[Route]:
    at = "/v1/requests/{request_id}"
    return [
        Route(f"{at}/status", api.build_handler(SimulatedOperation.STATUS, answers.status)),
        Route(f"{at}/result", api.build_handler(SimulatedOperation.RESULT, answers.result)),
        Route(
            f"{at}/cancel",
            api.build_handler(SimulatedOperation.CANCEL, answers.cancel),
            methods=["POST"],
        ),
    ]


def _model_routes(api: RunComfyApi) -> list[Route]:
    one = "/v1/models/{model_id:path}"
    catalogue = SimulatedOperation.CATALOGUE
    return [
        Route("/v1/models", api.build_handler(catalogue, answers.models)),
        Route("/v1/models/categories", api.build_handler(catalogue, answers.categories)),
        Route(one, api.build_handler(SimulatedOperation.SUBMIT, answers.submit), methods=["POST"]),
        Route(one, api.build_handler(catalogue, answers.model)),
    ]


def _parse_object(body: bytes) -> Json | None:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
