"""Decides a job's next transition from RunComfy's answer. Pure: no I/O, no clock, no store.

Every rule of a job's life that is not in the state table is here.
"""
