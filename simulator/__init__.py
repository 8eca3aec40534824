"""A simulated RunComfy and a webhook receiver, both scripted over HTTP while they run.

Shares no code with the product: the same mistake on both sides would hide itself.
"""
