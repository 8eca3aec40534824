"""The producer's half of arq: the message that wakes a worker. Knows arq's layout; decides nothing.

A message carries a job id and a version. It is a doorbell, never the only copy of anything: one
that is lost costs seconds, one that is doubled is refused by the record's version.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import orjson
from arq.jobs import serialize_job

from core.clock import to_ms
from core.jobs import Job
from core.store import keys

ADVANCE: Final = "advance"
"""The one function that workers register for messages."""
MESSAGE_LIFE: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Message:
    """An arq message, ready to be written: its name in the queue, its key, its bytes."""

    name: str
    key: str
    body: bytes

    @property
    def life_ms(self) -> int:
        """How long arq's key lives."""
        return int(MESSAGE_LIFE.total_seconds() * 1000)


def ring_for(job: Job, now: datetime) -> Message:
    """The message that asks a worker to take `job` one step on.

    One name per version: arq drops doubles.
    """
    name = f"{job.id}:{job.version}"
    body = serialize_job(
        ADVANCE, (job.id, job.version), {}, None, to_ms(now), serializer=orjson.dumps
    )
    return Message(name=name, key=keys.message(name), body=body)
