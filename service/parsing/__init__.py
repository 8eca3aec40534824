"""Parses JSON bodies and fields, and says what is wrong with each."""
