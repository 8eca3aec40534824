"""A model's default cache policy, and TTLs that are refused."""

from datetime import timedelta

import pytest

from core.tenants.cache_policy import CacheMode, CachePolicy, CacheRule, TenantCachePolicy

DAY = timedelta(days=1)
OFF, BRIEF = CacheRule(CacheMode.OFF), CacheRule(lifetime=DAY)


@pytest.mark.parametrize(
    ("model_id", "usual"),
    [
        ("kling/3.0/pro", OFF),
        ("kling/3.0", BRIEF),
        ("my/kling/3.0", CacheRule()),
        ("KLING/3.0", CacheRule()),
        ("flux/dev", BRIEF),
        ("flux/dev2", CacheRule()),
        ("", CacheRule()),
    ],
)
def test_the_first_pattern_that_fits_counts(model_id: str, usual: CacheRule) -> None:
    policy = CachePolicy(
        by_model=(("kling/*/pro", OFF), ("kling/*", BRIEF), ("flux/dev", BRIEF), ("flux/dev", OFF))
    )
    assert policy.rule_for(model_id) == usual


def test_without_patterns_the_default_is_usual() -> None:
    assert CachePolicy(OFF).rule_for("any/model") is OFF


@pytest.mark.parametrize(
    "lifetime", [timedelta(), -DAY, timedelta(milliseconds=999), 7 * DAY + timedelta(seconds=1)]
)
def test_no_result_lives_so(lifetime: timedelta) -> None:
    with pytest.raises(ValueError, match="7 days"):
        TenantCachePolicy(lifetime=lifetime)
    with pytest.raises(ValueError, match="7 days"):
        CacheRule(lifetime=lifetime)


@pytest.mark.parametrize("lifetime", [timedelta(seconds=1), 7 * DAY])
def test_the_edges_are_lifetimes(lifetime: timedelta) -> None:
    assert TenantCachePolicy(lifetime=lifetime).lifetime == lifetime
    assert CacheRule(lifetime=lifetime).lifetime == lifetime
