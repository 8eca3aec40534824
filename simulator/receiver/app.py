"""The receiver's HTTP API.

| call | does |
| --- | --- |
| ``POST /hooks/{name}`` | receives a webhook, and keeps it whatever the response |
| ``GET /_recv/calls?name=`` | lists webhooks in the order of arrival |
| ``POST /_recv/behaviour`` | adds behaviours: ``manner``, ``rate`` ...; ``DELETE`` removes all |
| ``POST /_recv/secret`` | ``{"secret": "whsec_...", "name": null}`` adds; ``DELETE`` removes all |
| ``POST /_recv/reset`` | deletes webhooks and behaviours; ``GET /_recv/healthz`` answers ``ok`` |
"""

from collections.abc import Callable
from datetime import timedelta

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.broken_responses import (
    ClosedConnection,
    DelayedResponse,
    HangingResponse,
    ResetConnection,
    huge_response,
)
from simulator.clock import SimulatorClock
from simulator.receiver.inbox import (
    Behaviour,
    Inbox,
    ResponseMode,
    WebhookCall,
    summary_line,
)
from simulator.script import Json, Script, error_text, parse_scripts

WriteLine = Callable[[str], None]


def create_receiver_app(inbox: Inbox, clock: SimulatorClock, write_line: WriteLine) -> Starlette:
    """Return the app; ``write_line`` gets one line per verified webhook."""
    api = ReceiverApi(inbox, clock, write_line)
    return Starlette(
        routes=[
            Route("/hooks/{name}", api.receive, methods=["POST"]),
            Route("/_recv/calls", api.list_webhooks, methods=["GET"]),
            Route("/_recv/behaviour", api.add_behaviours, methods=["POST"]),
            Route("/_recv/behaviour", api.clear_behaviours, methods=["DELETE"]),
            Route("/_recv/secret", api.add_secret, methods=["POST"]),
            Route("/_recv/secret", api.clear_secrets, methods=["DELETE"]),
            Route("/_recv/reset", api.reset, methods=["POST"]),
            Route("/_recv/healthz", api.healthz, methods=["GET"]),
        ]
    )


class SecretScript(Script):
    """What ``/_recv/secret`` takes; ``name`` None: for every path."""

    secret: str
    name: str | None = None


class ReceiverApi:
    """Endpoints over one inbox."""

    def __init__(self, inbox: Inbox, clock: SimulatorClock, write_line: WriteLine) -> None:
        self._inbox = inbox
        self._clock = clock
        self._write_line = write_line

    async def receive(self, request: Request) -> Response:
        """Keep a webhook, then respond as scripted."""
        webhook = await self._parse_webhook(request)
        self._inbox.webhooks.append(webhook)
        if webhook.is_verified:
            self._write_line(summary_line(webhook))
        return build_response(webhook, self._clock)

    async def list_webhooks(self, request: Request) -> Response:
        """List the webhooks."""
        name = request.query_params.get("name")
        found = [call for call in self._inbox.webhooks if name in {None, call.name}]
        return _json_response(
            {"calls": [_webhook_to_json(call) for call in found], "total": len(found)}
        )

    async def add_behaviours(self, request: Request) -> Response:
        """Add behaviours."""
        try:
            behaviours = parse_scripts(Behaviour, orjson.loads(await request.body()))
        except ValueError as error:
            return _json_response({"error": error_text(error)}, 400)
        self._inbox.rules.extend(behaviours)
        return _json_response({"added": len(behaviours)})

    async def add_secret(self, request: Request) -> Response:
        """Add a secret."""
        try:
            script = SecretScript.model_validate(orjson.loads(await request.body()))
            self._inbox.add_secret(script.secret, script.name)
        except ValueError as error:
            return _json_response({"error": error_text(error)}, 400)
        return _json_response({"status": "trusted"})

    async def clear_behaviours(self, _request: Request) -> Response:
        """Remove all behaviours; webhooks and secrets stay."""
        self._inbox.rules.clear()
        return _json_response({"status": "forgotten"})

    async def clear_secrets(self, _request: Request) -> Response:
        """Remove all secrets."""
        self._inbox.clear_secrets()
        return _json_response({"status": "forgotten"})

    async def reset(self, _request: Request) -> Response:
        """Delete webhooks and behaviours."""
        self._inbox.reset()
        return _json_response({"status": "reset"})

    async def healthz(self, _request: Request) -> Response:
        """Answer a health check."""
        return _json_response({"status": "ok"})

    async def _parse_webhook(self, request: Request) -> WebhookCall:
        name, headers, body = request.path_params["name"], request.headers, await request.body()
        return WebhookCall(
            name=name,
            path=request.url.path,
            received_at=self._clock.now(),
            headers=dict(headers),
            body=body,
            rejection_reason=self._inbox.verification_error(name, headers, body),
            behaviour=self._inbox.take_behaviour(name),
        )


def build_response(webhook: WebhookCall, clock: SimulatorClock) -> Response:
    """Return the response; 401 in place of 200 for a webhook without a valid signature."""
    behaviour = webhook.behaviour
    match behaviour.manner:
        case ResponseMode.HANG:
            return HangingResponse()
        case ResponseMode.CLOSE:
            return ClosedConnection()
        case ResponseMode.RESET:
            return ResetConnection()
        case ResponseMode.HUGE:
            return huge_response(behaviour.size, behaviour.status)
        case ResponseMode.SLOW:
            return DelayedResponse(
                _build_default_response(webhook, behaviour),
                timedelta(seconds=behaviour.seconds),
                clock,
            )
        case ResponseMode.ANSWER:
            return _build_default_response(webhook, behaviour)


def _build_default_response(webhook: WebhookCall, behaviour: Behaviour) -> Response:
    ok = 200
    status = 401 if behaviour.status == ok and not webhook.is_verified else behaviour.status
    answer = _json_response(
        {"verified": webhook.is_verified, "reason": webhook.rejection_reason}, status
    )
    if behaviour.retry_after is not None:
        answer.headers["retry-after"] = str(behaviour.retry_after)
    return answer


def _webhook_to_json(webhook: WebhookCall) -> Json:
    return {
        "name": webhook.name,
        "path": webhook.path,
        "received_at": webhook.received_at.isoformat(),
        "headers": dict(webhook.headers),
        "body": webhook.body.decode(errors="replace"),
        "verified": webhook.is_verified,
        "reason": webhook.rejection_reason,
        "webhook_id": webhook.webhook_id,
        "manner": webhook.behaviour.manner.value,
        "status": webhook.behaviour.status,
    }


def _json_response(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
