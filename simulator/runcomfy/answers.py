"""What each call is answered when nothing is scripted to go wrong.

Pure but for what the world remembers; knows no HTTP beyond a status and a JSON document.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from simulator.runcomfy.catalogue import MAX_LIMIT, Query
from simulator.runcomfy.documents import (
    MICRO,
    View,
    cancel_document,
    cost_document,
    result_document,
    status_document,
    submit_document,
)
from simulator.runcomfy.errors import HTTP_STATUS, Code, error_document
from simulator.runcomfy.input_check import faults_of
from simulator.runcomfy.job import Job, Twist
from simulator.runcomfy.prompt_triggers import NONE, Triggers
from simulator.runcomfy.state import Order, World
from simulator.script_fields import Json

_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One call as it came in. ``given`` is a submit's JSON object, None when it is none."""

    base_url: str
    now: datetime
    token: str | None = None
    model_id: str = ""
    request_id: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    given: Json | None = None
    triggers: Triggers = NONE
    twist: Twist | None = None

    @property
    def view(self) -> View:
        """What documents need of it."""
        return View(now=self.now, base_url=self.base_url)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP status and a JSON document."""

    status: int
    document: Json


Act = Callable[[World, Asked], Answer]


def guarded(act: Act, world: World, asked: Asked) -> Answer:
    """The call's answer, or 400004 without the right token."""
    token = world.setup.token
    if not asked.token or token not in {None, asked.token}:
        return _refusal(Code.BAD_TOKEN, "API token is missing, expired or revoked")
    return act(world, asked)


def submit(world: World, asked: Asked) -> Answer:
    """Accept, book, and tell where to look."""
    model = world.catalogue.models.get(asked.model_id)
    if model is None:
        return _refusal(Code.BAD_ID, f"Unknown model: {asked.model_id}")
    if asked.given is None:
        detail = [{"loc": ["body"], "msg": "Input should be a JSON object", "type": "json_invalid"}]
        return _refusal(Code.INVALID, "Validation error", detail)
    faults = faults_of(asked.given, model.card["input_schema"])
    if faults:
        return _refusal(Code.INVALID, "Validation error", faults)
    if world.exhausted:
        return _refusal(Code.NO_BALANCE, "Insufficient balance")
    order = Order(model, asked.given, asked.triggers, asked.twist)
    return Answer(200, submit_document(world.submit(order, asked.now), asked.view))


def status(world: World, asked: Asked) -> Answer:
    """Where a request stands."""
    return _about(world, asked, lambda job: status_document(job, asked.view))


def result(world: World, asked: Asked) -> Answer:
    """What came of a request; with ``include_cost`` what it cost."""

    def document(job: Job) -> Json:
        costed = _is_true(asked.query.get("include_cost"))
        cost = cost_document(job, asked.now, world.setup.cost_delay) if costed else {}
        return {**result_document(job, asked.view), **cost}

    return _about(world, asked, document)


def cancel(world: World, asked: Asked) -> Answer:
    """Cancel a waiting request."""
    return _about(
        world, asked, lambda job: cancel_document(*world.cancel(job, asked.now), asked.now)
    )


def models(world: World, asked: Asked) -> Answer:
    """One page of the catalogue."""
    query = asked.query
    limit, offset = query.get("limit", "20"), query.get("offset", "0")
    if not (limit.isdecimal() and offset.isdecimal()):
        detail = [{"loc": ["query"], "msg": "limit and offset are integers", "type": "int_parsing"}]
        return _refusal(Code.INVALID, "Validation error", detail)
    wanted = Query(
        search=query.get("search", ""),
        category=query.get("category", ""),
        kind=query.get("kind", ""),
        include_schema=_is_true(query.get("include_schema")),
        limit=min(int(limit), MAX_LIMIT),
        offset=int(offset),
    )
    return Answer(200, world.catalogue.page(wanted))


def categories(world: World, _asked: Asked) -> Answer:
    """All categories."""
    return Answer(200, {"categories": world.catalogue.categories})


def model(world: World, asked: Asked) -> Answer:
    """One card with its schemas."""
    found = world.catalogue.models.get(asked.model_id)
    if found is None:
        return _refusal(Code.NOT_FOUND, f"Unknown model: {asked.model_id}")
    return Answer(200, found.card)


def balance(world: World, _asked: Asked) -> Answer:
    """What is left, in USD and in micro-dollars."""
    left = world.setup.balance
    return Answer(200, {"balance_usd": left / MICRO, "balance_microdollars": left})


def not_found() -> Answer:
    """What a deleted or expired request is answered."""
    return _refusal(Code.NOT_FOUND, "Request not found")


def _about(world: World, asked: Asked, document: Callable[[Job], Json]) -> Answer:
    if not _REQUEST_ID.fullmatch(asked.request_id):
        return _refusal(Code.BAD_ID, "Malformed request id")
    job = world.jobs.get(asked.request_id)
    return not_found() if job is None else Answer(200, document(job))


def _refusal(code: Code, message: str, detail: list[Json] | None = None) -> Answer:
    return Answer(HTTP_STATUS[code], error_document(code, message, detail))


def _is_true(value: str | None) -> bool:
    return value is not None and value.lower() in {"true", "1"}
