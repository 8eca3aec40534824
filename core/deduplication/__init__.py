"""Fingerprints of inputs and request coalescing. Pure."""
