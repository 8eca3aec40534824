"""The `gateway` command: parses options, calls `service` or `worker`, prints the answer."""
