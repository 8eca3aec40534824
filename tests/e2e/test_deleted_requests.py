"""What a tenant deleted does not come back."""

from datetime import timedelta
from decimal import Decimal
from typing import Final

import pytest

from simulator.demo import wait_for
from simulator.stack import Stack
from tests.support.stack import TenantClient, tenant_client

LATE: Final = timedelta(seconds=60)


def spent(tenant: TenantClient) -> Decimal:
    """What the tenant spent today, in USD."""
    windows = tenant.http.get("/v1/usage").json()["windows"]
    used = next(each["usd"]["used"] for each in windows if each["window"] == "day")
    return Decimal(str(used))


def deleted(tenant: TenantClient, request_id: str) -> bool | None:
    """Delete a request, once its webhook was delivered."""
    return tenant.http.delete(f"/v1/requests/{request_id}").status_code == 204 or None


def paid(tenant: TenantClient) -> str:
    """A request that has ended, and is not served from the cache."""
    request_id = str(tenant.submit(cache="off").json()["request_id"])
    assert tenant.wait_for_end(request_id) == "completed"
    return request_id


@pytest.mark.parametrize("way", ["stop", "kill"])
def test_a_deleted_request_stays_deleted_when_the_worker_restarts(stack: Stack, way: str) -> None:
    """Its entry in the journal made it come back: it was charged again, and called back again."""
    with tenant_client(stack, "deleting") as tenant:
        gone = paid(tenant)
        wait_for(lambda: deleted(tenant, gone), LATE, "the deletion")
        price = spent(tenant)
        assert price
        getattr(stack.workers[0], way)()
        stack.workers[0].start()
        paid(tenant)
        assert tenant.http.get(f"/v1/requests/{gone}").status_code == 404
        assert spent(tenant) == 2 * price
