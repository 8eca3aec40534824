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


@pytest.mark.parametrize("pins_seed", [True, False])
def test_an_input_shares_results_if_the_rule_says_so_or_if_it_pins_the_seed(
    *, pins_seed: bool
) -> None:
    assert OFF.mode_for(pins_seed=pins_seed) is CacheMode.OFF
    assert CacheRule(CacheMode.USE).mode_for(pins_seed=pins_seed) is CacheMode.USE
    by_seed = CacheMode.USE if pins_seed else CacheMode.OFF
    assert BRIEF.mode_for(pins_seed=pins_seed) is by_seed
