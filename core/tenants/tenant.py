"""Tenants and their keys as values: names, key format, scopes. Knows no store.

A key reads `rcg_<tenant>_<secret><check>`: it names its tenant, so that a leaked one finds its
owner, and its check digits tell a typo from a refused key without asking the store.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from core.errors import InvalidInput
from core.tenants.cache_policy import TenantCachePolicy
from core.tenants.limits import Limits

NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?"


_NAME: Final = re.compile(NAME_PATTERN)


NO_LIMITS: Final = Limits()


DEFAULT_CACHE_POLICY: Final = TenantCachePolicy()


class DoubtPolicy(StrEnum):
    """What becomes of a submit in doubt that no person resolves."""

    HOLD = "hold"
    """Wait for a person for a while, then fail it."""
    FAIL = "fail"
    """Fail it at once."""
    RESEND = "resend"
    """Send it once more: rather a double charge than a missing result."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """A team that shares the RunComfy account. Its webhooks are in `WebhookConfig`."""

    name: str
    created_at: datetime
    disabled: bool = False
    doubt: DoubtPolicy | None = None
    """None: as the operator's setting says."""
    limits: Limits = NO_LIMITS
    cache_policy: TenantCachePolicy = DEFAULT_CACHE_POLICY
    keep_inputs: bool = True
    """False: an input is forgotten as soon as it can no more be asked to be sent."""
    result_ttl: timedelta | None = None
    """How long an ended job is kept, if less than `core.retention.RETENTION`. It is kept anyway
    while a webhook attempt for it is pending, and for a day after the last one."""
    version: int = 1
    """Counts the record's changes."""
    deleted_at: datetime | None = None


def is_tenant_name(name: str) -> bool:
    """Whether a tenant could have this name."""
    return _NAME.fullmatch(name) is not None


def check_tenant_name(name: str) -> str:
    """A tenant's name: 1 to 40 lower-case letters, digits, inner hyphens. Raises `InvalidInput`."""
    if not is_tenant_name(name):
        raise InvalidInput(
            "A tenant's name has 1 to 40 lower-case letters, digits and inner hyphens."
        )
    return name
