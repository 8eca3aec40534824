"""The hands: the only process that calls RunComfy and that delivers webhooks."""
