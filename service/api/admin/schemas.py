"""What the admin API accepts and returns."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from core.jobs.in_doubt import Attach, Resolution
from core.models.changes import MAX_CHANGES, ModelChange
from core.operators.audit import AuditEntry
from core.operators.operator import OPERATOR_NAME_PATTERN, Role
from core.tenants.api_keys import Scope
from core.upstream.circuit_breaker import BreakerReason, BreakerState
from service.admin.in_doubt import UPSTREAM_ID_PATTERN
from service.admin.limits_and_pauses import LimitChanges
from service.parsing.fields import InvalidField
from service.parsing.request_models import (
    Document,
    FlagOption,
    Instant,
    Number,
    RequestModel,
    TimeText,
    WholeNumberOption,
    optional,
)
from service.tenants.api_keys import KeySettings
from service.tenants.apply_file import PlanAction
from service.tenants.settings import TenantName, TenantSettings
from service.webhooks.requests import DEFAULT_OVERLAP, MAX_OVERLAP

MAX_AUDIT_ENTRIES: Final = 1000


class ApplyQuery(RequestModel):
    """Options of applying a file."""

    dry_run: FlagOption = Field(default=False, description="Only report what would change.")


class AuditLogQuery(RequestModel):
    """Which audit log."""

    tenant: str | None = optional("Its own acts in place of operators'.")


class AuditQuery(AuditLogQuery):
    """Options of a list of the audit log."""

    limit: Annotated[int, WholeNumberOption(1, MAX_AUDIT_ENTRIES)] = Field(
        100, description="Number of entries."
    )


class Tenant(TenantSettings):
    """A tenant without its secrets."""

    tenant: str
    created_at: TimeText
    webhook_secrets: int = Field(description="Number of webhook secrets.")
    webhook_overlap_ends_at: TimeText | None = Field(
        description="When the last of the older webhook secrets ends."
    )


class Tenants(Document):
    """Every tenant."""

    tenants: list[Tenant]


class TenantRequest(TenantSettings):
    """A tenant to create."""

    tenant: TenantName


class CreatedTenant(Tenant):
    """A tenant with its first key and webhook secret, which are shown once."""

    key: str
    webhook_secret: str
    defaults_taken: list[str] = Field(
        description="The limits that were left out and are the gateway's `default_limits`."
    )


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

    steps: list[_PlanStep]


class Key(Document):
    """A key by its id."""

    key_id: str
    name: str | None
    tenant: str
    scopes: list[Scope]
    created_at: TimeText
    expires_at: TimeText | None
    last_used_at: TimeText | None = Field(description="To the minute.")
    addresses: list[str]
    models: list[str]
    usd_per_day: float | None
    usd_per_month: float | None


class Keys(Document):
    """A tenant's keys."""

    keys: list[Key]


class KeyRequest(KeySettings):
    """A key to create."""

    scopes: Annotated[tuple[Scope, ...], Field(min_length=1)] = tuple(Scope)
    expires_at: Instant | None = None


class CreatedKey(Key):
    """A key with its text, which is shown once."""

    key: str


class SecretRequest(RequestModel):
    """A webhook secret to create."""

    overlap_seconds: Annotated[float, Number(0, MAX_OVERLAP.total_seconds())] = Field(
        DEFAULT_OVERLAP.total_seconds(),
        description="How long the previous secret remains valid.",
    )


class WebhookSecret(Document):
    """A webhook secret, which is shown once."""

    webhook_secret: str
    previous_end_at: TimeText


class _AccountBalance(Document):
    balance_usd: float | None
    read_at: TimeText | None
    spend_usd_per_hour: float | None
    hours_left: float | None


class Gateway(LimitChanges):
    """Limits of the whole gateway, RunComfy's account balance, and what is paused."""

    default_limits: dict[str, float]  # type: ignore[assignment]  # an answer has only those that are set
    account_balance: _AccountBalance
    paused: list[str]


class CircuitName(RequestModel):
    """Which circuit breaker to close."""

    circuit: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1024,
            description="`account`, `balance`, or `model:` and a model id.",
        ),
    ]


