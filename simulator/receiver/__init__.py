"""A webhook receiver that verifies signatures, remembers every callback and misbehaves on order."""
