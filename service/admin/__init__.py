"""Use cases of operators: limits, pauses, in-doubt submits. Each writes to the audit log."""
