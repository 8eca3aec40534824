"""What the admin API accepts and returns."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from core.jobs.in_doubt import Attach, MarkLost, Resend, Resolution
from core.tenants.api_keys import Scope
from service.admin.in_doubt import UPSTREAM_ID_PATTERN
from service.admin.limits_and_pauses import LimitChanges
from service.api.schemas import EXAMPLE_MODEL_ID, EXAMPLE_REQUEST_ID
from service.parsing.fields import InvalidField
from service.parsing.request_models import (
    Document,
    FlagOption,
    Instant,
    Number,
    RequestModel,
    TimeText,
    WholeNumberOption,
    example,
    optional,
)
from service.tenants.apply_file import PlanAction
from service.tenants.settings import TenantName, TenantSettings
from service.webhooks.requests import DEFAULT_OVERLAP, MAX_OVERLAP

MAX_AUDIT_ENTRIES: Final = 1000


class ApplyQuery(RequestModel):
    """Options of applying a file."""

    dry_run: FlagOption = Field(default=False, description="Only report what would change.")


class AuditQuery(RequestModel):
    """Options of the audit log."""

    limit: Annotated[int, WholeNumberOption(1, MAX_AUDIT_ENTRIES)] = Field(
        100, description="Number of entries."
    )


class _TenantHead(Document):
    tenant: str
    created_at: TimeText


_TENANT_EXAMPLE: Final[dict[str, Any]] = {
    "tenant": "video-team",
    "created_at": "2025-11-22T14:58:34.120000Z",
    "webhook": "https://video.example/hooks",
    "disabled": False,
    "doubt": None,
    "keep_inputs": True,
    "result_ttl": None,
    "requests_per_minute": 60,
    "burst": None,
    "running": 5,
    "waiting": None,
    "jobs_per_day": None,
    "jobs_per_month": None,
    "usd_per_request": None,
    "usd_per_day": 25.0,
    "usd_per_month": None,
    "weight": 1.0,
    "models": ["kling/*"],
    "priority": "high",
    "unknown_price": "count",
    "unknown_price_counts": 0.0,
    "cache": None,
    "cache_lifetime": None,
    "cache_shared": False,
    "idempotency": "optional",
    "shared_failure": "tell",
    "webhook_secrets": 1,
    "webhook_overlap_ends_at": None,
}


class Tenant(TenantSettings, _TenantHead):
    """A tenant without its secrets."""

    model_config = example(_TENANT_EXAMPLE)

    webhook_secrets: int = Field(description="Number of webhook secrets.")
    webhook_overlap_ends_at: TimeText | None = Field(
        description="When the last of the older webhook secrets ends."
    )


class Tenants(Document):
    """Every tenant."""

    model_config = example({"tenants": [_TENANT_EXAMPLE]})

    tenants: list[Tenant]


class TenantRequest(TenantSettings):
    """A tenant to create."""

    model_config = example(
        {
            "tenant": "video-team",
            "webhook": "https://video.example/hooks",
            "requests_per_minute": 60,
            "running": 5,
            "usd_per_day": 25.0,
            "models": ["kling/*"],
        }
    )

    tenant: TenantName


class NewTenant(Tenant):
    """A tenant with its first key and webhook secret, which are shown once."""

    model_config = example(
        _TENANT_EXAMPLE | {"key": "rcg_video-team_…", "webhook_secret": "whsec_…"}
    )

    key: str
    webhook_secret: str


class _Change(Document):
    field: str
    before: Any = Field(alias="from")
    after: Any = Field(alias="to")


class _PlanStep(Document):
    tenant: str
    action: PlanAction
    changes: list[_Change]
    # Only of a tenant that was created.
    key: str | None = optional()
    webhook_secret: str | None = optional()


class Plan(Document):
    """What applying a file did, or would do, tenant by tenant."""

    model_config = example(
        {
            "steps": [
                {
                    "tenant": "video-team",
                    "action": "change",
                    "changes": [{"field": "usd_per_day", "from": 25.0, "to": 50.0}],
                }
            ]
        }
    )

    steps: list[_PlanStep]


_KEY_EXAMPLE: Final[dict[str, Any]] = {
    "key_id": "9f86d081884c7d65",
    "tenant": "video-team",
    "scopes": ["read", "submit"],
    "created_at": "2025-11-22T14:58:34.120000Z",
    "expires_at": "2026-02-20T00:00:00Z",
    "last_used_at": None,
}


class Key(Document):
    """A key by its id."""

    key_id: str
    tenant: str
    scopes: list[Scope]
    created_at: TimeText
    expires_at: TimeText | None
    last_used_at: TimeText | None = Field(description="To the minute.")


class Keys(Document):
    """A tenant's keys."""

    model_config = example({"keys": [_KEY_EXAMPLE]})

    keys: list[Key]


class KeyRequest(RequestModel):
    """A key to create."""

    model_config = example({"scopes": ["submit", "read"], "expires_at": "2026-02-20T00:00:00Z"})

    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)] = tuple(Scope)
    expires_at: Instant | None = None


