"""The atomic writes of the store, with their results. Values only."""
