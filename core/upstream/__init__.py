"""The circuit breakers for submits to RunComfy."""