class NewKey(Key):
    """A key with its text, which is shown once."""

    model_config = example(_KEY_EXAMPLE | {"key": "rcg_video-team_…"})

    key: str


class SecretRequest(RequestModel):
    """A webhook secret to create."""

    model_config = example({"overlap_seconds": 3600})

    overlap_seconds: Annotated[float, Number(0, MAX_OVERLAP.total_seconds())] = Field(
        DEFAULT_OVERLAP.total_seconds(),
        description="How long the previous secret remains valid.",
    )


class WebhookSecret(Document):
    """A webhook secret, which is shown once."""

    model_config = example(
        {"webhook_secret": "whsec_…", "previous_end_at": "2025-11-23T14:58:34.120000Z"}
    )

    webhook_secret: str
    previous_end_at: TimeText


class _AccountBalance(Document):
    balance_usd: float | None
    read_at: TimeText | None
    spend_usd_per_hour: float | None
    hours_left: float | None


class Gateway(LimitChanges):
    """Limits of the whole gateway, RunComfy's account balance, and what is paused."""

    model_config = example(
        {
            "running": 50,
            "submits_per_second": 5.0,
            "polls_per_second": None,
            "models": {EXAMPLE_MODEL_ID: 10},
            "minimum_balance_usd": 20.0,
            "account_balance": {
                "balance_usd": 143.2,
                "read_at": "2025-11-22T14:58:34.120000Z",
                "spend_usd_per_hour": 6.5,
                "hours_left": 22.03,
            },
            "paused": ["model:flux/flux-pro"],
        }
    )

    account_balance: _AccountBalance
    paused: list[str]


class Paused(Document):
    """Everything that is paused: `all`, `tenant:x`, `model:y`."""

    model_config = example({"paused": ["tenant:video-team"]})

    paused: list[str]


class _Submit(Document):
    at: TimeText
    event: str
    what: str
    detail: str | None
    http_status: int | None


class InDoubt(Document):
    """All that is known of a submit in doubt."""

    request_id: str
    tenant: str
    model_id: str
    reference: str | None
    sent_at: TimeText | None
    doubt_since: TimeText | None
    held_until: TimeText | None = Field(description="Then the tenant's policy decides.")
    attempts: int
    resends_approved: int
    what_came_back: str | None
    fingerprint: str
    estimated_cost: float | None
    created_at: TimeText
    submits: list[_Submit]


class InDoubtList(Document):
    """Submits in doubt."""

    model_config = example(
        {
            "doubts": [
                {
                    "request_id": EXAMPLE_REQUEST_ID,
                    "tenant": "video-team",
                    "model_id": EXAMPLE_MODEL_ID,
                    "reference": "order 7",
                    "sent_at": "2025-11-22T14:58:34.120000Z",
                    "doubt_since": "2025-11-22T14:59:04.120000Z",
                    "held_until": "2025-11-22T15:14:04.120000Z",
                    "attempts": 1,
                    "resends_approved": 0,
                    "what_came_back": "read_timeout: RunComfy did not answer in time.",
                    "fingerprint": "1:5f2c0e…",
                    "estimated_cost": 0.63,
                    "created_at": "2025-11-22T14:58:33.902000Z",
                    "submits": [],
                }
            ]
        }
    )

    doubts: list[InDoubt]


class ResolutionRequest(RequestModel):
    """An operator's decision about a submit in doubt."""

    model_config = example(
        {
            "resolution": "attach",
            "upstream_request_id": "0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11",
        },
        {
            "if": {"properties": {"resolution": {"const": "attach"}}},
            "then": {"required": ["upstream_request_id"]},
            "else": {"properties": {"upstream_request_id": False}},
        },
    )

    resolution: Literal["attach", "lost", "resend"]
    upstream_request_id: (
        Annotated[str, Field(strict=True, pattern=f"^{UPSTREAM_ID_PATTERN}$")] | None
    ) = optional("RunComfy's id; only with `attach`, which needs it.")

    @model_validator(mode="after")
    def _attach_has_an_id(self) -> Self:
        if (self.resolution == "attach") is not (self.upstream_request_id is not None):
            raise InvalidField("must have upstream_request_id with attach, and only with it")
        return self

    def decision(self) -> Resolution:
        """Return the decision as the use case takes it."""
        if self.upstream_request_id is not None:
            return Attach(self.upstream_request_id)
        return MarkLost() if self.resolution == "lost" else Resend()


class _AuditEntry(Document):
    at: TimeText
    actor: str
    action: str
    subject: str
    change: str


class Audit(Document):
    """The latest actions of operators."""

    model_config = example(
        {
            "entries": [
                {
                    "at": "2025-11-22T14:58:34.120000Z",
                    "actor": "cli:ada",
                    "action": "tenant.change",
                    "subject": "video-team",
                    "change": "usd_per_day: 25.0 -> 50.0",
                }
            ]
        }
    )

    entries: list[_AuditEntry]
