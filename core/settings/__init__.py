"""Settings of all processes: definitions, where values come from, effective values."""
