"""A tenant's hash: what the scripts decide by stands beside the record, in plain words."""

from __future__ import annotations

from datetime import timedelta

import pytest

from core.store.tenants import tenant_fields
from core.tenants.cache_policy import CacheMode, ReusePolicy
from tests.builders import tenant

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
        (ReusePolicy(), {}),
        (ReusePolicy(CacheMode.USE), {"cache": "use"}),
        (ReusePolicy(CacheMode.OFF), {"cache": "off"}),
        (ReusePolicy(lifetime=timedelta(days=7)), {"cache_ms": 604_800_000}),
        (ReusePolicy(lifetime=timedelta(seconds=1.5)), {"cache_ms": 1500}),
        (ReusePolicy(shared=True), {"cache_shared": "1"}),
        (ReusePolicy(idempotency_required=True), {"idempotency_required": "1"}),
        (ReusePolicy(promote=True), {"promote": "1"}),
    ],
)
def test_what_a_tenant_may_share_is_written_plainly(
    reuse: ReusePolicy, written: dict[str, object]
) -> None:
    parts = tenant_fields(tenant(reuse=reuse))
    fields = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {name: fields[name] for name in USUAL} == USUAL | written
