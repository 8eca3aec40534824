"""Events, and their observers: metrics, logs and traces."""
