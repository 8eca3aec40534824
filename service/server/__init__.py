"""Runs uvicorn: one process or several."""
