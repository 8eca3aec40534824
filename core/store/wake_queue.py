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
from core.retention import MESSAGE_TTL
from core.store import keys

WAKE_FUNCTION: Final = "advance"
"""The one function that workers register for messages."""
WAKE_GRACE: Final = timedelta(seconds=5)
"""How long a rung job may wait before the watchers look for it by themselves."""


@dataclass(frozen=True, slots=True)
class WakeMessage:
    """An arq message, ready to be written: its name in the queue, its key, its bytes."""

    name: str
    key: str
    body: bytes


ANY_VERSION: Final = 0
"""A ring for the job as it stands: the dispatcher's, which reads no records."""
_JOB_ID_PLACEHOLDER: Final = "@job@"


def dispatch_template(now: datetime) -> bytes:
    """The message for a job that gets its slot; the script puts its id where `@job@` stands."""
    return serialize_job(
        WAKE_FUNCTION,
        (_JOB_ID_PLACEHOLDER, ANY_VERSION),
        {},
        None,
        to_ms(now),
        serializer=orjson.dumps,
    )


def dispatch_arguments(now: datetime) -> tuple[bytes, int, int]:
    """What a script needs that hands out slots: the message, its life, when jobs are due (ms)."""
    return dispatch_template(now), MESSAGE_TTL // MILLISECOND, to_ms(now + WAKE_GRACE)


def is_current(version: int, job: Job) -> bool:
    """Whether a ring for `version` still calls to the job as it stands.

    A dispatcher's ring means the job's first claim alone: one that comes late or twice finds the
    job in another worker's hands, and must not be taken for that worker's death.
    """
    if version == ANY_VERSION:
        return job.state is JobState.QUEUED and job.lease_holder is None
    return version == job.version


def wake_message(job: Job, now: datetime) -> WakeMessage:
    """The message that asks a worker to take `job` one step on.

    One name per version: arq drops doubles.
    """
    name = f"{job.id}:{job.version}"
    body = serialize_job(
        WAKE_FUNCTION, (job.id, job.version), {}, None, to_ms(now), serializer=orjson.dumps
    )
    return WakeMessage(name=name, key=keys.arq_message(name), body=body)
