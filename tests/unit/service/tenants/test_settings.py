"""Every setting of a tenant is in the table, is read strictly and is shown as stored."""

from dataclasses import fields
from datetime import timedelta
from typing import Any

import orjson
import pytest

from core.errors import InvalidInput
from core.money import MicroUsd
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from core.tenants.limits import Priority, UnknownPrice
from core.tenants.tenant import DoubtPolicy
from core.webhooks.url_policy import TargetPolicy
from service.parsing.request_models import parse_model
from service.tenants.settings import (
    Difference,
    TenantSettings,
    diff_settings,
    format_differences,
)
from tests.support.records import tenant

PLAIN = TenantSettings()
FULL: dict[str, Any] = {
    "webhook": "https://hooks.example.com/done",
    "disabled": True,
    "doubt": "resend",
    "keep_inputs": False,
    "result_ttl": 3600,
    "archive": "after",
    "keep_outputs": 2_592_000,
    "requests_per_minute": 60,
    "burst": 5,
    "calls_per_minute": 900,
    "webhook_actions_per_minute": 6,
    "stored_bytes": 512_000,
    "storage_bytes": 5_000_000_000,
    "upload_bytes_per_day": 1_000_000_000,
    "running": 0,
    "waiting": 100,
    "jobs_per_day": 50,
    "jobs_per_month": 500,
    "usd_per_request": 1.26,
    "usd_per_day": 25.5,
    "usd_per_week": 100.5,
    "usd_per_month": 400.000001,
    "usd_total": 4000.5,
    "time_zone": "Europe/Rome",
    "reset_hour": 6,
    "weight": 2.5,
    "models": ["kling/*", "flux/dev"],
    "model_aliases": {"mine": "kling/x"},
    "priority": "normal",
    "unknown_price": "refuse",
    "unknown_price_counts": 0.5,
    "cache": "off",
    "cache_lifetime": 86_400,
    "cache_shared": True,
    "idempotency": "required",
    "shared_failure": "promote",
}


def read(**raw: Any) -> TenantSettings:  # noqa: ANN401 - any JSON
    settings = parse_model(TenantSettings, raw)
    settings.check_webhook(TargetPolicy())
    return settings


def test_every_field_of_the_records_is_set_by_some_setting() -> None:
    plain, full = PLAIN.apply_to(tenant()), read(**FULL).apply_to(tenant())
    for before, after in (
        (plain.limits, full.limits),
        (plain.cache_policy, full.cache_policy),
    ):
        same = [f.name for f in fields(before) if getattr(before, f.name) == getattr(after, f.name)]
        assert same == []
    for name in ("disabled", "doubt", "keep_inputs", "result_ttl", "archive", "model_aliases"):
        assert getattr(plain, name) != getattr(full, name)
    assert set(FULL) == set(TenantSettings.model_fields)


def test_everything_is_read_stored_and_shown_again() -> None:
    settings = read(**FULL)
    record = settings.apply_to(tenant())
    assert record.doubt is DoubtPolicy.RESEND
    assert record.limits.usd_per_month == MicroUsd(400_000_001)
    assert record.limits.priority is Priority.NORMAL
    assert record.limits.unknown_price is UnknownPrice.REFUSE
    assert record.cache_policy == TenantCachePolicy(
        cache=CacheMode.OFF,
        lifetime=timedelta(days=1),
        shared=True,
        idempotency_required=True,
        promote=True,
    )
    assert settings.model_dump(mode="json") == FULL
    assert TenantSettings.of(record, settings.webhook) == settings


def test_what_is_shown_can_be_sent_back() -> None:
    shown = orjson.loads(PLAIN.model_dump_json())
    assert read(**FULL).changed_by(read(**shown)) == PLAIN


def test_what_is_left_out_stays() -> None:
    before = read(**FULL)
    after = before.changed_by(read(usd_per_day=30))
    assert diff_settings(before, after) == (Difference("usd_per_day", 25.5, 30.0),)


NULLABLE = [name for name, field in TenantSettings.model_fields.items() if field.default is None]


@pytest.mark.parametrize("name", NULLABLE)
def test_null_takes_a_limit_away(name: str) -> None:
    changed = read(**FULL).changed_by(read(**{name: None}))
    assert changed.model_dump(mode="json")[name] is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("requests_per_minute", 0),
        ("requests_per_minute", True),
        ("requests_per_minute", 1.5),
        ("requests_per_minute", "60"),
        ("burst", 0),
        ("running", -1),
        ("running", 10**10),
        ("usd_per_day", -0.01),
        ("usd_per_day", "much"),
        ("usd_per_day", float("nan")),
        ("usd_per_day", 10**10),
        ("weight", 0),
        ("weight", -1),
        ("weight", None),
        ("weight", float("inf")),
        ("weight", "1"),
        ("models", "kling/*"),
        ("models", ["a\nb"]),
        ("models", [""]),
        ("models", [7]),
        ("models", ["a"] * 101),
        ("models", None),
        ("priority", "urgent"),
        ("priority", "low"),
        ("priority", []),
        ("priority", 0),
        ("unknown_price", "free"),
        ("unknown_price", {}),
        ("unknown_price_counts", None),
        ("doubt", "ask"),
        ("cache", "refresh"),
        ("cache", True),
        ("cache_lifetime", 0),
        ("cache_lifetime", 604_801),
        ("cache_lifetime", 1.5),
        ("cache_lifetime", "60"),
        ("cache_shared", None),
        ("cache_shared", "yes"),
        ("idempotency", None),
        ("idempotency", True),
        ("shared_failure", "ignore"),
        ("shared_failure", []),
        ("disabled", None),
        ("disabled", 1),
        ("keep_inputs", None),
        ("keep_inputs", "no"),
        ("result_ttl", 59),
        ("result_ttl", 604_801),
        ("result_ttl", 90.5),
        ("result_ttl", True),
        ("webhook", "http://127.0.0.1/"),
        ("webhook", 7),
        ("usd_per_dya", 3),
        ("name", "other"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(**{name: value})
    # Of a list the wrong item is named: /models/0.
    assert [error.path.split("/")[1] for error in refused.value.fields] == [name]


def test_every_wrong_one_is_named_at_once_and_a_typo_is_helped() -> None:
    with pytest.raises(InvalidInput, match="did you mean usd_per_day") as refused:
        read(usd_per_dya=1, running=-1, weight=1)
    assert len(refused.value.fields) == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"result_ttl": 90.5}, "result_ttl must be a whole number from 60 to 604800."),
        ({"usd_per_dya": 1}, "usd_per_dya is not known here; did you mean usd_per_day?"),
    ],
)
def test_a_sentence_says_what_would_fit(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(**given)
    assert refused.value.detail == sentence


def test_the_audit_log_gets_no_token_of_a_url() -> None:
    changes = diff_settings(PLAIN, read(webhook="https://hooks.example.com/x?token=s3cret"))
    assert format_differences(changes) == "webhook: none -> https://hooks.example.com/x"
