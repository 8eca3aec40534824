"""The client of RunComfy's API: the only code that knows the API, and that can spend money."""
