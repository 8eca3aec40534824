"""What operators read, as JSON values. Pure; the admin API and `--json` show the same."""

from collections.abc import Sequence
from typing import Any, Final

from core.billing.balance import Wallet
from core.clock import iso
from core.jobs.job import Fact
from core.jobs.timeline import Note, TimelineEntry
from core.money import usd_or_none
from core.operations import AuditEntry, Pause
from core.store.jobs import JobView
from core.tenants.api_keys import KeyUse
from core.tenants.tenant import Tenant
from service.admin.limits_and_pauses import GatewayLimits, limits_document
from service.tenants.api_keys import NewKey, key_id
from service.tenants.apply_file import Step
from service.tenants.settings import Difference, settings_of, show_fields
from service.tenants.tenants import NewSecret, NewTenant

Document = dict[str, Any]
_SUBMIT_FACTS: Final = frozenset({Fact.NO_ANSWER, Fact.NOT_SENT, Fact.CLAIMED})


def tenant_document(tenant: Tenant) -> Document:
    """A tenant without its secrets."""
    return {
        "tenant": tenant.name,
        "created_at": iso(tenant.created_at),
        **show_fields(settings_of(tenant)),
        "webhook_secrets": len(tenant.webhook_secrets),
        "webhook_overlap_ends_at": iso(tenant.webhook_overlap_ends_at),
    }


def new_tenant_document(made: NewTenant) -> Document:
    """A tenant with what is shown once."""
    return tenant_document(made.tenant) | {"key": made.key, "webhook_secret": made.webhook_secret}


def new_secret_document(made: NewSecret) -> Document:
    """A webhook secret, shown once."""
    return {"webhook_secret": made.secret, "previous_end_at": iso(made.previous_end_at)}


def key_document(use: KeyUse) -> Document:
    """A key by its id."""
    return {
        "key_id": key_id(use.key),
        "tenant": use.key.tenant,
        "scopes": sorted(use.key.scopes),
        "created_at": iso(use.key.created_at),
        "expires_at": iso(use.key.expires_at),
        "last_used_at": iso(use.last_used_at),
    }


def new_key_document(made: NewKey) -> Document:
    """A key with its text, shown once."""
    return key_document(KeyUse(made.record, None)) | {"key": made.key}


def step_document(step: Step) -> Document:
    """One tenant's part of `tenant apply`."""
    once = {"key": step.key, "webhook_secret": step.webhook_secret} if step.key else {}
    return {
        "tenant": step.tenant,
        "action": step.action,
        "changes": [difference_document(change) for change in step.changes],
        **once,
    }


def difference_document(change: Difference) -> Document:
    """One changed setting."""
    return {"field": change.field, "from": change.before, "to": change.after}


def doubt_document(view: JobView) -> Document:
    """All that is known of a submit in doubt. `held_until`: then the tenant's policy decides."""
    job = view.record.job
    return {
        "request_id": job.id,
        "tenant": job.tenant,
        "model_id": job.model_id,
        "reference": job.reference,
        "sent_at": iso(job.sent_at),
        "doubt_since": iso(job.doubt_since),
        "held_until": iso(job.due_at),
        "attempts": job.attempts,
        "resends_approved": job.resends_approved,
        "what_came_back": _what_came_back(view.timeline),
        "fingerprint": job.fingerprint,
        "estimated_cost": usd_or_none(job.estimate),
        "created_at": iso(job.created_at),
        "submits": [_entry(entry) for entry in view.timeline if entry.what in _SUBMIT_FACTS],
    }


def _what_came_back(timeline: Sequence[TimelineEntry]) -> str | None:
    answers = [entry for entry in timeline if entry.what == Fact.NO_ANSWER]
    if not answers:
        return None
    last = answers[-1]
    status = f"HTTP {last.http_status}: " if last.http_status else ""
    return f"{status}{last.detail or ''}"


def _entry(entry: TimelineEntry) -> Document:
    return {
        "at": iso(entry.at),
        "event": Note(entry.note),
        "what": entry.what,
        "detail": entry.detail,
        "http_status": entry.http_status,
    }


def gateway_document(gateway: GatewayLimits, pauses: Sequence[Pause]) -> Document:
    """Global limits, the wallet and what is paused."""
    return limits_document(gateway) | {
        "account_balance": wallet_document(gateway.wallet),
        "paused": pauses_document(pauses),
    }


def wallet_document(wallet: Wallet) -> Document:
    """RunComfy's balance as it was last read."""
    hours = None if wallet.lasts is None else round(wallet.lasts.total_seconds() / 3600, 2)
    return {
        "balance_usd": usd_or_none(wallet.balance),
        "read_at": iso(wallet.read_at),
        "spend_usd_per_hour": usd_or_none(wallet.burn_per_hour),
        "hours_left": hours,
    }


def pauses_document(pauses: Sequence[Pause]) -> list[str]:
    """What is paused: `all`, `tenant:x`, `model:y`."""
    return [pause.what for pause in pauses]


def audit_document(entry: AuditEntry) -> Document:
    """One act."""
    return {
        "at": iso(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "subject": entry.subject,
        "change": entry.change,
    }
