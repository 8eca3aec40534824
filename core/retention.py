"""How long records are kept, and the time limits that must fit into those periods.

They are in one module because each depends on another: shortening one alone loses results that a
caller may still fetch, or deliveries that are still pending. Periods of uploaded files are in
`core.files.records`.
"""

from datetime import timedelta
from typing import Final

RETENTION: Final = timedelta(days=7)
"""How long a finished job is kept. RunComfy keeps outputs for 7 days (its API page); a record kept
longer would link to an output that is gone."""

MAX_CACHE_LIFETIME: Final = RETENTION
"""A cached result is served no longer than RunComfy keeps the output that it links to."""
MIN_CACHE_LIFETIME: Final = timedelta(seconds=1)

RESULT_GRACE_PERIOD: Final = timedelta(hours=24)
"""How long a result is kept after the last delivery attempt about it, so that a receiver that got
the event last of all can still fetch the result."""

MAX_DELIVERY_AGE: Final = RETENTION - RESULT_GRACE_PERIOD - timedelta(hours=6)
"""No attempt starts later than this after the first one was due, so that a job is always kept for
the grace period after its last attempt. The 6 hours are a margin for clocks and slow attempts."""

DELIVERY_RETENTION: Final = 2 * RETENTION
"""How long a delivery is kept after its last attempt. Longer than its job, which each attempt keeps
for at least the grace period: the job's list of deliveries must not name one that is gone."""

EVENT_STREAM_RETENTION: Final = DELIVERY_RETENTION
"""How long an event stays in a Redis stream, and a stream after its last event."""

MAX_ATTEMPT_INTERVAL: Final = timedelta(hours=32)
"""At least the longest wait between two attempts of a delivery, jitter included."""

FAILURE_RESET_AFTER: Final = MAX_ATTEMPT_INTERVAL + timedelta(hours=4)
"""An endpoint's next failure after this long starts a new series of failures. Longer than the wait
between two attempts: otherwise a dead endpoint with few events would never count as failing."""

LATE_RESULT_TIMEOUT: Final = RETENTION - timedelta(days=1)
"""How long after its end an expired job's paid result is still polled for. It ends a day before the
record does, so that the result can be stored and fetched."""

UPSTREAM_ID_RETENTION: Final = timedelta(days=40)
"""How long it is remembered which job has or had a request of RunComfy. Longer than any job lives
and stays in doubt, so that no operator can attach it to a second job."""

WINDOW_RETENTION: Final = timedelta(days=75)
"""How long the window of a budget is kept after it began: longer than any job of its last day can
still settle in it. One that a top-up needs is kept longer."""

USAGE_RETENTION: Final = timedelta(days=400)
"""How long the usage of a day is kept, unless an operator chooses: a month can be compared with
that of the year before. At least `WINDOW_RETENTION`."""

MAX_JOB_AGE: Final = timedelta(days=8)
"""How old a job may be when it is submitted: the entry of an older one is not found in the journal
after the store went back. The longest delay and the longest timeout together stay below it."""

DELETED_TENANT_RETENTION: Final = timedelta(days=30)
"""How long a deleted tenant's record is kept, and its name is taken: longer than any of its open
jobs and their last delivery attempt."""

AUDIT_RETENTION: Final = timedelta(days=400)
"""How long an entry of the audit log is kept: a year, and the time to audit it."""

HEARTBEAT_RETENTION: Final = timedelta(hours=1)
"""How long a worker that stopped without removing its heartbeat is remembered."""

MESSAGE_TTL: Final = timedelta(hours=1)
"""How long arq keeps a wake-up message that no worker takes. A lost message only delays a job until
the next claim of due jobs."""
