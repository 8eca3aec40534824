"""Strategies for random calls: few names and small numbers, so that the calls interact."""

from datetime import timedelta
from typing import Final

from hypothesis import strategies as st

from core.money import MicroUsd
from core.operators.pauses import Pause
from core.tenants.cache_policy import CacheMode, CacheOption, TenantCachePolicy
from core.tenants.limits import GlobalLimits, Limits, Priority, UnknownPrice
from core.transactions.admission import CacheRequest

TENANTS: Final = ("ape", "bee", "cow")
MODELS: Final = ("kling/fast", "kling/slow", "flux/dev")

tenants = st.sampled_from(TENANTS)
models = st.sampled_from(MODELS)
small_integers = st.none() | st.integers(0, 4)
amounts = st.integers(0, 6).map(MicroUsd)
budget = st.none() | st.integers(0, 20).map(MicroUsd)
limits = st.builds(
    Limits,
    # So slow that a key which Redis expires by its own clock has long expired by the test's.
    requests_per_minute=st.sampled_from((None, None, 0, 1, 2, 6)),
    burst=st.none() | st.integers(1, 8),
    running=small_integers,
    waiting=small_integers,
    jobs_per_day=st.none() | st.integers(0, 12),
    jobs_per_month=st.none() | st.integers(0, 20),
    usd_per_request=budget,
    usd_per_day=budget,
    usd_per_month=budget,
    weight=st.sampled_from((0.3, 1.0, 2.0, 4.0, 7.0)),
    models=st.sampled_from(((), (), ("kling/*",), ("*/dev", "kling/fast"))),
    priority=st.sampled_from(Priority),
    unknown_price=st.sampled_from(UnknownPrice),
    unknown_price_counts=amounts,
)
loose_limits = st.builds(
    Limits, running=st.none() | st.integers(1, 3), weight=st.sampled_from((0.3, 1.0, 2.0, 4.0))
)
global_limits = st.builds(
    GlobalLimits,
    running=small_integers,
    submits_per_second=st.sampled_from((None, 0.01)),
    models=st.dictionaries(models, st.integers(0, 3)).map(lambda caps: tuple(sorted(caps.items()))),
)
requests = st.builds(CacheRequest, requested=st.none() | st.sampled_from(CacheOption))
cache_policies = st.builds(
    TenantCachePolicy,
    cache=st.sampled_from((None, None, CacheMode.USE, CacheMode.OFF)),
    lifetime=st.sampled_from((None, None, timedelta(seconds=20), timedelta(hours=1))),
    shared=st.booleans(),
)
fingerprints = st.sampled_from(("1:f", "1:f", "1:g"))
pauses = st.just(Pause.everything()) | tenants.map(Pause.tenant) | models.map(Pause.model)
