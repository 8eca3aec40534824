"""What operators do: tenants, keys, limits, pauses, doubts. Admin API and command call this.

Knows no HTTP and no terminal. Each act is written into the audit log after it has happened.
"""
