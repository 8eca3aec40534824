"""RunComfy as the worker sees it: the only code that knows its API, and that can spend money."""
