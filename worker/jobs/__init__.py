"""Runs jobs: processor, submit, writes and their events."""
