"""When work runs: the lease loop, arq wake-ups and periodic tasks."""
