"""The calls about batches."""
