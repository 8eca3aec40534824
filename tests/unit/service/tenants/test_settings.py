"""A tenant's settings: every one of the records is in the table, read strictly and shown truly."""

from dataclasses import fields
from datetime import timedelta
from typing import Any

import orjson
import pytest

from core.errors import InvalidInput
from core.money import MicroUsd
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from core.tenants.limits import Limits, Priority, UnknownPrice
from core.tenants.tenant import DoubtPolicy
from core.webhooks.url_policy import TargetPolicy
from service.tenants.settings import (
    ATTRIBUTES,
    CACHE_FIELDS,
    FIELDS,
    LIMIT_FIELDS,
    TENANT_FIELDS,
    Difference,
    TenantSettings,
    diff_settings,
    format_differences,
    parse_settings,
    settings_representation,
)

PLAIN = TenantSettings()
FULL: dict[str, Any] = {
    "webhook": "https://hooks.example.com/done",
    "disabled": True,
    "doubt": "resend",
    "keep_inputs": False,
    "result_ttl": 3600,
    "requests_per_minute": 60,
    "burst": 5,
    "running": 0,
    "waiting": 100,
    "jobs_per_day": 50,
    "jobs_per_month": 500,
    "usd_per_request": 1.26,
    "usd_per_day": 25.5,
    "usd_per_month": 400.000001,
    "weight": 2.5,
    "models": ["kling/*", "flux/dev"],
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
    return parse_settings(raw, PLAIN, TargetPolicy())


def test_the_table_has_every_setting_of_the_records() -> None:
    assert set(LIMIT_FIELDS) == {field.name for field in fields(Limits)}
    reuse = {ATTRIBUTES.get(name, name) for name in CACHE_FIELDS}
    assert reuse == {field.name for field in fields(TenantCachePolicy)}
    assert {*TENANT_FIELDS, "limits", "cache_policy"} == {
        field.name for field in fields(TenantSettings)
    }
    assert set(FULL) == set(FIELDS)


def test_everything_is_read_and_shown_again() -> None:
    settings = read(**FULL)
    assert settings.doubt is DoubtPolicy.RESEND
    assert settings.limits.usd_per_month == MicroUsd(400_000_001)
    assert settings.limits.priority is Priority.NORMAL
    assert settings.limits.unknown_price is UnknownPrice.REFUSE
    assert settings.cache_policy == TenantCachePolicy(
        cache=CacheMode.OFF,
        lifetime=timedelta(days=1),
        shared=True,
        idempotency_required=True,
        promote=True,
    )
    assert settings_representation(settings) == FULL


def test_what_is_shown_can_be_sent_back() -> None:
    shown = orjson.loads(orjson.dumps(settings_representation(PLAIN)))
    assert parse_settings(shown, read(**FULL), TargetPolicy()) == PLAIN


def test_what_is_left_out_stays() -> None:
    before = read(**FULL)
    after = parse_settings({"usd_per_day": 30}, before, TargetPolicy())
    assert diff_settings(before, after) == (Difference("usd_per_day", 25.5, 30.0),)


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if "null" in f.schema["type"]])  # type: ignore[operator]  # a list or a word
def test_null_takes_a_limit_away(name: str) -> None:
    assert (
        settings_representation(parse_settings({name: None}, read(**FULL), TargetPolicy()))[name]
        is None
    )


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
    assert [error.path for error in refused.value.fields] == [f"/{name}"]


def test_every_wrong_one_is_named_at_once_and_a_typo_is_helped() -> None:
    with pytest.raises(InvalidInput, match="did you mean usd_per_day") as refused:
        read(usd_per_dya=1, running=-1, weight=1)
    assert len(refused.value.fields) == 2


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"result_ttl": 90.5}, "result_ttl must be a whole number from 60 to 604800."),
        ({"usd_per_dya": 1}, "usd_per_dya is no setting; did you mean usd_per_day?"),
    ],
)
def test_a_sentence_says_what_would_fit(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(**given)
    assert refused.value.detail == sentence


def test_the_audit_log_gets_no_token_of_a_url() -> None:
    changes = diff_settings(PLAIN, read(webhook="https://hooks.example.com/x?token=s3cret"))
    assert format_differences(changes) == "webhook: none -> https://hooks.example.com/x"
