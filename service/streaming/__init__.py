"""Waiting for job changes: subscriptions, long polls and event streams."""
