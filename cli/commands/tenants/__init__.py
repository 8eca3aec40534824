"""Commands for a tenant: its settings, keys, usage, webhooks and jobs."""
