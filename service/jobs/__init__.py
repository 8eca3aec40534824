"""Use cases of jobs: admission, cancel, delete."""
