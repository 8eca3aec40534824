"""Files that callers upload: what they are, and the use cases."""
