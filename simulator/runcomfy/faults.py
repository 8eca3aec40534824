"""Fault rules: which call fails, how, and whether it is executed all the same.

``fault_effects`` builds the responses.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from simulator.runcomfy.job import UNKNOWN_WORD, Anomaly, AnomalyKind
from simulator.script import Count, Json, Rule, Seconds

DEFAULT_SECONDS = 5.0
DEFAULT_SIZE = 256 * 1024 * 1024
DEFAULT_LOCATION = "https://elsewhere.example/moved"


class SimulatedOperation(StrEnum):
    """The operations of rules and counters."""

    SUBMIT = "submit"
    STATUS = "status"
    RESULT = "result"
    CANCEL = "cancel"
    CATALOGUE = "catalogue"
    BALANCE = "balance"


class SimulatedFaultKind(StrEnum):
    """Every kind of fault."""

    THROTTLED = "429"
    ERROR = "error"
    ERROR_IN_200 = "error_in_200"
    HTML = "html"
    LOST_BEFORE = "lost_before"
    LOST_AFTER = "lost_after"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    SERVER_ERROR_BEFORE = "5xx_before"
    SERVER_ERROR_AFTER = "5xx_after"
    SLOW = "slow"
    HANG = "hang"
    MISSING_ID = "missing_id"
    UNKNOWN_WORD = "unknown_word"
    COMPLETED_WITHOUT_OUTPUT = "completed_without_output"
    STATUS_RESULT_DISAGREE = "status_result_disagree"
    FAILED = "failed"
    REDIRECT = "redirect"
    HUGE = "huge"
    GARBAGE = "garbage"
    NOT_FOUND = "not_found"
    NOT_JSON_CONTENT_TYPE = "not_json_content_type"


_ALL_OPERATIONS = frozenset(SimulatedOperation)
_REQUEST_OPERATIONS = frozenset(
    {SimulatedOperation.STATUS, SimulatedOperation.RESULT, SimulatedOperation.CANCEL}
)
_ID_OPERATIONS = _REQUEST_OPERATIONS | {SimulatedOperation.SUBMIT}
_JOB_OPERATIONS = frozenset(
    {SimulatedOperation.SUBMIT, SimulatedOperation.STATUS, SimulatedOperation.RESULT}
)


@dataclass(frozen=True, slots=True)
class FaultTraits:
    """Per kind: whether the call is executed (a submit charged), and possible operations."""

    is_executed: bool
    operations: frozenset[SimulatedOperation] = _ALL_OPERATIONS


FAULT_TRAITS = {
    SimulatedFaultKind.THROTTLED: FaultTraits(is_executed=False),
    SimulatedFaultKind.ERROR: FaultTraits(is_executed=False),
    SimulatedFaultKind.ERROR_IN_200: FaultTraits(is_executed=False),
    SimulatedFaultKind.HTML: FaultTraits(is_executed=False),
    SimulatedFaultKind.LOST_BEFORE: FaultTraits(is_executed=False),
    SimulatedFaultKind.LOST_AFTER: FaultTraits(is_executed=True),
    SimulatedFaultKind.RESET_BEFORE: FaultTraits(is_executed=False),
    SimulatedFaultKind.RESET_AFTER: FaultTraits(is_executed=True),
    SimulatedFaultKind.SERVER_ERROR_BEFORE: FaultTraits(is_executed=False),
    SimulatedFaultKind.SERVER_ERROR_AFTER: FaultTraits(is_executed=True),
    SimulatedFaultKind.SLOW: FaultTraits(is_executed=True),
    SimulatedFaultKind.HANG: FaultTraits(is_executed=True),
    SimulatedFaultKind.MISSING_ID: FaultTraits(is_executed=True, operations=_ID_OPERATIONS),
    SimulatedFaultKind.UNKNOWN_WORD: FaultTraits(is_executed=True, operations=_JOB_OPERATIONS),
    SimulatedFaultKind.COMPLETED_WITHOUT_OUTPUT: FaultTraits(
        is_executed=True, operations=_JOB_OPERATIONS
    ),
    SimulatedFaultKind.STATUS_RESULT_DISAGREE: FaultTraits(
        is_executed=True, operations=_JOB_OPERATIONS
    ),
    SimulatedFaultKind.FAILED: FaultTraits(is_executed=True, operations=_JOB_OPERATIONS),
    SimulatedFaultKind.REDIRECT: FaultTraits(is_executed=False),
    SimulatedFaultKind.HUGE: FaultTraits(is_executed=True),
    SimulatedFaultKind.GARBAGE: FaultTraits(is_executed=True),
    SimulatedFaultKind.NOT_FOUND: FaultTraits(is_executed=False, operations=_REQUEST_OPERATIONS),
    SimulatedFaultKind.NOT_JSON_CONTENT_TYPE: FaultTraits(is_executed=True),
}


def _none_if_any(call: object) -> object:
    return None if call == "any" else call


class FaultRule(Rule):
    """One fault. ``call`` None: any; each kind uses the fields that it needs."""

    kind: SimulatedFaultKind = Field(strict=False)
    call: Annotated[SimulatedOperation | None, BeforeValidator(_none_if_any)] = Field(
        None, strict=False
    )
    model: str | None = None
    request_id: str | None = None
    carried_out: bool | None = None
    status: Count | None = None
    body: Any = None
    retry_after: Annotated[float, Field(ge=0)] | None = None
    seconds: Seconds = DEFAULT_SECONDS
    word: str = UNKNOWN_WORD
    location: str = DEFAULT_LOCATION
    size: Count = DEFAULT_SIZE

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if self.call is not None and self.call not in FAULT_TRAITS[self.kind].operations:
            text = f"call: {self.kind} is not possible for {self.call}"
            raise ValueError(text)
        return self

    @property
    def delay(self) -> timedelta:
        """How late a slow answer is."""
        return timedelta(seconds=self.seconds)

    @property
    def executes_call(self) -> bool:
        """Whether the call is executed although its response is faulty."""
        return FAULT_TRAITS[self.kind].is_executed if self.carried_out is None else self.carried_out

    @property
    def anomaly(self) -> Anomaly | None:
        """The anomaly of a kind that is one; None for the others."""
        if self.kind.value not in list(AnomalyKind):
            return None
        plain = Anomaly(AnomalyKind(self.kind.value), status_word=self.word)
        return plain if self.body is None else Anomaly(plain.kind, self.word, self.body)

    def matches(
        self, operation: SimulatedOperation, model_id: str | None, request_id: str | None
    ) -> bool:
        """Return whether the rule matches a call."""
        return (
            operation in FAULT_TRAITS[self.kind].operations
            and self.call in {None, operation}
            and self.model in {None, model_id}
            and self.request_id in {None, request_id}
        )

    def summary(self) -> Json:
        """Return the rule's identifying fields."""
        return {
            "kind": self.kind.value,
            "call": self.call.value if self.call else "any",
            "model": self.model,
            "request_id": self.request_id,
            "carried_out": self.executes_call,
            "times": self.times,
            "rate": self.rate,
        }
