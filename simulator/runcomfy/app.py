"""The look-alike's HTTP face: reads a call, asks for its answer, lets a rule spoil it."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from simulator import media
from simulator.clock import Clock
from simulator.runcomfy import answers
from simulator.runcomfy.answers import Act, Answer, Asked, guarded
from simulator.runcomfy.control import control_routes
from simulator.runcomfy.documents import file_names
from simulator.runcomfy.fault_effects import Incident, plain, spoiled
from simulator.runcomfy.faults import Call, Moment, Rule
from simulator.runcomfy.job import Status
from simulator.runcomfy.prompt_triggers import NONE, read_triggers
from simulator.runcomfy.state import World
from simulator.script_fields import Json

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(world: World, clock: Clock) -> Starlette:
    """RunComfy's calls, the files that outputs point to, and ``/_sim`` to script it all."""
    face = Face(world, clock)
    return Starlette(
        routes=[
            *_request_routes(face),
            *_model_routes(face),
            Route("/prod/v2/balance", face.endpoint(Call.BALANCE, answers.balance)),
            Route("/media/{request_id}/{name}", face.media),
            *control_routes(world),
        ]
    )


class Face:
    """Endpoints over one world."""

    def __init__(self, world: World, clock: Clock) -> None:
        """Time comes from ``clock``."""
        self._world = world
        self._clock = clock

    def endpoint(self, call: Call, act: Act) -> Endpoint:
        """A handler that counts the call, and carries it out unless a rule says otherwise."""

        async def handle(request: Request) -> Response:
            asked = await self._read(request)
            self._world.calls[call] += 1
            rule = self._rule_for(call, asked)
            if rule is None:
                return plain(guarded(act, self._world, asked))
            self._world.faulty_calls[call] += 1
            return spoiled(self._incident(rule, call, act, asked))

        return handle

    async def media(self, request: Request) -> Response:
        """A finished request's file, with ranges; no token needed, as on any CDN."""
        job = self._world.jobs.get(request.path_params["request_id"])
        name = request.path_params["name"]
        if job is None or job.status_at(self._clock.now()) is not Status.COMPLETED:
            return plain(answers.not_found())
        if name not in file_names(job.product):
            return plain(answers.not_found())
        first = file_names(job.product)[0]
        return FileResponse(media.path_of(first))

    def _incident(self, rule: Rule, call: Call, act: Act, asked: Asked) -> Incident:
        answer: Answer | None = None
        if rule.books:
            answer = guarded(act, self._world, replace(asked, twist=rule.twist))
        return Incident(rule=rule, call=call, answer=answer, clock=self._clock)

    def _rule_for(self, call: Call, asked: Asked) -> Rule | None:
        if asked.triggers is not NONE and asked.given is not None:
            triggered = self._world.trigger(asked.triggers, asked.given["prompt"])
            if triggered is not None:
                return triggered
        return self._world.choose(
            Moment(call, model_id=asked.model_id or None, request_id=asked.request_id or None)
        )

    async def _read(self, request: Request) -> Asked:
        given = _object(await request.body()) if request.method == "POST" else None
        headers, params = request.headers, request.path_params
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return Asked(
            base_url=f"{request.scope['scheme']}://{headers.get('host', 'localhost')}",
            now=self._clock.now(),
            token=token.strip() if scheme.lower() == "bearer" else None,
            model_id=params.get("model_id", ""),
            request_id=params.get("request_id", ""),
            query=request.query_params,
            given=given,
            triggers=NONE if given is None else read_triggers(given),
        )


def _request_routes(face: Face) -> list[Route]:
    at = "/v1/requests/{request_id}"
    return [
        Route(f"{at}/status", face.endpoint(Call.STATUS, answers.status)),
        Route(f"{at}/result", face.endpoint(Call.RESULT, answers.result)),
        Route(f"{at}/cancel", face.endpoint(Call.CANCEL, answers.cancel), methods=["POST"]),
    ]


def _model_routes(face: Face) -> list[Route]:
    one = "/v1/models/{model_id:path}"
    catalogue = Call.CATALOGUE
    return [
        Route("/v1/models", face.endpoint(catalogue, answers.models)),
        Route("/v1/models/categories", face.endpoint(catalogue, answers.categories)),
        Route(one, face.endpoint(Call.SUBMIT, answers.submit), methods=["POST"]),
        Route(one, face.endpoint(catalogue, answers.model)),
    ]


def _object(body: bytes) -> Json | None:
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return document if isinstance(document, dict) else None
