"""The routes, by subject. Each parses, calls one use case and renders."""
