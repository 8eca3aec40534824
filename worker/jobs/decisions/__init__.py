"""Decides a job's next change from RunComfy's answer. Pure: no I/O, no clock, no store.

Every rule of a job's life that is not in the state table (`core.jobs.job.TRANSITIONS`) is here.
"""
