"""What a store is asked to do in one atomic step, and its results. Values only."""
