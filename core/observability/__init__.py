"""Events, and what reads them: metrics, logs and traces."""
