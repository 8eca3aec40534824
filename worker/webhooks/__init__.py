"""Sending callbacks safely: signatures, schedule, safe targets, one attempt at a time.

Knows no Redis, no RunComfy and no job states; who calls it keeps the outbox.
"""
