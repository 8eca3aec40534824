"""The service's settings: from variables to policies, and refused values."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from core.tenants.cache_policy import CacheMode, CacheRule
from service.composition import build_http_policy
from service.context import LinkPolicy
from service.jobs.submit_options import Deadlines
from service.parsing.forwarded import TrustedProxies
from service.settings import ServiceSettings


def test_the_defaults_are_sound() -> None:
    policy = build_http_policy(ServiceSettings())
    assert policy.body_limits.max_bytes == 64 * 2**20
    assert policy.links == LinkPolicy()
    assert policy.options.deadlines_of("any") == Deadlines(timedelta(hours=2))
    assert policy.cache.rule_for("any") == CacheRule(None, timedelta(days=7))


def test_variables_become_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GATEWAY_PUBLIC_URL": "https://gateway.example/",
        "GATEWAY_TRUSTED_PROXIES": '["10.0.0.0/8", "::1"]',
        "GATEWAY_MAX_BODY_BYTES": "2097152",
        "GATEWAY_DEFAULT_TIMEOUT": "600",
        "GATEWAY_DEFAULT_START_TIMEOUT": "PT5M",
        "GATEWAY_MODEL_TIMEOUTS": '{"a/b": {"start_timeout": 60}}',
        "GATEWAY_WEBHOOKS__ALLOWED_TARGETS": '["127.0.0.0/8"]',
    }.items():
        monkeypatch.setenv(name, value)

    policy = build_http_policy(ServiceSettings())

    assert policy.links.public_url == "https://gateway.example"
    assert policy.links.trusted_proxies == TrustedProxies.parse(["10.0.0.0/8", "::1"])
    assert policy.body_limits.max_bytes == 2 * 2**20
    default = Deadlines(timedelta(minutes=10), timedelta(minutes=5))
    assert policy.options.deadlines_of("any") == default
    own = Deadlines(timedelta(minutes=10), timedelta(minutes=1))
    assert policy.options.deadlines_of("a/b") == own
    assert policy.options.target_policy.allowed.networks


def test_what_is_reused_is_set_for_all_models_and_for_some(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "GATEWAY_CACHE__DEFAULT": "off",
        "GATEWAY_CACHE__LIFETIME": "86400",
        "GATEWAY_CACHE__MODELS": '{"kling/*": {"default": "use"}, "*": {"lifetime": "PT1H"}}',
    }.items():
        monkeypatch.setenv(name, value)

    cache = build_http_policy(ServiceSettings()).cache

    assert cache.default == CacheRule(CacheMode.OFF, timedelta(days=1))
    assert cache.rule_for("kling/3.0") == CacheRule(CacheMode.USE, timedelta(days=1))
    assert cache.rule_for("flux/dev") == CacheRule(CacheMode.OFF, timedelta(hours=1))


def test_aliases_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MODELS__ALIASES", '{"video/fast": "kling/Kling 3"}')
    assert ServiceSettings().models.aliases == {"video/fast": "kling/Kling 3"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "70000"),
        ("GATEWAY_PORT", "eight"),
        ("GATEWAY_MAX_BODY_BYTES", "67108865"),
        ("GATEWAY_MAX_BODY_BYTES", "0"),
        ("GATEWAY_ADMIN_TOKEN", "short"),
        ("GATEWAY_DEFAULT_TIMEOUT", "-1"),
        ("GATEWAY_DEFAULT_TIMEOUT", "86401"),
        ("GATEWAY_MODEL_TIMEOUTS", '{"a": {"timout": 1}}'),
        ("GATEWAY_CACHE__DEFAULT", "refresh"),
        ("GATEWAY_CACHE__LIFETIME", "604801"),
        ("GATEWAY_CACHE__LIFETIME", "0"),
        ("GATEWAY_CACHE__MODELS", '{"a\\tb": {}}'),
        ("GATEWAY_CACHE__MODELS", '{"a/*": {"lifetime": 0}}'),
        ("GATEWAY_CACHE__MODELS", '{"a/*": {"mode": "off"}}'),
        ("GATEWAY_MODELS__ALIASES", '{"a//b": "kling/x"}'),
        ("GATEWAY_MODELS__ALIASES", '{"a": ""}'),
        ("GATEWAY_MODELS__ALIASES", '{"a": 5}'),
        ("GATEWAY_WEBHOOKS__ALLOWED_TARGETS", '["not a host!"]'),
        ("GATEWAY_TRUSTED_PROXIES", '["*"]'),
        ("GATEWAY_TRUSTED_PROXIES", '["gw.example"]'),
        ("GATEWAY_TRUSTED_PROXIES", '["10.0.0.1/8"]'),
        ("GATEWAY_REDIS_URL", "http://redis"),
    ],
)
def test_a_wrong_value_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        ServiceSettings()


def test_no_secret_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ADMIN_TOKEN", "t" * 32)
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://:hunter2@cache")
    shown = repr(ServiceSettings())
    assert "ttt" not in shown
    assert "hunter2" not in shown
