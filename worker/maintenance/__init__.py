"""Periodic tasks: catalogue and balance sync, index pruning, durability check."""
