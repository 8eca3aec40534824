"""The service's Prometheus metrics, for one process or several."""
