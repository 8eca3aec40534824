"""Who each Redis key belongs to, and what frees it. Knows the catalogue; a test walks both.

Nothing that belongs to a job or a callback may outlive it; what belongs to a tenant, a model or the
gateway is as large as there are of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Owner(StrEnum):
    """With what a key ends, or stays of one size."""

    JOB = "a job"
    CALLBACK = "a callback"
    TENANT = "a tenant"
    MODEL = "a model"
    GATEWAY = "the gateway"


@dataclass(frozen=True, slots=True)
class Freed:
    """Whose a key is, and what takes it, or its members, away."""

    owner: Owner
    by: str


_REDIS: Final = "Redis, when its time is over"
_TRIM: Final = "`prune_indexes`, once a minute, when the record is gone; `delete_job`"
_EMPTY: Final = "its last member's leaving"
_FIXED: Final = "nothing: it does not grow"
_DELETED: Final = "`delete_tenant`"

FREED: Final[Mapping[str, Freed]] = {
    "gw:job:{id}": Freed(Owner.JOB, f"{_REDIS}; `delete_job`"),
    "gw:job:{id}:timeline": Freed(Owner.JOB, f"{_REDIS}; `delete_job`"),
    "gw:job:{id}:deliveries": Freed(Owner.JOB, f"{_REDIS}; `delete_job`"),
    "gw:once:{scope}:{fingerprint}": Freed(
        Owner.JOB, f"{_REDIS}; `update_job` where nothing may be reused"
    ),
    "gw:followers:{id}": Freed(Owner.JOB, "its last member's leaving"),
    "gw:idempotency:{tenant}:{digest}": Freed(Owner.JOB, _REDIS),
    "gw:batch:{id}": Freed(Owner.JOB, _REDIS),
    "gw:batch:{id}:items": Freed(Owner.JOB, _REDIS),
    "gw:tenant:{name}:batches": Freed(Owner.JOB, f"{_REDIS}; members: `admit_jobs` of the next"),
    "gw:batches": Freed(Owner.GATEWAY, "members: `complete_batch`"),
    "gw:due": Freed(Owner.GATEWAY, "members: `update_job` when nothing is left to do"),
    "gw:states": Freed(Owner.GATEWAY, _FIXED),
    "gw:doubts": Freed(Owner.GATEWAY, "members: `update_job` when the doubt ends"),
    "gw:unsent": Freed(Owner.GATEWAY, "members: `update_job` when RunComfy has the job"),
    "gw:delivery:{id}": Freed(Owner.CALLBACK, f"{_REDIS}; `delete_job`"),
    "gw:delivery:{id}:attempts": Freed(Owner.CALLBACK, f"{_REDIS}; `delete_job`"),
    "gw:outbox": Freed(Owner.GATEWAY, "members: `complete_attempt` when nothing waits there"),
    "gw:outbox:{channel}": Freed(Owner.CALLBACK, _EMPTY),
    "gw:outbox:{channel}:busy": Freed(Owner.CALLBACK, _EMPTY),
    "gw:outbox:{channel}:state": Freed(Owner.CALLBACK, _REDIS),
    "gw:tenant:{name}:deliveries": Freed(Owner.CALLBACK, f"{_REDIS}; members: the next callback"),
    "gw:tenant:{name}:webhooks": Freed(Owner.TENANT, _DELETED),
    "gw:replays": Freed(Owner.TENANT, "members: the end of the replay"),
    "gw:replay:{tenant}": Freed(Owner.TENANT, _REDIS),
    "gw:sink:{tenant}:{stream}": Freed(Owner.TENANT, "its bound; its readers"),
    "gw:tenant:{name}": Freed(Owner.TENANT, f"{_DELETED}, 30 days later"),
    "gw:tenant:{name}:jobs": Freed(Owner.JOB, f"members: {_TRIM}"),
    "gw:tenant:{name}:jobs:{status}": Freed(Owner.JOB, f"members: `update_job`; {_TRIM}"),
    "gw:tenant:{name}:references": Freed(Owner.JOB, f"members: {_TRIM}"),
    "gw:tenants": Freed(Owner.TENANT, f"members: {_DELETED}"),
    "gw:rate:{tenant}": Freed(Owner.TENANT, _REDIS),
    "gw:use:{tenant}:{window}": Freed(Owner.TENANT, _REDIS),
    "gw:limits": Freed(Owner.GATEWAY, _FIXED),
    "gw:pauses": Freed(Owner.GATEWAY, "members: `gateway resume`"),
    "gw:running": Freed(Owner.GATEWAY, "fields: they go at nought"),
    "gw:waiting": Freed(Owner.GATEWAY, "fields: they go at nought"),
    "gw:heads": Freed(Owner.MODEL, _EMPTY),
    "gw:turns:{model}": Freed(Owner.MODEL, _EMPTY),
    "gw:fair": Freed(Owner.TENANT, f"fields: {_DELETED}"),
    "gw:lanes:{tenant}": Freed(Owner.TENANT, _EMPTY),
    "gw:wait:{tenant}:{model}": Freed(Owner.JOB, _EMPTY),
    "gw:wallet": Freed(Owner.GATEWAY, _FIXED),
    "gw:audit": Freed(Owner.GATEWAY, "its bound"),
    "gw:rate:@polls": Freed(Owner.GATEWAY, _REDIS),
    "gw:rate:@submits": Freed(Owner.GATEWAY, _REDIS),
    "gw:key:{digest}": Freed(Owner.TENANT, f"`gateway key revoke`; {_DELETED}"),
    "gw:tenant:{name}:keys": Freed(Owner.TENANT, _DELETED),
    "gw:catalogue": Freed(Owner.MODEL, "the next sync"),
    "gw:catalogue:meta": Freed(Owner.GATEWAY, _FIXED),
    "gw:workers": Freed(Owner.GATEWAY, "members: the next worker that signs, after an hour"),
    "gw:trimmer": Freed(Owner.GATEWAY, _REDIS),
    "gw:upstream": Freed(Owner.GATEWAY, _FIXED),
    "gw:runs:{model}": Freed(Owner.MODEL, "its bound"),
    "gw:runs": Freed(Owner.MODEL, _FIXED),
    "gw:changes": Freed(Owner.GATEWAY, "nothing is kept"),
    "gw:bell": Freed(Owner.JOB, "members: the worker that takes the message"),
    "arq:job:{message}": Freed(Owner.JOB, f"{_REDIS}; the worker that takes it"),
}
"""By the catalogue's patterns."""
