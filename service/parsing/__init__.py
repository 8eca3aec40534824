"""Parses JSON bodies and fields, and reports what is wrong with each."""
