"""Marks in a prompt that script a single request, without a rule set beforehand.

| mark | does |
| --- | --- |
| ``[sim:KIND]`` | the fault of that kind at the submit (``fail`` is short for ``failed``) |
| ``[sim:KIND=VALUE]`` | the same with a detail: seconds, HTTP status or status word |
| ``[sim:KIND*N]`` | only the first N submits of this prompt |
| ``[sim:queue=S]`` ``[sim:run=S]`` | queues or runs for S seconds |
| ``[mark:TEXT]`` | the ledger's ``marker`` |

An invalid mark is ignored. The first fault in a prompt applies.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from simulator.runcomfy.faults import FaultRule, SimulatedFaultKind, SimulatedOperation
from simulator.runcomfy.job import DurationRange, Pace
from simulator.script import Json

_FAULT_MARK = re.compile(r"\[sim:([a-z0-9_]+)(?:=([^\]*]+))?(?:\*(\d+))?\]")
_MARKER = re.compile(r"\[mark:([^\]]+)\]")
_ALIASES = {"fail": SimulatedFaultKind.FAILED}


@dataclass(frozen=True, slots=True)
class PromptTriggers:
    """The marks of a prompt. ``max_times`` limits the fault; durations override the pace."""

    rule: FaultRule | None = None
    max_times: int | None = None
    queue: timedelta | None = None
    run: timedelta | None = None
    marker: str | None = None

    def pace_or_default(self, default: Pace) -> Pace:
        """Return the default pace with the prompt's durations."""
        queue = default.queue if self.queue is None else DurationRange(self.queue, self.queue)
        run = default.run if self.run is None else DurationRange(self.run, self.run)
        return Pace(queue=queue, run=run)


NO_TRIGGERS = PromptTriggers()


def parse_triggers(payload: Json) -> PromptTriggers:
    """Return the marks in the input's ``prompt``."""
    prompt = payload.get("prompt")
    if not isinstance(prompt, str) or "[" not in prompt:
        return NO_TRIGGERS
    found = NO_TRIGGERS
    for name, value, times in _FAULT_MARK.findall(prompt):
        found = _with_mark(found, name, value, times)
    marker = _MARKER.search(prompt)
    return replace(found, marker=marker.group(1)) if marker else found


def _with_mark(found: PromptTriggers, name: str, value: str, times: str) -> PromptTriggers:
    if name == "queue":
        return replace(found, queue=_parse_seconds(value))
    if name == "run":
        return replace(found, run=_parse_seconds(value))
    rule = _parse_rule(name, value)
    if rule is None or found.rule is not None:
        return found
    return replace(found, rule=rule, max_times=int(times) if times else None)


def _parse_rule(name: str, value: str) -> FaultRule | None:
    try:
        kind = _ALIASES.get(name) or SimulatedFaultKind(name)
        detail = _DETAILS.get(kind, _status)(value) if value else {}
        return FaultRule(kind=kind, call=SimulatedOperation.SUBMIT, **detail)
    except ValueError:
        return None


def _status(value: str) -> Json:
    return {"status": int(value)}


_DETAILS: Mapping[SimulatedFaultKind, Callable[[str], Json]] = {
    SimulatedFaultKind.SLOW: lambda value: {"seconds": float(value)},
    SimulatedFaultKind.UNKNOWN_WORD: lambda value: {"word": value},
    SimulatedFaultKind.THROTTLED: lambda value: {"retry_after": float(value)},
}


def _parse_seconds(value: str) -> timedelta | None:
    try:
        return timedelta(seconds=float(value))
    except ValueError:
        return None
