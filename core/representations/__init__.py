"""JSON representations that the service and the worker share. Pure."""
