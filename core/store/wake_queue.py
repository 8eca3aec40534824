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
_WAKE_GRACE_MS: Final = WAKE_GRACE // MILLISECOND


def dispatch_arguments(now: datetime) -> tuple[bytes, int, int]:
    """Return what a dispatching script needs: the message, its TTL (ms), when jobs are due (ms).

    The script replaces `@job@` in the message by the id of the job that it dispatches.
    """
    now_ms, arguments = to_ms(now), (_JOB_ID_PLACEHOLDER, ANY_VERSION)
    template = serialize_job(WAKE_FUNCTION, arguments, {}, None, now_ms, serializer=orjson.dumps)
    return template, _MESSAGE_TTL_MS, now_ms + _WAKE_GRACE_MS


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
