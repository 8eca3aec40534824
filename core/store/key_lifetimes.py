"""Who each Redis key belongs to, and what frees it. Knows the catalogue; a test walks both.

Nothing that belongs to a job or a callback may outlive it; what belongs to a tenant, a model or the
gateway is as large as there are of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class KeyOwner(StrEnum):
    """With what a key ends, or stays of one size."""

    JOB = "a job"
    DELIVERY = "a callback"
    TENANT = "a tenant"
    MODEL = "a model"
    GATEWAY = "the gateway"


@dataclass(frozen=True, slots=True)
class KeyCleanup:
    """Whose a key is, and what takes it, or its members, away."""

    owner: KeyOwner
    cleanup: str


_BY_EXPIRY: Final = "Redis, when its time is over"
_BY_PRUNING: Final = "`prune_indexes`, once a minute, when the record is gone; `delete_job`"
_WHEN_EMPTY: Final = "its last member's leaving"
_NEVER: Final = "nothing: it does not grow"
_BY_TENANT_DELETION: Final = "`delete_tenant`"

KEY_CLEANUP: Final[Mapping[str, KeyCleanup]] = {
    "gw:job:{id}": KeyCleanup(KeyOwner.JOB, f"{_BY_EXPIRY}; `delete_job`"),
    "gw:job:{id}:timeline": KeyCleanup(KeyOwner.JOB, f"{_BY_EXPIRY}; `delete_job`"),
    "gw:job:{id}:deliveries": KeyCleanup(KeyOwner.JOB, f"{_BY_EXPIRY}; `delete_job`"),
    "gw:dedup:{scope}:{fingerprint}": KeyCleanup(
        KeyOwner.JOB, f"{_BY_EXPIRY}; `update_job` where nothing may be reused"
    ),
    "gw:followers:{id}": KeyCleanup(KeyOwner.JOB, "its last member's leaving"),
    "gw:idempotency:{tenant}:{digest}": KeyCleanup(KeyOwner.JOB, _BY_EXPIRY),
    "gw:batch:{id}": KeyCleanup(KeyOwner.JOB, _BY_EXPIRY),
    "gw:batch:{id}:items": KeyCleanup(KeyOwner.JOB, _BY_EXPIRY),
    "gw:tenant:{name}:batches": KeyCleanup(
        KeyOwner.JOB, f"{_BY_EXPIRY}; members: `admit_jobs` of the next"
    ),
    "gw:batches": KeyCleanup(KeyOwner.GATEWAY, "members: `complete_batch`"),
    "gw:due": KeyCleanup(KeyOwner.GATEWAY, "members: `update_job` when nothing is left to do"),
    "gw:states": KeyCleanup(KeyOwner.GATEWAY, _NEVER),
    "gw:in_doubt": KeyCleanup(KeyOwner.GATEWAY, "members: `update_job` when the doubt ends"),
    "gw:unsubmitted": KeyCleanup(
        KeyOwner.GATEWAY, "members: `update_job` when RunComfy has the job"
    ),
    "gw:delivery:{id}": KeyCleanup(KeyOwner.DELIVERY, f"{_BY_EXPIRY}; `delete_job`"),
    "gw:delivery:{id}:attempts": KeyCleanup(KeyOwner.DELIVERY, f"{_BY_EXPIRY}; `delete_job`"),
    "gw:outbox": KeyCleanup(
        KeyOwner.GATEWAY, "members: `complete_attempt` when nothing waits there"
    ),
    "gw:outbox:{queue}": KeyCleanup(KeyOwner.DELIVERY, _WHEN_EMPTY),
    "gw:outbox:{queue}:in_flight": KeyCleanup(KeyOwner.DELIVERY, _WHEN_EMPTY),
    "gw:outbox:{queue}:circuit": KeyCleanup(KeyOwner.DELIVERY, _BY_EXPIRY),
    "gw:tenant:{name}:deliveries": KeyCleanup(
        KeyOwner.DELIVERY, f"{_BY_EXPIRY}; members: the next callback"
    ),
    "gw:tenant:{name}:webhooks": KeyCleanup(KeyOwner.TENANT, _BY_TENANT_DELETION),
    "gw:replays": KeyCleanup(KeyOwner.TENANT, "members: the end of the replay"),
    "gw:replay:{tenant}": KeyCleanup(KeyOwner.TENANT, _BY_EXPIRY),
    "gw:sink:{tenant}:{stream}": KeyCleanup(KeyOwner.TENANT, "its bound; its readers"),
    "gw:tenant:{name}": KeyCleanup(KeyOwner.TENANT, f"{_BY_TENANT_DELETION}, 30 days later"),
    "gw:tenant:{name}:jobs": KeyCleanup(KeyOwner.JOB, f"members: {_BY_PRUNING}"),
    "gw:tenant:{name}:jobs:{status}": KeyCleanup(
        KeyOwner.JOB, f"members: `update_job`; {_BY_PRUNING}"
    ),
    "gw:tenant:{name}:references": KeyCleanup(KeyOwner.JOB, f"members: {_BY_PRUNING}"),
    "gw:tenants": KeyCleanup(KeyOwner.TENANT, f"members: {_BY_TENANT_DELETION}"),
    "gw:rate:{tenant}": KeyCleanup(KeyOwner.TENANT, _BY_EXPIRY),
    "gw:usage:{tenant}:{window}": KeyCleanup(KeyOwner.TENANT, _BY_EXPIRY),
    "gw:limits": KeyCleanup(KeyOwner.GATEWAY, _NEVER),
    "gw:pauses": KeyCleanup(KeyOwner.GATEWAY, "members: `gateway resume`"),
    "gw:running": KeyCleanup(KeyOwner.GATEWAY, "fields: they go at nought"),
    "gw:waiting": KeyCleanup(KeyOwner.GATEWAY, "fields: they go at nought"),
    "gw:queue:ready": KeyCleanup(KeyOwner.MODEL, _WHEN_EMPTY),
    "gw:queue:tenants:{model}": KeyCleanup(KeyOwner.MODEL, _WHEN_EMPTY),
    "gw:queue:tags": KeyCleanup(KeyOwner.TENANT, f"fields: {_BY_TENANT_DELETION}"),
    "gw:queue:models:{tenant}": KeyCleanup(KeyOwner.TENANT, _WHEN_EMPTY),
    "gw:queue:jobs:{tenant}:{model}": KeyCleanup(KeyOwner.JOB, _WHEN_EMPTY),
    "gw:account_balance": KeyCleanup(KeyOwner.GATEWAY, _NEVER),
    "gw:audit": KeyCleanup(KeyOwner.GATEWAY, "its bound"),
    "gw:rate:@polls": KeyCleanup(KeyOwner.GATEWAY, _BY_EXPIRY),
    "gw:rate:@submits": KeyCleanup(KeyOwner.GATEWAY, _BY_EXPIRY),
    "gw:key:{digest}": KeyCleanup(KeyOwner.TENANT, f"`gateway key revoke`; {_BY_TENANT_DELETION}"),
    "gw:tenant:{name}:keys": KeyCleanup(KeyOwner.TENANT, _BY_TENANT_DELETION),
    "gw:catalogue": KeyCleanup(KeyOwner.MODEL, "the next sync"),
    "gw:catalogue:meta": KeyCleanup(KeyOwner.GATEWAY, _NEVER),
    "gw:workers": KeyCleanup(
        KeyOwner.GATEWAY, "members: the next worker that signs, after an hour"
    ),
    "gw:prune_lock": KeyCleanup(KeyOwner.GATEWAY, _BY_EXPIRY),
    "gw:upstream:circuit": KeyCleanup(KeyOwner.GATEWAY, _NEVER),
    "gw:runs:{model}": KeyCleanup(KeyOwner.MODEL, "its bound"),
    "gw:runs": KeyCleanup(KeyOwner.MODEL, _NEVER),
    "gw:changes": KeyCleanup(KeyOwner.GATEWAY, "nothing is kept"),
    "gw:wake": KeyCleanup(KeyOwner.JOB, "members: the worker that takes the message"),
    "arq:job:{message}": KeyCleanup(KeyOwner.JOB, f"{_BY_EXPIRY}; the worker that takes it"),
}
"""By the catalogue's patterns."""
