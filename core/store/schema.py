"""The schema of the data in Redis, which decides which releases may use a store together.

A change that an earlier release could not read takes two releases: the first one reads the new form
and still writes the old one (`READS` goes up), the second one writes it (`WRITES` goes up). So the
processes of two releases that follow each other can always run side by side.
"""

from typing import Final

READS: Final = 1
"""The newest schema that this release reads."""
WRITES: Final = 1
"""The schema that this release writes; at most `READS`."""


def schema_issue(held: str) -> str | None:
    """Return why this release must not use a store of the schema `held`; None if it may.

    "": no process has recorded one yet.
    """
    if not held or (held.isdecimal() and int(held) <= READS):
        return None
    return (
        f"This Redis was written by a newer release (schema {held}; this one reads {READS}): "
        "use that release, or the one before it."
    )
