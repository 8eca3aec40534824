"""Use cases of webhooks: endpoints, deliveries, replays, secrets."""
