"""Use cases of batches: parsing, admission, cancel."""
