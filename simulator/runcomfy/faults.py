"""Fault rules: which call fails, how, and whether it is executed all the same.

``fault_effects`` builds the responses.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from simulator.runcomfy.job import UNKNOWN_WORD, Anomaly, AnomalyKind
from simulator.script_fields import Fields, Json, ScriptError
from simulator.script_rules import RuleFrequency

DEFAULT_DELAY = timedelta(seconds=5)
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


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a rule can match of a call."""

    operation: SimulatedOperation
    model_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class FaultRule:
    """One fault. ``operation`` None: any; each kind uses the fields that it needs."""

    kind: SimulatedFaultKind
    operation: SimulatedOperation | None = None
    model: str | None = None
    request_id: str | None = None
    is_executed: bool | None = None
    status: int | None = None
    body: object = None
    retry_after: float | None = None
    delay: timedelta = DEFAULT_DELAY
    status_word: str = UNKNOWN_WORD
    location: str = DEFAULT_LOCATION
    size: int = DEFAULT_SIZE

    def __post_init__(self) -> None:
        """Raise ScriptError for a kind that is impossible for the operation."""
        if self.operation is not None and self.operation not in FAULT_TRAITS[self.kind].operations:
            text = f"call: {self.kind} is not possible for {self.operation}"
            raise ScriptError(text)

    @property
    def executes_call(self) -> bool:
        """Whether the call is executed although its response is faulty."""
        return FAULT_TRAITS[self.kind].is_executed if self.is_executed is None else self.is_executed

    @property
    def anomaly(self) -> Anomaly | None:
        """The anomaly of a kind that is one; None for the others."""
        if self.kind.value not in list(AnomalyKind):
            return None
        plain = Anomaly(AnomalyKind(self.kind.value), status_word=self.status_word)
        return plain if self.body is None else Anomaly(plain.kind, self.status_word, self.body)

    def matches(self, context: CallContext) -> bool:
        """Return whether the rule matches a call."""
        return (
            context.operation in FAULT_TRAITS[self.kind].operations
            and self.operation in {None, context.operation}
            and self.model in {None, context.model_id}
            and self.request_id in {None, context.request_id}
        )


def parse_rules(documents: object) -> list[tuple[FaultRule, RuleFrequency]]:
    """Parse rules, one object or a list. Raises ScriptError."""
    rows = documents if isinstance(documents, list) else [documents]
    return [_parse_rule(row) for row in rows]


def rule_to_json(rule: FaultRule) -> Json:
    """Return a rule's identifying fields."""
    return {
        "kind": rule.kind.value,
        "call": rule.operation.value if rule.operation else "any",
        "model": rule.model,
        "request_id": rule.request_id,
        "carried_out": rule.executes_call,
    }


def _parse_rule(document: object) -> tuple[FaultRule, RuleFrequency]:
    fields = Fields(document)
    kind = fields.choice("kind", SimulatedFaultKind)
    if kind is None:
        text = "kind: missing"
        raise ScriptError(text)
    rule = FaultRule(
        kind=kind,
        operation=_parse_operation(fields),
        model=fields.text("model"),
        request_id=fields.text("request_id"),
        is_executed=fields.boolean("carried_out"),
        status=fields.integer("status"),
        body=fields.raw("body"),
        retry_after=fields.number("retry_after"),
        delay=fields.duration_or_default("seconds", DEFAULT_DELAY),
        status_word=fields.text_or_default("word", UNKNOWN_WORD),
        location=fields.text_or_default("location", DEFAULT_LOCATION),
        size=fields.integer_or_default("size", DEFAULT_SIZE),
    )
    frequency = RuleFrequency.parse(fields)
    fields.reject_unknown()
    return rule, frequency


def _parse_operation(fields: Fields) -> SimulatedOperation | None:
    value = fields.raw("call")
    return None if value == "any" else Fields({"call": value}).choice("call", SimulatedOperation)
