"""The journal of paid submits: outside Redis, shared by all workers.

A paid submit leaves only after its worker has created an entry that did not exist. So no job is
paid for twice, whatever Redis forgets (`docs/adr/0022-a-journal-of-paid-submits.md`).
"""
