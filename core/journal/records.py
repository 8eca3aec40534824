"""The journal's records: the entry of a paid submit, and RunComfy's answer beside it.

The names of the objects state all that a decision needs:

    entries/2026-11-28/a4/req_01K….1.entry       job req_01K…, created that day, its first submit
    entries/2026-11-28/a4/req_01K….1.accepted    RunComfy's answer to it
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

import orjson
from pydantic import TypeAdapter

from core.jobs.job import Job
from core.jobs.submission import IdempotencyRecord, Submission
from core.money import MicroUsd
from core.store.codecs import JOB_CODEC
from core.store.identity import StorePosition

ENTRIES: Final = "entries/"
POSITION: Final = "store.json"
"""The furthest position of the store that the journal belongs to."""
IDENTITY: Final = "identity"
"""Names the journal. It is created once: an empty journal is another one."""
_ENTRY: Final = "entry"
_FORMAT: Final = 1
_OF_THE_STORE: Final = {
    *("journal_id", "newest_entry", "lost_entry"),
    *("doubt_until", "complete_since"),
}
"""The store's knowledge of its journal, and of itself."""


class Outcome(StrEnum):
    """What RunComfy answered to a submit. No answer: it may have been paid for."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """Refused, free of charge."""
    NOT_SENT = "not_sent"
    """It certainly started no work."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One submit of a job, as the names of the journal's objects state it."""

    number: int
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """The intent to submit. It has all that is needed to build the job's record again."""

    job: Job
    """The record as claimed."""
    number: int
    submission: Submission
    claim: str
    """Random, and known only to the claim that created the entry: that claim may send."""


@dataclass(frozen=True, slots=True)
class JournalAnswer:
    """RunComfy's answer to a submit; the last five fields as in `worker.ports.UpstreamFault`."""

    outcome: Outcome
    at: datetime
    upstream_id: str | None = None
    scope: str = "input"
    """Of a rejection: what it is about (`worker.ports.RefusalScope`)."""
    kind: str = ""
    message: str = ""
    http_status: int | None = None
    code: str | None = None


_ANSWERS: Final = TypeAdapter(JournalAnswer)
_POSITIONS: Final = TypeAdapter(StorePosition)


def day_prefix(day: date) -> str:
    """Return what the names of all entries of jobs that were created on a day begin with."""
    return f"{ENTRIES}{day.isoformat()}/"


def attempts_prefix(job: Job) -> str:
    """Return what the names of a job's entries and answers begin with.

    It depends on nothing that changes while the job lives. The two digits spread a day's entries
    over 256 folders, so that the names of one job are listed quickly.
    """
    shard = hashlib.sha256(job.id.encode()).hexdigest()[:2]
    return f"{day_prefix(job.created_at.date())}{shard}/{job.id}."


def entry_name(prefix: str, number: int) -> str:
    """Return the name of an entry. `prefix`: `attempts_prefix` of its job."""
    return f"{prefix}{number}.{_ENTRY}"


def answer_name(prefix: str, number: int, outcome: Outcome) -> str:
    """Return the name of the answer beside an entry."""
    return f"{prefix}{number}.{outcome}"


def created_on(name: str) -> date:
    """Return the day on which the job of an entry was created."""
    return date.fromisoformat(name.removeprefix(ENTRIES).partition("/")[0])


def prefix_of(name: str) -> str:
    """Return the `attempts_prefix` of the job of an entry or answer."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}."


def job_id_of(prefix: str) -> str:
    """Return the id of the job with this `attempts_prefix`."""
    return prefix.rpartition("/")[2].removesuffix(".")


def parse_attempts(names: Iterable[str]) -> tuple[Attempt, ...]:
    """Return the submits that the names of one job's objects list, in order."""
    outcomes: dict[int, Outcome | None] = {}
    for name in names:
        number, _, what = name.rpartition("/")[2].partition(".")[2].partition(".")
        if what == _ENTRY:
            outcomes.setdefault(int(number), None)
        else:
            outcomes[int(number)] = Outcome(what)
    return tuple(Attempt(number, outcomes[number]) for number in sorted(outcomes))


def encode_entry(entry: JournalEntry) -> bytes:
    """Return an entry as JSON. The input of a tenant without `keep_inputs` is left out."""
    submission = entry.submission
    kept = b64encode(submission.input).decode() if submission.keeps_input else None
    return orjson.dumps(
        {
            "format": _FORMAT,
            "number": entry.number,
            "claim": entry.claim,
            "job": orjson.Fragment(JOB_CODEC.encode(entry.job)),
            "input": kept,
            "input_sha256": hashlib.sha256(submission.input).hexdigest(),
            "reserved": int(submission.reserved),
            "idempotency": submission.idempotency,
        }
    )


def decode_entry(content: bytes) -> JournalEntry | None:
    """Parse an entry; None if it is incomplete, as a crash of the machine can leave it."""
    try:
        found: Mapping[str, Any] = orjson.loads(content)
        kept, used = found["input"], found["idempotency"]
        submission = Submission(
            input=b"" if kept is None else b64decode(kept),
            reserved=MicroUsd(found["reserved"]),
            keeps_input=kept is not None,
            idempotency=None if used is None else IdempotencyRecord(**used),
        )
        job = JOB_CODEC.decode(orjson.dumps(found["job"]))
        return JournalEntry(job, found["number"], submission, found["claim"])
    except (ValueError, KeyError, TypeError):
        return None


def encode_answer(answer: JournalAnswer) -> bytes:
    """Return an answer as JSON."""
    return _ANSWERS.dump_json(answer, exclude_defaults=True)


def decode_answer(content: bytes) -> JournalAnswer | None:
    """Parse an answer; None if it is incomplete."""
    try:
        return _ANSWERS.validate_json(content)
    except ValueError:
        return None


def encode_position(position: StorePosition) -> bytes:
    """Return a position as JSON."""
    return _POSITIONS.dump_json(position, exclude_defaults=True, exclude=_OF_THE_STORE)


def decode_position(content: bytes) -> StorePosition:
    """Parse a position. Raises pydantic's `ValidationError`."""
    return _POSITIONS.validate_json(content)
