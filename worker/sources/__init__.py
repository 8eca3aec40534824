"""Reads private sources: the operator's list of internal addresses of media."""
