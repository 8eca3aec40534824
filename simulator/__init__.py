"""A RunComfy look-alike and a webhook receiver, both scripted while they run.

Shares no code with the product, so that a mistake there cannot hide a mistake here.
"""
