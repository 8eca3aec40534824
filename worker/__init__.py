"""Runs jobs: the only process that calls RunComfy or delivers webhooks."""
