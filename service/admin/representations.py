"""JSON of the admin API and of `--json` in commands. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from core.billing.balance import AccountBalance
from core.clock import iso
from core.jobs.job import Trigger
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.models.changes import ModelChange
from core.money import usd_or_none
from core.operators.audit import AuditEntry
from core.operators.operator import Operator, OperatorUsage
from core.operators.pauses import Pause
from core.tenants.api_keys import ApiKey, ApiKeyUsage
from core.upstream.circuit_breaker import CircuitBreaker
from service.admin.in_doubt import InDoubtView
from service.admin.limits_and_pauses import GatewayLimits, limits_representation
from service.tenants.api_keys import key_id
from service.tenants.apply_file import PlanStep
from service.tenants.settings import Difference
from service.tenants.tenants import NewTenant, TenantDetails

if TYPE_CHECKING:  # the commands import this module for their help, which needs no Redis
    from service.admin.audit import Verification
    from service.models.pins import PinState

JsonObject = dict[str, Any]
_SUBMIT_TRIGGERS: Final = frozenset({Trigger.NO_ANSWER, Trigger.NOT_SENT, Trigger.CLAIMED})


def tenant_representation(details: TenantDetails) -> JsonObject:
    """A tenant without its secrets."""
    tenant, secrets = details.tenant, details.config.secrets
    return {
        "tenant": tenant.name,
        "created_at": iso(tenant.created_at),
        **details.settings.model_dump(mode="json"),
        "webhook_secrets": len(secrets),
        "webhook_overlap_ends_at": iso(
            max((secret.expires_at for secret in secrets if secret.expires_at), default=None)
        ),
    }


def new_tenant_representation(new_tenant: NewTenant) -> JsonObject:
    """A tenant with what is shown once."""
    return tenant_representation(new_tenant.details) | {
        "key": new_tenant.key,
        "webhook_secret": new_tenant.webhook_secret,
        "defaults_taken": list(new_tenant.defaults_taken),
    }


def new_secret_representation(secret: str, previous_end_at: datetime) -> JsonObject:
    """Return a new webhook secret."""
    return {"webhook_secret": secret, "previous_end_at": iso(previous_end_at)}


def key_representation(use: ApiKeyUsage) -> JsonObject:
    """Return an API key by its id."""
    return {
        "key_id": key_id(use.api_key),
        "name": use.api_key.name,
        "tenant": use.api_key.tenant,
        "scopes": sorted(use.api_key.scopes),
        "created_at": iso(use.api_key.created_at),
        "expires_at": iso(use.api_key.expires_at),
        "last_used_at": iso(use.last_used_at),
        "addresses": list(use.api_key.limits.addresses),
        "models": list(use.api_key.limits.models),
        "usd_per_day": usd_or_none(use.api_key.limits.usd_per_day),
        "usd_per_month": usd_or_none(use.api_key.limits.usd_per_month),
    }


def new_key_representation(text: str, record: ApiKey) -> JsonObject:
    """Return a new API key with its text."""
    return key_representation(ApiKeyUsage(record, None)) | {"key": text}


def step_representation(step: PlanStep) -> JsonObject:
    """Return one tenant's step of `tenant apply`."""
    once = {"key": step.key, "webhook_secret": step.webhook_secret} if step.key else {}
    return {
        "tenant": step.tenant,
        "action": step.action,
        "changes": [difference_representation(change) for change in step.changes],
        **once,
    }


def difference_representation(difference: Difference) -> JsonObject:
    """Return one changed setting."""
    return {"field": difference.field, "from": difference.before, "to": difference.after}


def in_doubt_representation(in_doubt: InDoubtView) -> JsonObject:
    """Return a job in doubt. At `held_until` the tenant's policy applies."""
    view = in_doubt.view
    job = view.record.job
    return {
        "request_id": job.id,
        "tenant": job.tenant,
        "model_id": job.model_id,
        "prompt": in_doubt.prompt,
        "attach_id": job.attach_id,
        "reference": job.reference,
        "sent_at": iso(job.sent_at),
        "doubt_since": iso(job.in_doubt_since),
        "held_until": iso(job.next_run_at),
        "attempts": job.attempts,
        "resends_approved": job.resends_approved,
        "what_came_back": _last_answer(view.timeline),
        "fingerprint": job.fingerprint,
        "estimated_cost": usd_or_none(job.estimate),
        "created_at": iso(job.created_at),
        "submits": [
            _entry_representation(entry)
            for entry in view.timeline
            if entry.code in _SUBMIT_TRIGGERS
        ],
    }


