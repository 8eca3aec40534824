"""Commands that run and check the processes."""
