"""Runs a job's steps: submit, poll, fetch the result, and write the changes."""