def _last_answer(timeline: Sequence[TimelineEntry]) -> str | None:
    answers = [entry for entry in timeline if entry.code == Trigger.NO_ANSWER]
    if not answers:
        return None
    last = answers[-1]
    status = f"HTTP {last.http_status}: " if last.http_status else ""
    return f"{status}{last.detail or ''}"


def _entry_representation(entry: TimelineEntry) -> JsonObject:
    return {
        "at": iso(entry.at),
        "event": TimelineKind(entry.kind),
        "what": entry.code,
        "detail": entry.detail,
        "http_status": entry.http_status,
    }


def gateway_representation(gateway: GatewayLimits, pauses: Sequence[Pause]) -> JsonObject:
    """Return the gateway's limits, account balance and pauses."""
    return limits_representation(gateway) | {
        "account_balance": account_balance_representation(gateway.account_balance),
        "paused": pauses_representation(pauses),
    }


def account_balance_representation(balance: AccountBalance) -> JsonObject:
    """Return RunComfy's balance when it was last read."""
    hours = (
        None
        if balance.time_remaining is None
        else round(balance.time_remaining.total_seconds() / 3600, 2)
    )
    return {
        "balance_usd": usd_or_none(balance.balance),
        "read_at": iso(balance.read_at),
        "spend_usd_per_hour": usd_or_none(balance.burn_per_hour),
        "hours_left": hours,
    }


def circuits_representation(circuits: Mapping[str, CircuitBreaker]) -> JsonObject:
    """Return the circuit breakers for submits."""
    return {
        "circuits": [
            {
                "circuit": name,
                "state": one.state,
                "reason": one.reason,
                "detail": one.detail,
                "opened_at": iso(one.opened_at),
                "retry_at": iso(one.retry_at),
                "throttled_until": iso(one.throttled_until),
                "min_price_usd": usd_or_none(one.min_price),
            }
            for name, one in circuits.items()
        ]
    }


def entry_representation(entry: AuditEntry | ModelChange) -> JsonObject:
    """Return an entry of the audit log or a change of the catalogue; the API has its fields."""
    return asdict(entry) | {"at": iso(entry.at)}


def model_pins_representation(found: Sequence["PinState"]) -> JsonObject:
    """Return the pins of models, each with what has changed since."""
    return {
        "pins": [
            {
                "model_id": one.pin.model_id,
                "tenant": one.pin.tenant or None,
                "pinned_at": iso(one.pin.pinned_at),
                "with_price": one.pin.with_price,
                "schema_digest": one.pin.schema_digest,
                "changes": [entry_representation(change) for change in one.changes],
            }
            for one in found
        ]
    }


def pauses_representation(pauses: Sequence[Pause]) -> list[str]:
    """Return the pauses: `all`, `tenant:x`, `model:y`."""
    return [pause.target for pause in pauses]


def verification_representation(found: "Verification") -> JsonObject:
    """Return whether an audit log is as it was written."""
    return {
        "intact": found.is_intact,
        "records": found.records,
        "broken": found.broken.digest if found.broken else None,
        "export_is_part": found.export_is_part,
    }


def operator_representation(use: OperatorUsage) -> JsonObject:
    """Return an operator without the token's digest."""
    operator = use.operator
    return {
        "operator": operator.name,
        "roles": sorted(operator.roles),
        "created_at": iso(operator.created_at),
        "created_by": operator.created_by,
        "expires_at": iso(operator.expires_at),
        "last_used_at": iso(use.last_used_at),
    }


def new_operator_representation(token: str, operator: Operator) -> JsonObject:
    """Return a new operator with the token, which is shown once."""
    return {**operator_representation(OperatorUsage(operator, None)), "token": token}
