"""The tenant record. Values only."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from core.archive import ArchiveMode
from core.errors import InvalidInput
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import Limits
from core.tenants.top_ups import TopUp
from core.tenants.windows import UTC_CALENDAR, AccountingCalendar

NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"

_NAME: Final = re.compile(NAME_PATTERN)
NO_LIMITS: Final = Limits()
DEFAULT_CACHE_POLICY: Final = TenantCachePolicy()


class DoubtPolicy(StrEnum):
    """What to do with an in-doubt submit that no operator resolves."""

    HOLD = "hold"
    """Wait for an operator for the hold time, then fail the job."""
    FAIL = "fail"
    """Fail the job immediately."""
    RESEND = "resend"
    """Send it once more: a double charge is preferred to a missing result."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A team that shares the RunComfy account. Its webhooks are in `WebhookConfig`."""

    name: str
    created_at: datetime
    disabled: bool = False
    doubt: DoubtPolicy | None = None
    """None: the gateway's setting applies."""
    limits: Limits = NO_LIMITS
    cache_policy: TenantCachePolicy = DEFAULT_CACHE_POLICY
    keep_inputs: bool = True
    """False: an input is deleted as soon as it cannot be needed for a submit any more."""
    model_aliases: tuple[tuple[str, str], ...] = ()
    """Names under which the tenant may submit to models, each with the model's id."""
    result_ttl: timedelta | None = None
    """How long an ended job is kept, if less than `core.retention.RETENTION`. A pending webhook
    attempt keeps it longer, until a day after the last attempt."""
    calendar: AccountingCalendar = UTC_CALENDAR
    """When its days, weeks and months begin."""
    top_ups: tuple[TopUp, ...] = ()
    archive: ArchiveMode | None = None
    """When outputs are kept; None: the gateway's setting applies."""
    keep_outputs: timedelta | None = None
    """How long requests with kept outputs, and these, are kept; None: as long as any request."""
    version: int = 1
    """Counts the changes of the record."""
    deleted_at: datetime | None = None
    unknown_fields: tuple[Any, ...] = field(default=(), repr=False, compare=False)
    """What another release has stored; see `core.store.unknown_fields`."""


def is_tenant_name(name: str) -> bool:
    """Return whether a tenant could have this name."""
    return _NAME.fullmatch(name) is not None


def check_tenant_name(name: str) -> str:
    """Return `name` if a tenant may have it, else raise `InvalidInput`."""
    if not is_tenant_name(name):
        raise InvalidInput(
            "A tenant's name has 1 to 40 lower-case letters, digits and inner hyphens."
        )
    return name
