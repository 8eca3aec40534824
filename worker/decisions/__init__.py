"""What an answer of RunComfy means for a job.

Pure: a job, an answer, the time; out comes the next record.

No I/O, no clock, no store. Every rule of a job's life that is not in the state table is here.
"""
