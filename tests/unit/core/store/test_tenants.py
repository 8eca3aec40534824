"""A tenant's hash holds the fields that the scripts read beside the record."""

from datetime import timedelta

import pytest

from core.store.tenants import tenant_fields
from core.tenants.cache_policy import CacheMode, TenantCachePolicy
from tests.support.records import tenant

USUAL = {
    "cache": "",
    "cache_ms": "",
    "cache_shared": "",
    "idempotency_required": "",
    "promote": "",
}


@pytest.mark.parametrize(
    ("reuse", "written"),
    [
        (TenantCachePolicy(), {}),
        (TenantCachePolicy(CacheMode.USE), {"cache": "use"}),
        (TenantCachePolicy(CacheMode.OFF), {"cache": "off"}),
        (TenantCachePolicy(lifetime=timedelta(days=7)), {"cache_ms": 604_800_000}),
        (TenantCachePolicy(lifetime=timedelta(seconds=1.5)), {"cache_ms": 1500}),
        (TenantCachePolicy(shared=True), {"cache_shared": "1"}),
        (TenantCachePolicy(idempotency_required=True), {"idempotency_required": "1"}),
        (TenantCachePolicy(promote=True), {"promote": "1"}),
    ],
)
def test_what_a_tenant_may_share_is_written_plainly(
    reuse: TenantCachePolicy, written: dict[str, object]
) -> None:
    parts = tenant_fields(tenant(cache_policy=reuse))
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {name: fields[name] for name in USUAL} == USUAL | written
