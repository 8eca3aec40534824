"""Commands for what is sent to RunComfy: limits, pauses, jobs in doubt, circuits, models."""
