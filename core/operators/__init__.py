"""Operators: who they are, what they paused, and the log of what they did."""
