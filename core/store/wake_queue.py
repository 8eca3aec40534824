"""Messages in arq's queue that wake a worker. This module writes arq's own format.

A message carries a job's id and version, never the only copy of anything: the due index has the job
too. A lost message costs seconds, and the record's version makes a duplicate harmless.
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
"""The arq function that workers register."""
WAKE_GRACE: Final = timedelta(seconds=5)
"""How long a job waits for the worker that its message wakes, before any worker may claim it."""


@dataclass(frozen=True, slots=True)
class WakeMessage:
    """An arq message: its name in the queue, its Redis key, its bytes."""

    name: str
    key: str
    body: bytes


ANY_VERSION: Final = 0
"""In messages of the dispatcher, which reads no job records and so knows no version."""
_JOB_ID_PLACEHOLDER: Final = "@job@"
_MESSAGE_TTL_MS: Final = MESSAGE_TTL // MILLISECOND


def dispatch_template(now: datetime) -> bytes:
    """Return the message for a dispatched job; the script replaces `@job@` by the job's id."""
    return serialize_job(
        WAKE_FUNCTION,
        (_JOB_ID_PLACEHOLDER, ANY_VERSION),
        {},
        None,
        to_ms(now),
        serializer=orjson.dumps,
    )


def dispatch_arguments(now: datetime) -> tuple[bytes, int, int]:
    """Return what a dispatching script needs: the message, its TTL (ms), when jobs are due (ms)."""
    return dispatch_template(now), _MESSAGE_TTL_MS, to_ms(now + WAKE_GRACE)


def is_current(version: int, job: Job) -> bool:
    """Return whether a message for `version` still applies to the job.

    A dispatcher's message is for the job's first claim only. A late or duplicate one finds the job
    leased by a worker, and must not be mistaken for a claim after that worker's death.
    """
    if version == ANY_VERSION:
        return job.state is JobState.QUEUED and job.lease_holder is None
    return version == job.version


def wake_message(job: Job, now: datetime) -> WakeMessage:
    """Return the message that lets a worker run the job's next step.

    The name contains the version, so that arq drops duplicates.
    """
    name = f"{job.id}:{job.version}"
    body = serialize_job(
        WAKE_FUNCTION, (job.id, job.version), {}, None, to_ms(now), serializer=orjson.dumps
    )
    return WakeMessage(name=name, key=keys.arq_message(name), body=body)
