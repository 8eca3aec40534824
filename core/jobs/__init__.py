"""Jobs: the record, its state table, timeline, queries and run times. Values only."""
