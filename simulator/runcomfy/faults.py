"""Rules for things that go wrong: which call, what happens, and whether the call still counts.

Choosing is pure but for the count of uses; acting on a choice is ``effects``.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from simulator.runcomfy.job import UNKNOWN_WORD, Oddity, Twist
from simulator.script_fields import Fields, Json, ScriptError
from simulator.script_rules import Dose

DEFAULT_DELAY = timedelta(seconds=5)
DEFAULT_SIZE = 256 * 1024 * 1024
DEFAULT_LOCATION = "https://elsewhere.example/moved"


class Call(StrEnum):
    """The calls that rules and counters tell apart."""

    SUBMIT = "submit"
    STATUS = "status"
    RESULT = "result"
    CANCEL = "cancel"
    CATALOGUE = "catalogue"
    BALANCE = "balance"


class Kind(StrEnum):
    """Everything that can go wrong."""

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
    ID_LESS = "id_less"
    UNKNOWN_WORD = "unknown_word"
    COMPLETED_WITHOUT_OUTPUT = "completed_without_output"
    STATUS_RESULT_DISAGREE = "status_result_disagree"
    FAILED = "failed"
    REDIRECT = "redirect"
    HUGE = "huge"
    GARBAGE = "garbage"
    GONE = "gone"
    NOT_JSON_CONTENT_TYPE = "not_json_content_type"


_ALL = frozenset(Call)
_ABOUT_A_REQUEST = frozenset({Call.STATUS, Call.RESULT, Call.CANCEL})
_WITH_AN_ID = _ABOUT_A_REQUEST | {Call.SUBMIT}
_STORY = frozenset({Call.SUBMIT, Call.STATUS, Call.RESULT})


@dataclass(frozen=True, slots=True)
class Trait:
    """What is fixed about a kind: whether the call is carried out (a submit booked), and where."""

    carried_out: bool
    calls: frozenset[Call] = _ALL


TRAITS = {
    Kind.THROTTLED: Trait(carried_out=False),
    Kind.ERROR: Trait(carried_out=False),
    Kind.ERROR_IN_200: Trait(carried_out=False),
    Kind.HTML: Trait(carried_out=False),
    Kind.LOST_BEFORE: Trait(carried_out=False),
    Kind.LOST_AFTER: Trait(carried_out=True),
    Kind.RESET_BEFORE: Trait(carried_out=False),
    Kind.RESET_AFTER: Trait(carried_out=True),
    Kind.SERVER_ERROR_BEFORE: Trait(carried_out=False),
    Kind.SERVER_ERROR_AFTER: Trait(carried_out=True),
    Kind.SLOW: Trait(carried_out=True),
    Kind.HANG: Trait(carried_out=True),
    Kind.ID_LESS: Trait(carried_out=True, calls=_WITH_AN_ID),
    Kind.UNKNOWN_WORD: Trait(carried_out=True, calls=_STORY),
    Kind.COMPLETED_WITHOUT_OUTPUT: Trait(carried_out=True, calls=_STORY),
    Kind.STATUS_RESULT_DISAGREE: Trait(carried_out=True, calls=_STORY),
    Kind.FAILED: Trait(carried_out=True, calls=_STORY),
    Kind.REDIRECT: Trait(carried_out=False),
    Kind.HUGE: Trait(carried_out=True),
    Kind.GARBAGE: Trait(carried_out=True),
    Kind.GONE: Trait(carried_out=False, calls=_ABOUT_A_REQUEST),
    Kind.NOT_JSON_CONTENT_TYPE: Trait(carried_out=True),
}


@dataclass(frozen=True, slots=True)
class Moment:
    """One call as rules see it."""

    call: Call
    model_id: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One thing that goes wrong. ``call`` None is any call; each kind reads the fields it needs."""

    kind: Kind
    call: Call | None = None
    model: str | None = None
    request_id: str | None = None
    carried_out: bool | None = None
    status: int | None = None
    body: object = None
    retry_after: float | None = None
    delay: timedelta = DEFAULT_DELAY
    word: str = UNKNOWN_WORD
    location: str = DEFAULT_LOCATION
    size: int = DEFAULT_SIZE

    def __post_init__(self) -> None:
        """Raise ScriptError when the kind cannot happen to the call."""
        if self.call is not None and self.call not in TRAITS[self.kind].calls:
            text = f"call: {self.kind} cannot happen to {self.call}"
            raise ScriptError(text)

    @property
    def books(self) -> bool:
        """Whether the call is carried out although its answer goes wrong."""
        return TRAITS[self.kind].carried_out if self.carried_out is None else self.carried_out

    @property
    def twist(self) -> Twist | None:
        """What a kind that is an oddity does to answers; None for the others."""
        if self.kind.value not in list(Oddity):
            return None
        plain = Twist(Oddity(self.kind.value), word=self.word)
        return plain if self.body is None else Twist(plain.oddity, self.word, self.body)

    def fits(self, moment: Moment) -> bool:
        """Whether the rule speaks of this call."""
        return (
            moment.call in TRAITS[self.kind].calls
            and self.call in {None, moment.call}
            and self.model in {None, moment.model_id}
            and self.request_id in {None, moment.request_id}
        )


def read_rules(documents: object) -> list[tuple[Rule, Dose]]:
    """Rules from JSON, one object or a list; ScriptError tells what is wrong with them."""
    rows = documents if isinstance(documents, list) else [documents]
    return [_read_rule(row) for row in rows]


def rule_document(rule: Rule) -> Json:
    """What identifies a rule when it is listed."""
    return {
        "kind": rule.kind.value,
        "call": rule.call.value if rule.call else "any",
        "model": rule.model,
        "request_id": rule.request_id,
        "carried_out": rule.books,
    }


def _read_rule(document: object) -> tuple[Rule, Dose]:
    fields = Fields(document)
    kind = fields.word("kind", Kind)
    if kind is None:
        text = "kind: missing"
        raise ScriptError(text)
    rule = Rule(
        kind=kind,
        call=_read_call(fields),
        model=fields.text("model"),
        request_id=fields.text("request_id"),
        carried_out=fields.flag("carried_out"),
        status=fields.whole("status"),
        body=fields.raw("body"),
        retry_after=fields.number("retry_after"),
        delay=fields.span_or("seconds", DEFAULT_DELAY),
        word=fields.text_or("word", UNKNOWN_WORD),
        location=fields.text_or("location", DEFAULT_LOCATION),
        size=fields.whole_or("size", DEFAULT_SIZE),
    )
    dose = Dose.read(fields)
    fields.finish()
    return rule, dose


def _read_call(fields: Fields) -> Call | None:
    value = fields.raw("call")
    return None if value == "any" else Fields({"call": value}).word("call", Call)
