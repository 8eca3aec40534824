"""Which callbacks a change of a job calls for.

Pure; they are written in the same step as the change.
"""

from datetime import datetime

from core.deliveries import Delivery
from core.documents import EVENT_OF_STATUS
from core.ids import IdSource
from core.jobs import Job


def notices(
    before: Job, after: Job, default_webhook: str | None, ids: IdSource, now: datetime
) -> tuple[Delivery, ...]:
    """The deliveries for this step: for an end, and for a status on the way if that was asked."""
    url = after.webhook or default_webhook
    ended = after.final and not before.final
    passed = after.webhook_intermediate and after.status is not before.status
    if url is None or not (ended or passed):
        return ()
    return (
        Delivery(
            id=ids.delivery_id(now),
            job_id=after.id,
            tenant=after.tenant,
            event=EVENT_OF_STATUS[after.status],
            url=url,
            created_at=now,
            due_at=now,
            trace=after.trace,
        ),
    )


def may_notify(before: Job, after: Job) -> bool:
    """Whether the tenant's default endpoint must be known to decide `notices`."""
    return after.webhook is None and (
        (after.final and not before.final)
        or (after.webhook_intermediate and after.status is not before.status)
    )
