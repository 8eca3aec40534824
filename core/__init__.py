"""What both processes must agree on: jobs, tenants, money, errors, and the store.

Knows no HTTP, no FastAPI, no RunComfy. Code moves here when a second process needs it, not before.
"""
