"""The shapes that operators read and send, as JSON Schema with examples, for the description."""

from collections.abc import Mapping
from typing import Final

from core.tenants.api_keys import Scope
from core.tenants.limits import MAX_RATE, MIN_RATE
from core.tenants.tenant import NAME_PATTERN
from service.admin.in_doubt import UPSTREAM_ID_PATTERN
from service.api.schemas import EXAMPLE_MODEL_ID, EXAMPLE_REQUEST_ID, TEXT
from service.http.openapi import Schema, array_schema, closed_object_schema, object_schema, ref
from service.models import MAX_MODEL_ID_LENGTH, MODEL_ID_PATTERN
from service.tenants.apply_file import PlanAction
from service.tenants.settings import FIELDS, MAX_COUNT, USD_SCHEMA
from service.webhooks.parser import MAX_OVERLAP

_NUMBER: Final = {"type": ["number", "null"]}
_USD: Final = {**USD_SCHEMA, "type": [*USD_SCHEMA["type"], "null"]}
_INSTANT: Final = {"type": ["string", "null"], "format": "date-time"}
RESOLUTIONS: Final = ("attach", "lost", "resend")


_NAME: Final = {"type": "string", "pattern": f"^{NAME_PATTERN}$"}
_MODEL_ID: Final = {
    "type": "string",
    "pattern": f"^{MODEL_ID_PATTERN}$",
    "maxLength": MAX_MODEL_ID_LENGTH,
}
_MODEL_LIMIT: Final = {"type": ["integer", "null"], "minimum": 0, "maximum": MAX_COUNT}
_RATE: Final = {
    "type": ["number", "null"],
    "minimum": MIN_RATE,
    "maximum": MAX_RATE,
}
_SETTINGS: Final[Mapping[str, Schema]] = {
    name: {**field.schema, "description": field.description} for name, field in FIELDS.items()
}
_TENANT: Final[Mapping[str, Schema]] = {
    "tenant": TEXT,
    "created_at": _INSTANT,
    **_SETTINGS,
    "webhook_secrets": {"type": "integer", "description": "The newest, and the one before it."},
    "webhook_overlap_ends_at": {**_INSTANT, "description": "When the one before ends."},
}
_KEY: Final[Mapping[str, Schema]] = {
    "key_id": TEXT,
    "tenant": TEXT,
    "scopes": array_schema({"type": "string", "enum": list(Scope)}),
    "created_at": _INSTANT,
    "expires_at": _INSTANT,
    "last_used_at": _INSTANT,
}
_LIMITS: Final[Mapping[str, Schema]] = {
    "running": {**_MODEL_LIMIT, "description": "Jobs at RunComfy at once."},
    "submits_per_second": _RATE,
    "polls_per_second": _RATE,
    "models": {
        "type": "object",
        "description": "Model ids with how many of their jobs may run at once; null: no cap.",
        "propertyNames": _MODEL_ID,
        "additionalProperties": _MODEL_LIMIT,
    },
    "minimum_balance_usd": {**_USD, "description": "Below this balance submits are refused."},
}

