"""Models: their ids, their pinned versions, and what changed in the catalogue."""
