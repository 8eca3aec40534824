"""Marks inside a prompt that script a single request, where rules cannot be set beforehand.

| mark | does |
| --- | --- |
| ``[sim:KIND]`` | the fault of that kind at the submit (``fail`` is short for ``failed``) |
| ``[sim:KIND=VALUE]`` | the same with a detail: seconds, HTTP status or status word |
| ``[sim:KIND*N]`` | only the first N times that this prompt is sent in |
| ``[sim:queue=S]`` ``[sim:run=S]`` | waits or runs S seconds |
| ``[mark:TEXT]`` | the ledger's ``marker`` |

A mark that cannot be read is not a mark. The first fault in a prompt is the one that happens.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from simulator.runcomfy.faults import Call, Kind, Rule
from simulator.runcomfy.job import Pace, Span
from simulator.script_fields import Json, ScriptError

_MARK = re.compile(r"\[sim:([a-z0-9_]+)(?:=([^\]*]+))?(?:\*(\d+))?\]")
_MARKER = re.compile(r"\[mark:([^\]]+)\]")
_SHORT = {"fail": Kind.FAILED}


@dataclass(frozen=True, slots=True)
class Triggers:
    """What a prompt asks for. ``times`` bounds the fault; spans override the pace."""

    rule: Rule | None = None
    times: int | None = None
    queue: timedelta | None = None
    run: timedelta | None = None
    marker: str | None = None

    def pace(self, usual: Pace) -> Pace:
        """The usual pace, except for what the prompt says."""
        queue = usual.queue if self.queue is None else Span(self.queue, self.queue)
        run = usual.run if self.run is None else Span(self.run, self.run)
        return Pace(queue=queue, run=run)


NONE = Triggers()


def read_triggers(given: Json) -> Triggers:
    """The marks in the input's ``prompt``."""
    prompt = given.get("prompt")
    if not isinstance(prompt, str) or "[" not in prompt:
        return NONE
    found = NONE
    for name, value, times in _MARK.findall(prompt):
        found = _with_mark(found, name, value, times)
    marker = _MARKER.search(prompt)
    return replace(found, marker=marker.group(1)) if marker else found


def _with_mark(found: Triggers, name: str, value: str, times: str) -> Triggers:
    if name == "queue":
        return replace(found, queue=_seconds(value))
    if name == "run":
        return replace(found, run=_seconds(value))
    rule = _read_rule(name, value)
    if rule is None or found.rule is not None:
        return found
    return replace(found, rule=rule, times=int(times) if times else None)


def _read_rule(name: str, value: str) -> Rule | None:
    try:
        kind = _SHORT.get(name) or Kind(name)
        rule = Rule(kind=kind, call=Call.SUBMIT)
        return _DETAIL.get(kind, _with_status)(rule, value) if value else rule
    except (ValueError, ScriptError):
        return None


def _with_status(rule: Rule, value: str) -> Rule:
    return replace(rule, status=int(value))


def _with_delay(rule: Rule, value: str) -> Rule:
    return replace(rule, delay=timedelta(seconds=float(value)))


def _with_word(rule: Rule, value: str) -> Rule:
    return replace(rule, word=value)


def _with_retry_after(rule: Rule, value: str) -> Rule:
    return replace(rule, retry_after=float(value))


_DETAIL: Mapping[Kind, Callable[[Rule, str], Rule]] = {
    Kind.SLOW: _with_delay,
    Kind.UNKNOWN_WORD: _with_word,
    Kind.THROTTLED: _with_retry_after,
}


def _seconds(value: str) -> timedelta | None:
    try:
        return timedelta(seconds=float(value))
    except ValueError:
        return None
