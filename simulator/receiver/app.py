"""The receiver's HTTP face.

| call | does |
| --- | --- |
| ``POST /hooks/{name}`` | a callback; remembered whatever the answer |
| ``GET /_recv/calls?name=`` | callbacks in the order they came |
| ``POST /_recv/behaviour`` | adds behaviours: ``manner``, ``rate`` ...; ``DELETE`` forgets all |
| ``POST /_recv/secret`` | ``{"secret": "whsec_...", "name": null}`` adds; ``DELETE`` forgets all |
| ``POST /_recv/reset`` | forgets callbacks and behaviours; ``GET /_recv/healthz`` answers ``ok`` |
"""

from collections.abc import Callable

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.broken_responses import Closed, Hung, Late, Reset, huge
from simulator.clock import Clock
from simulator.receiver.inbox import (
    Behaviour,
    Callback,
    Mailbox,
    Manner,
    read_behaviours,
    summary_line,
)
from simulator.script_fields import Fields, Json, ScriptError

Say = Callable[[str], None]


def create_app(mailbox: Mailbox, clock: Clock, say: Say) -> Starlette:
    """``say`` is told one line for each verified callback."""
    face = Face(mailbox, clock, say)
    return Starlette(
        routes=[
            Route("/hooks/{name}", face.receive, methods=["POST"]),
            Route("/_recv/calls", face.calls, methods=["GET"]),
            Route("/_recv/behaviour", face.behave, methods=["POST"]),
            Route("/_recv/behaviour", face.behave_well, methods=["DELETE"]),
            Route("/_recv/secret", face.trust, methods=["POST"]),
            Route("/_recv/secret", face.distrust, methods=["DELETE"]),
            Route("/_recv/reset", face.reset, methods=["POST"]),
            Route("/_recv/healthz", face.healthz, methods=["GET"]),
        ]
    )


class Face:
    """Endpoints over one mailbox."""

    def __init__(self, mailbox: Mailbox, clock: Clock, say: Say) -> None:
        """Time comes from ``clock``."""
        self._mailbox = mailbox
        self._clock = clock
        self._say = say

    async def receive(self, request: Request) -> Response:
        """Remember a callback, then meet it as scripted."""
        callback = await self._read(request)
        self._mailbox.callbacks.append(callback)
        if callback.verified:
            self._say(summary_line(callback))
        return answer_for(callback, self._clock)

    async def calls(self, request: Request) -> Response:
        """What came."""
        name = request.query_params.get("name")
        found = [call for call in self._mailbox.callbacks if name in {None, call.name}]
        return _json({"calls": [_document(call) for call in found], "total": len(found)})

    async def behave(self, request: Request) -> Response:
        """Add behaviours."""
        try:
            behaviours = read_behaviours(orjson.loads(await request.body()))
        except (ScriptError, orjson.JSONDecodeError) as error:
            return _json({"error": str(error)}, 400)
        self._mailbox.script.extend(behaviours)
        return _json({"added": len(behaviours)})

    async def trust(self, request: Request) -> Response:
        """Add a secret."""
        try:
            fields = Fields(orjson.loads(await request.body()))
            secret, name = fields.text("secret"), fields.text("name")
            fields.finish()
            self._mailbox.trust(secret or "", name)
        except (ScriptError, orjson.JSONDecodeError) as error:
            return _json({"error": str(error)}, 400)
        return _json({"status": "trusted"})

    async def behave_well(self, _request: Request) -> Response:
        """Forget all behaviours; callbacks and secrets stay."""
        self._mailbox.script.clear()
        return _json({"status": "forgotten"})

    async def distrust(self, _request: Request) -> Response:
        """Forget all secrets."""
        self._mailbox.distrust()
        return _json({"status": "forgotten"})

    async def reset(self, _request: Request) -> Response:
        """Start afresh."""
        self._mailbox.reset()
        return _json({"status": "reset"})

    async def healthz(self, _request: Request) -> Response:
        """Alive."""
        return _json({"status": "ok"})

    async def _read(self, request: Request) -> Callback:
        name, headers, body = request.path_params["name"], request.headers, await request.body()
        return Callback(
            name=name,
            path=request.url.path,
            received_at=self._clock.now(),
            headers=dict(headers),
            body=body,
            reason=self._mailbox.objection(name, headers, body),
            behaviour=self._mailbox.behaviour_for(name),
        )


def answer_for(callback: Callback, clock: Clock) -> Response:
    """What the sender gets; 401 where a plain 200 was due to a callback without a signature."""
    behaviour = callback.behaviour
    match behaviour.manner:
        case Manner.HANG:
            return Hung()
        case Manner.CLOSE:
            return Closed()
        case Manner.RESET:
            return Reset()
        case Manner.HUGE:
            return huge(behaviour.size, behaviour.status)
        case Manner.SLOW:
            return Late(_plain(callback, behaviour), behaviour.delay, clock)
        case Manner.ANSWER:
            return _plain(callback, behaviour)


def _plain(callback: Callback, behaviour: Behaviour) -> Response:
    ok = 200
    status = 401 if behaviour.status == ok and not callback.verified else behaviour.status
    answer = _json({"verified": callback.verified, "reason": callback.reason}, status)
    if behaviour.retry_after is not None:
        answer.headers["retry-after"] = behaviour.retry_after
    return answer


def _document(callback: Callback) -> Json:
    return {
        "name": callback.name,
        "path": callback.path,
        "received_at": callback.received_at.isoformat(),
        "headers": dict(callback.headers),
        "body": callback.body.decode(errors="replace"),
        "verified": callback.verified,
        "reason": callback.reason,
        "webhook_id": callback.webhook_id,
        "manner": callback.behaviour.manner.value,
        "status": callback.behaviour.status,
    }


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
