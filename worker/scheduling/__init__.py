"""Starts work: the lease loop, wake-ups by arq, and periodic tasks."""
