"""The ``/_sim`` calls: script faults, change settings, read the ledger and the counters.

| call | does |
| --- | --- |
| ``POST /_sim/faults`` | adds rules, one object or a list; ``GET`` lists, ``DELETE`` forgets them |
| ``GET /_sim/ledger?marker=`` | every paid submission; ``/_sim/ledger/summary`` sums them up |
| ``GET /_sim/calls`` | calls of each sort, and how many of them a rule spoiled |
| ``POST /_sim/balance`` | ``{"usd": 5, "enforce": true}`` |
| ``POST /_sim/pace`` | ``{"queue": [0, 1], "run": [2, 6]}`` seconds, ``{"cost_delay": 3}`` |
| ``POST /_sim/reset`` | back to the start; ``GET /_sim/healthz`` answers ``ok`` |
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.runcomfy.documents import MICRO
from simulator.runcomfy.faults import Call, read_rules, rule_document
from simulator.runcomfy.job import Pace, Span
from simulator.runcomfy.state import Entry, Setup, World
from simulator.script_fields import Fields, Json, ScriptError

Read = Callable[[World, Request], object]
Change = Callable[[World, object], object]


def control_routes(world: World) -> list[Route]:
    """Routes over one world."""
    return [
        Route("/_sim/healthz", _reader(world, _healthz), methods=["GET"]),
        Route("/_sim/faults", _reader(world, _faults), methods=["GET"]),
        Route("/_sim/faults", _changer(world, _add_faults), methods=["POST"]),
        Route("/_sim/faults", _reader(world, _forget_faults), methods=["DELETE"]),
        Route("/_sim/ledger", _reader(world, _ledger), methods=["GET"]),
        Route("/_sim/ledger/summary", _reader(world, _summary), methods=["GET"]),
        Route("/_sim/calls", _reader(world, _calls), methods=["GET"]),
        Route("/_sim/balance", _changer(world, _set_balance), methods=["POST"]),
        Route("/_sim/pace", _changer(world, _set_pace), methods=["POST"]),
        Route("/_sim/reset", _reader(world, _reset), methods=["POST"]),
    ]


def _reader(world: World, read: Read) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return _json(read(world, request))

    return handle


def _changer(world: World, change: Change) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return _json(change(world, orjson.loads(await request.body())))
        except (ScriptError, orjson.JSONDecodeError) as error:
            return _json({"error": str(error)}, status=400)

    return handle


def _healthz(_world: World, _request: Request) -> object:
    return {"status": "ok"}


def _faults(world: World, _request: Request) -> object:
    return {
        "rules": [
            {
                **rule_document(entry.rule),
                "times": entry.dose.times,
                "rate": entry.dose.rate,
                "used": entry.used,
            }
            for entry in world.rules.entries
        ]
    }


def _add_faults(world: World, document: object) -> object:
    rules = read_rules(document)
    world.rules.extend(rules)
    return {"added": len(rules)}


def _forget_faults(world: World, _request: Request) -> object:
    world.rules.clear()
    return {"rules": []}


def _ledger(world: World, request: Request) -> object:
    marker = request.query_params.get("marker")
    entries = [entry for entry in world.ledger if marker in {None, entry.marker}]
    return {"entries": [_entry(world, entry) for entry in entries], "total": len(entries)}


def _entry(world: World, entry: Entry) -> Json:
    return {
        "request_id": entry.request_id,
        "model_id": entry.model_id,
        "received_at": entry.received_at.isoformat(),
        "input": entry.given,
        "price": entry.price / MICRO,
        "charge": world.jobs[entry.request_id].charge / MICRO,
        "fingerprint": entry.fingerprint,
        "marker": entry.marker,
    }


def _summary(world: World, _request: Request) -> object:
    entries = world.ledger
    markers = Counter(entry.marker for entry in entries if entry.marker is not None)
    return {
        "submissions": len(entries),
        "by_model": Counter(entry.model_id for entry in entries),
        "priced_usd": sum(entry.price for entry in entries) / MICRO,
        "charged_usd": sum(job.charge for job in world.jobs.values()) / MICRO,
        "distinct_fingerprints": len({entry.fingerprint for entry in entries}),
        "markers_paid_twice": sorted(marker for marker, paid in markers.items() if paid > 1),
    }


def _calls(world: World, _request: Request) -> object:
    return {
        "calls": {call.value: world.calls[call] for call in Call},
        "faulty": {call.value: world.faulty_calls[call] for call in Call},
    }


def _set_balance(world: World, document: object) -> object:
    fields = Fields(document)
    usd, enforce = fields.number("usd"), fields.flag("enforce")
    fields.finish()
    setup = world.setup
    world.adjust(
        replace(
            setup,
            balance=setup.balance if usd is None else round(usd * MICRO),
            enforce_balance=setup.enforce_balance if enforce is None else enforce,
        )
    )
    return {"usd": world.setup.balance / MICRO, "enforce": world.setup.enforce_balance}


def _set_pace(world: World, document: object) -> object:
    fields = Fields(document)
    setup = world.setup
    queue = _read_span(fields, "queue", setup.pace.queue)
    run = _read_span(fields, "run", setup.pace.run)
    cost_delay = fields.span_or("cost_delay", setup.cost_delay)
    fields.finish()
    world.adjust(replace(setup, pace=Pace(queue, run), cost_delay=cost_delay))
    return _pace_document(world.setup)


def _read_span(fields: Fields, name: str, usual: Span) -> Span:
    value = fields.raw(name)
    if value is None:
        return usual
    if not isinstance(value, list) or len(value) != len(("low", "high")):
        text = f"{name}: expected [low, high] in seconds"
        raise ScriptError(text)
    ends = Fields({f"{name} low": value[0], f"{name} high": value[1]})
    low, high = ends.span(f"{name} low"), ends.span(f"{name} high")
    if low is None or high is None or low > high:
        text = f"{name}: expected low not above high"
        raise ScriptError(text)
    return Span(low, high)


def _pace_document(setup: Setup) -> Json:
    def ends(span: Span) -> list[float]:
        return [_seconds(span.low), _seconds(span.high)]

    return {
        "queue": ends(setup.pace.queue),
        "run": ends(setup.pace.run),
        "cost_delay": _seconds(setup.cost_delay),
    }


def _seconds(span: timedelta) -> float:
    return span.total_seconds()


def _reset(world: World, _request: Request) -> object:
    world.reset()
    return {"status": "reset"}


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
