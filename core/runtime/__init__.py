"""What spares time in Python: the garbage collector, records of the hot path, turns in the loop."""