class _Circuit(Document):
    circuit: str
    state: BreakerState
    reason: BreakerReason | None
    detail: str | None = Field(description="RunComfy's own words, or the fault.")
    opened_at: TimeText | None
    retry_at: TimeText | None
    throttled_until: TimeText | None
    min_price_usd: float | None = Field(description="Of `balance`: the lowest price it stops.")


class Circuits(Document):
    """The circuit breakers for submits."""

    circuits: list[_Circuit]


class Paused(Document):
    """Everything that is paused: `all`, `tenant:x`, `model:y`."""

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
    prompt: str | None = Field(
        description="The first 80 characters of the prompt; null where inputs are not kept: "
        "`fingerprint` is their digest."
    )
    attach_id: str | None = Field(
        description="RunComfy's id that an operator named and RunComfy has not confirmed yet."
    )
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

    doubts: list[InDoubt]


class ResolutionRequest(RequestModel):
    """An operator's decision about a submit in doubt."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"resolution": {"const": "attach"}}},
            "then": {"required": ["upstream_request_id"]},
            "else": {"properties": {"upstream_request_id": False, "force": {"const": False}}},
        }
    )

    resolution: Literal["attach", "lost", "resend", "undo"]
    upstream_request_id: (
        Annotated[str, Field(strict=True, pattern=f"^{UPSTREAM_ID_PATTERN}$")] | None
    ) = optional("RunComfy's id; only with `attach`, which needs it.")

    force: Annotated[bool, Field(strict=True)] = Field(
        default=False,
        description="Only with `attach`: attach the id although RunComfy does not know it.",
    )

    @model_validator(mode="after")
    def _attach_has_an_id(self) -> Self:
        if self.force and self.resolution != "attach":
            raise InvalidField("must have force with attach only")
        if (self.resolution == "attach") is not (self.upstream_request_id is not None):
            raise InvalidField("must have upstream_request_id with attach, and only with it")
        return self

    def decision(self) -> Resolution:
        """Return the decision as the use case takes it."""
        if self.resolution == "attach":
            return Attach(self.upstream_request_id or "", force=self.force)
        return self.resolution


class ChangesQuery(RequestModel):
    """Options of the list of the catalogue's changes."""

    limit: Annotated[int, WholeNumberOption(1, MAX_CHANGES)] = Field(
        100, description="Number of changes."
    )


class CatalogueChanges(Document):
    """What RunComfy changed in its catalogue."""

    changes: Sequence[ModelChange]


class _ModelPin(Document):
    model_id: str
    tenant: str | None = Field(description="null: every tenant.")
    pinned_at: TimeText
    with_price: bool = Field(description="Whether a change of the price counts.")
    schema_digest: str = Field(description="SHA-256 of the pinned schema.")
    changes: list[ModelChange] = Field(
        description="What RunComfy has changed since, as far as it can change what an input means."
    )


class ModelPins(Document):
    """The pins of models."""

    pins: list[_ModelPin]


class Audit(Document):
    """The latest actions of operators, or of a tenant."""

    entries: Sequence[AuditEntry]


class AuditVerification(Document):
    """Whether an audit log is as it was written."""

    intact: bool
    records: int
    broken: str | None = Field(description="Digest of the first record that does not fit.")
    export_is_part: bool | None


class OperatorRequest(RequestModel):
    """An operator to create."""

    operator: Annotated[str, Field(strict=True, pattern=f"^{OPERATOR_NAME_PATTERN}$")] = Field(
        description="The name, which the audit log has."
    )
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = Field(
        description="Every role includes `read`; `all` includes the others."
    )
    expires_at: Instant | None = None


class _Operator(Document):
    operator: str
    roles: list[Role]
    created_at: TimeText
    created_by: str
    expires_at: TimeText | None
    last_used_at: TimeText | None = Field(description="To the minute.")


class Operators(Document):
    """Every operator, those whose token has expired too."""

    operators: list[_Operator]


class CreatedOperator(_Operator):
    """An operator with the token, which is shown once."""

    token: str
