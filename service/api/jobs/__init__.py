"""The calls about requests: submit, status, result, cancel, list, events."""
