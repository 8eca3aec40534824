"""The ``/_sim`` API: script faults, change settings, read the ledger and the counters.

| call | does |
| --- | --- |
| ``POST /_sim/faults`` | adds rules, one object or a list; ``GET`` lists, ``DELETE`` removes them |
| ``GET /_sim/ledger?marker=`` | paid submissions; ``/_sim/ledger/summary`` has totals |
| ``GET /_sim/calls`` | calls per operation, and how many of them failed by a rule |
| ``POST /_sim/balance`` | ``{"usd": 5, "enforce": true}`` |
| ``POST /_sim/pace`` | ``{"queue": [0, 1], "run": [2, 6]}`` seconds, ``{"cost_delay": 3}`` |
| ``POST /_sim/words`` | ``{"words": "alternative"}`` or ``"documented"``: the status words |
| ``POST /_sim/reset`` | restores the initial state; ``GET /_sim/healthz`` answers ``ok`` |
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import orjson
from pydantic import AfterValidator, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator.runcomfy.documents import MICRO_PER_USD
from simulator.runcomfy.faults import FaultRule, SimulatedOperation
from simulator.runcomfy.job import DurationRange, Pace
from simulator.runcomfy.state import PaidSubmission, RunComfyState, SimulatorConfig
from simulator.runcomfy.vocabulary import Vocabulary
from simulator.script import Json, Script, Seconds, error_text, parse_scripts


def _check_order(ends: list[float]) -> list[float]:
    low, high = ends
    if low > high:
        text = "expected low not above high"
        raise ValueError(text)
    return ends


Span = Annotated[list[Seconds], Field(min_length=2, max_length=2), AfterValidator(_check_order)]
"""``[low, high]``."""


class BalanceScript(Script):
    """What ``/_sim/balance`` takes."""

    usd: Annotated[float, Field(ge=0)] | None = None
    enforce: bool | None = None


class PaceScript(Script):
    """What ``/_sim/pace`` takes, in seconds."""

    queue: Span | None = None
    run: Span | None = None
    cost_delay: Seconds | None = None


class WordsScript(Script):
    """What ``/_sim/words`` takes."""

    words: Vocabulary = Field(strict=False)


ReadHandler = Callable[[RunComfyState, Request], object]
WriteHandler = Callable[[RunComfyState, object], object]


def build_control_routes(state: RunComfyState) -> list[Route]:
    """Return the routes over one state."""
    return [
        Route("/_sim/healthz", _build_read_endpoint(state, _healthz), methods=["GET"]),
        Route("/_sim/faults", _build_read_endpoint(state, _list_faults), methods=["GET"]),
        Route("/_sim/faults", _build_write_endpoint(state, _add_faults), methods=["POST"]),
        Route("/_sim/faults", _build_read_endpoint(state, _clear_faults), methods=["DELETE"]),
        Route("/_sim/ledger", _build_read_endpoint(state, _ledger), methods=["GET"]),
        Route("/_sim/ledger/summary", _build_read_endpoint(state, _summary), methods=["GET"]),
        Route("/_sim/calls", _build_read_endpoint(state, _calls), methods=["GET"]),
        Route("/_sim/balance", _build_write_endpoint(state, _set_balance), methods=["POST"]),
        Route("/_sim/pace", _build_write_endpoint(state, _set_pace), methods=["POST"]),
        Route("/_sim/words", _build_write_endpoint(state, _set_words), methods=["POST"]),
        Route("/_sim/reset", _build_read_endpoint(state, _reset), methods=["POST"]),
    ]


def _build_read_endpoint(
    state: RunComfyState, read: ReadHandler
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return _json_response(read(state, request))

    return handle


def _build_write_endpoint(
    state: RunComfyState, change: WriteHandler
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        try:
            return _json_response(change(state, orjson.loads(await request.body())))
        except ValueError as error:
            return _json_response({"error": error_text(error)}, status=400)

    return handle


def _healthz(_state: RunComfyState, _request: Request) -> object:
    return {"status": "ok"}


def _list_faults(state: RunComfyState, _request: Request) -> object:
    return {"rules": [{**rule.summary(), "used": use_count} for rule, use_count in state.rules]}


def _add_faults(state: RunComfyState, document: object) -> object:
    rules = parse_scripts(FaultRule, document)
    state.rules.extend(rules)
    return {"added": len(rules)}


def _clear_faults(state: RunComfyState, _request: Request) -> object:
    state.rules.clear()
    return {"rules": []}


def _ledger(state: RunComfyState, request: Request) -> object:
    marker = request.query_params.get("marker")
    entries = [entry for entry in state.ledger if marker in {None, entry.marker}]
    return {"entries": [_entry_to_json(state, entry) for entry in entries], "total": len(entries)}


def _entry_to_json(state: RunComfyState, entry: PaidSubmission) -> Json:
    return {
        "request_id": entry.request_id,
        "model_id": entry.model_id,
        "received_at": entry.received_at.isoformat(),
        "input": entry.input,
        "price": entry.price / MICRO_PER_USD,
        "charge": state.jobs[entry.request_id].charge / MICRO_PER_USD,
        "fingerprint": entry.fingerprint,
        "marker": entry.marker,
    }


def _summary(state: RunComfyState, _request: Request) -> object:
    entries = state.ledger
    markers = Counter(entry.marker for entry in entries if entry.marker is not None)
    return {
        "submissions": len(entries),
        "by_model": Counter(entry.model_id for entry in entries),
        "priced_usd": sum(entry.price for entry in entries) / MICRO_PER_USD,
        "charged_usd": sum(job.charge for job in state.jobs.values()) / MICRO_PER_USD,
        "distinct_fingerprints": len({entry.fingerprint for entry in entries}),
        "markers_paid_twice": sorted(marker for marker, paid in markers.items() if paid > 1),
    }


def _calls(state: RunComfyState, _request: Request) -> object:
    return {
        "calls": {call.value: state.calls[call] for call in SimulatedOperation},
        "faulty": {call.value: state.faulty_calls[call] for call in SimulatedOperation},
    }


def _set_balance(state: RunComfyState, document: object) -> object:
    script, config = BalanceScript.model_validate(document), state.config
    balance = config.balance if script.usd is None else round(script.usd * MICRO_PER_USD)
    enforce = config.enforce_balance if script.enforce is None else script.enforce
    state.update_config(replace(config, balance=balance, enforce_balance=enforce))
    return {"usd": state.config.balance / MICRO_PER_USD, "enforce": state.config.enforce_balance}


def _set_pace(state: RunComfyState, document: object) -> object:
    script, config = PaceScript.model_validate(document), state.config
    pace = Pace(
        queue=_duration_range(script.queue) or config.pace.queue,
        run=_duration_range(script.run) or config.pace.run,
    )
    delay = config.cost_delay if script.cost_delay is None else timedelta(seconds=script.cost_delay)
    state.update_config(replace(config, pace=pace, cost_delay=delay))
    return _pace_to_json(state.config)


def _duration_range(ends: list[float] | None) -> DurationRange | None:
    return None if ends is None else DurationRange(*(timedelta(seconds=end) for end in ends))


def _set_words(state: RunComfyState, document: object) -> object:
    script = WordsScript.model_validate(document)
    state.update_config(replace(state.config, vocabulary=script.words))
    return {"words": script.words.value}


def _pace_to_json(config: SimulatorConfig) -> Json:
    def ends(span: DurationRange) -> list[float]:
        return [_seconds(span.minimum), _seconds(span.maximum)]

    return {
        "queue": ends(config.pace.queue),
        "run": ends(config.pace.run),
        "cost_delay": _seconds(config.cost_delay),
    }


def _seconds(span: timedelta) -> float:
    return span.total_seconds()


def _reset(state: RunComfyState, _request: Request) -> object:
    state.reset()
    return {"status": "reset"}


def _json_response(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
