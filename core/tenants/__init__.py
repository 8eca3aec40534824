"""Tenants, their API keys, limits and cache policy. Values only."""
