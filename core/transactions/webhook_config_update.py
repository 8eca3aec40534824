"""A change of a tenant's webhook config, one atomic write."""

from dataclasses import dataclass

from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery
from core.webhooks.replay import Replay


@dataclass(frozen=True, slots=True)
class WebhookConfigUpdate:
    """A tenant's next webhook config, with deliveries and a replay to store in the same step."""

    before: WebhookConfig
    after: WebhookConfig
    deliveries: tuple[Delivery, ...] = ()
    replay_before: Replay | None = None
    replay_after: Replay | None = None
