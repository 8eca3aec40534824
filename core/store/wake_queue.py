"""The producer's half of arq: the message that wakes a worker. Knows arq's layout; decides nothing.

A message carries a job id and a version. It is a doorbell, never the only copy of anything: one
that is lost costs seconds, one that is doubled is refused by the record's version.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson
from arq.jobs import serialize_job

from core.clock import MILLISECOND, to_ms
from core.jobs.job import Job, JobState
from core.store import keys

ADVANCE: Final = "advance"
"""The one function that workers register for messages."""
MESSAGE_LIFE: Final = timedelta(hours=1)
RING_GRACE: Final = timedelta(seconds=5)
"""How long a rung job may wait before the watchers look for it by themselves."""


@dataclass(frozen=True, slots=True)
class Message:
    """An arq message, ready to be written: its name in the queue, its key, its bytes."""

    name: str
    key: str
    body: bytes


ANY_VERSION: Final = 0
"""A ring for the job as it stands: the dispatcher's, which reads no records."""
_PLACE: Final = "@job@"


def dispatch_template(now: datetime) -> bytes:
    """The message for a job that gets its slot; the script puts its id where `@job@` stands."""
    return serialize_job(
        ADVANCE, (_PLACE, ANY_VERSION), {}, None, to_ms(now), serializer=orjson.dumps
    )


def dispatch_arguments(now: datetime) -> tuple[bytes, int, int]:
    """What a script needs that hands out slots: the message, its life, when jobs are due (ms)."""
    return dispatch_template(now), MESSAGE_LIFE // MILLISECOND, to_ms(now + RING_GRACE)


def is_meant(version: int, job: Job) -> bool:
    """Whether a ring for `version` still calls to the job as it stands.

    A dispatcher's ring means the job's first claim alone: one that comes late or twice finds the
    job in another worker's hands, and must not be taken for that worker's death.
    """
    if version == ANY_VERSION:
        return job.state is JobState.QUEUED and job.holder is None
    return version == job.version


def ring_for(job: Job, now: datetime) -> Message:
    """The message that asks a worker to take `job` one step on.

    One name per version: arq drops doubles.
    """
    name = f"{job.id}:{job.version}"
    body = serialize_job(
        ADVANCE, (job.id, job.version), {}, None, to_ms(now), serializer=orjson.dumps
    )
    return Message(name=name, key=keys.message(name), body=body)