ADMIN_COMPONENTS: Final[Mapping[str, Schema]] = {
    "TenantSettings": closed_object_schema("", **_SETTINGS),
    "TenantWish": closed_object_schema("tenant", tenant=_NAME, **_SETTINGS),
    "Tenant": object_schema("tenant created_at", **_TENANT),
    "Tenants": object_schema("tenants", tenants=array_schema(ref("Tenant"))),
    "NewTenant": object_schema(
        "tenant key webhook_secret", **_TENANT, key=TEXT, webhook_secret=TEXT
    ),
    "TenantsFile": closed_object_schema(
        "tenants",
        tenants={
            "type": "object",
            "propertyNames": _NAME,
            "additionalProperties": ref("TenantSettings"),
        },
    ),
    "Plan": object_schema(
        "steps",
        steps=array_schema(
            object_schema(
                "tenant action changes",
                tenant=TEXT,
                action={"type": "string", "enum": list(PlanAction)},
                changes=array_schema({"type": "object"}),
                key=TEXT,
                webhook_secret=TEXT,
            )
        ),
    ),
    "Key": object_schema("key_id tenant scopes", **_KEY),
    "Keys": object_schema("keys", keys=array_schema(ref("Key"))),
    "KeyWish": closed_object_schema(
        "", scopes={**_KEY["scopes"], "minItems": 1}, expires_at=_INSTANT
    ),
    "NewKey": object_schema("key_id tenant scopes key", **_KEY, key=TEXT),
    "WebhookSecret": object_schema(
        "webhook_secret previous_end_at", webhook_secret=TEXT, previous_end_at=_INSTANT
    ),
    "SecretWish": closed_object_schema(
        "",
        overlap_seconds={
            "type": "number",
            "minimum": 0,
            "maximum": MAX_OVERLAP.total_seconds(),
            "description": "For how long the secret before still counts; a day unless told.",
        },
    ),
    "GatewayLimits": closed_object_schema("", **_LIMITS),
    "Gateway": object_schema(
        "running models paused account_balance",
        **_LIMITS,
        paused=array_schema(TEXT),
        account_balance=object_schema(
            "balance_usd",
            balance_usd=_NUMBER,
            read_at=_INSTANT,
            spend_usd_per_hour=_NUMBER,
            hours_left=_NUMBER,
        ),
    ),
    "Pausable": {
        "oneOf": [
            closed_object_schema("all", all={"const": True}),
            closed_object_schema("tenant", tenant=_NAME),
            closed_object_schema("model", model=_MODEL_ID),
        ]
    },
    "Paused": object_schema("paused", paused=array_schema(TEXT)),
    "Doubt": object_schema(
        "request_id tenant model_id sent_at held_until fingerprint",
        request_id=TEXT,
        tenant=TEXT,
        model_id=TEXT,
        reference={"type": ["string", "null"]},
        sent_at=_INSTANT,
        doubt_since=_INSTANT,
        held_until={**_INSTANT, "description": "Then the tenant's policy decides."},
        attempts={"type": "integer"},
        resends_approved={"type": "integer"},
        what_came_back={"type": ["string", "null"]},
        fingerprint=TEXT,
        estimated_cost=_NUMBER,
        created_at=_INSTANT,
        submits=array_schema({"type": "object"}),
    ),
    "Doubts": object_schema("doubts", doubts=array_schema(ref("Doubt"))),
    "ResolutionWish": {
        "oneOf": [
            closed_object_schema(
                "resolution upstream_request_id",
                resolution={"const": "attach"},
                upstream_request_id={
                    "type": "string",
                    "pattern": f"^{UPSTREAM_ID_PATTERN}$",
                    "description": "RunComfy's id.",
                },
            ),
            closed_object_schema("resolution", resolution={"enum": ["lost", "resend"]}),
        ]
    },
    "Audit": object_schema(
        "entries",
        entries=array_schema(
            object_schema(
                "at actor action subject change",
                at=_INSTANT,
                actor=TEXT,
                action=TEXT,
                subject=TEXT,
                change=TEXT,
            )
        ),
    ),
}

SETTINGS_EXAMPLE: Final = {
    "webhook": "https://video.example/hooks",
    "requests_per_minute": 60,
    "running": 5,
    "usd_per_day": 25.0,
    "models": ["kling/*"],
}
TENANT_EXAMPLE: Final = {
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
    "webhook_secrets": 1,
    "webhook_overlap_ends_at": None,
}
NEW_TENANT_EXAMPLE: Final = {
    **TENANT_EXAMPLE,
    "key": "rcg_video-team_…",
    "webhook_secret": "whsec_…",
}
WEBHOOK_SECRET_EXAMPLE: Final = {
    "webhook_secret": "whsec_…",
    "previous_end_at": "2025-11-23T14:58:34.120000Z",
}
PLAN_EXAMPLE: Final = {
    "steps": [
        {
            "tenant": "video-team",
            "action": "change",
            "changes": [{"field": "usd_per_day", "from": 25.0, "to": 50.0}],
        }
    ]
}
KEY_EXAMPLE: Final = {
    "key_id": "9f86d081884c7d65",
    "tenant": "video-team",
    "scopes": ["read", "submit"],
    "created_at": "2025-11-22T14:58:34.120000Z",
    "expires_at": "2026-02-20T00:00:00Z",
    "last_used_at": None,
}
NEW_KEY_EXAMPLE: Final = {**KEY_EXAMPLE, "key": "rcg_video-team_…"}
CREATE_KEY_EXAMPLE: Final = {"scopes": ["submit", "read"], "expires_at": "2026-02-20T00:00:00Z"}
LIMITS_EXAMPLE: Final = {
    "running": 50,
    "submits_per_second": 5.0,
    "polls_per_second": None,
    "models": {EXAMPLE_MODEL_ID: 10},
    "minimum_balance_usd": 20.0,
}
GATEWAY_EXAMPLE: Final = {
    **LIMITS_EXAMPLE,
    "account_balance": {
        "balance_usd": 143.2,
        "read_at": "2025-11-22T14:58:34.120000Z",
        "spend_usd_per_hour": 6.5,
        "hours_left": 22.03,
    },
    "paused": ["model:flux/flux-pro"],
}
IN_DOUBT_EXAMPLE: Final = {
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
RESOLUTION_EXAMPLE: Final = {
    "resolution": "attach",
    "upstream_request_id": "0b6f6a52-9d0e-4c1b-8a53-0d6c9c1f7a11",
}
AUDIT_EXAMPLE: Final = {
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
