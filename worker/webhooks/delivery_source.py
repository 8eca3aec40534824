"""Claims deliveries for the lease loop, within each tenant's share of this worker."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

from core.store.interfaces import DeliveryRepository
from core.webhooks.delivery import ClaimedDelivery

Deliver = Callable[[ClaimedDelivery], Awaitable[None]]


class DeliverySource:
    """The lease loop's work: it reports with each claim how many deliveries each tenant has here.

    The count is this worker's own: what another worker has in flight takes no place here.
    """

    def __init__(self, deliveries: DeliveryRepository, lease: timedelta, deliver: Deliver) -> None:
        """Claim for `lease`, and handle by `deliver`."""
        self._deliveries = deliveries
        self._lease = lease
        self._deliver = deliver
        self._tenants: dict[str, str] = {}

    async def claim(self, limit: int) -> Sequence[ClaimedDelivery]:
        """Claim at most `limit` due deliveries, in turn over the tenants."""
        in_flight = Counter(self._tenants.values())
        claimed = await self._deliveries.claim_due(self._lease, limit, in_flight)
        self._tenants |= {one.delivery.id: one.delivery.tenant for one in claimed}
        return claimed

    async def handle(self, claimed: ClaimedDelivery) -> None:
        """Make the next attempt of a delivery."""
        try:
            await self._deliver(claimed)
        finally:
            self._tenants.pop(claimed.delivery.id, None)
