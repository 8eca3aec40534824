"""Webhooks: endpoints, secrets, deliveries, replays and the policy for URLs. Values only."""
