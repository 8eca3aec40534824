"""A webhook receiver that verifies signatures, keeps every webhook and can be made to fail."""
