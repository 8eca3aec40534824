"""Delivers webhooks: what is due, signatures, the retry schedule, safe targets, the attempt."""
