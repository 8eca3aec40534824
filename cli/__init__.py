"""The `gateway` command: reads the environment, calls one thing, prints. Decides nothing."""
