"""Opens the store of objects that the settings name."""

from core.objects.object_store import ObjectStore
from core.settings.definitions import ObjectSettings


def open_objects(settings: ObjectSettings) -> ObjectStore | None:
    """Return the store of objects; None if there is none. No bucket is called yet.

    Raises `ValueError` for a URL that cannot be used.
    """
    if settings.url is None:
        return None
    from core.objects.obstore_client import open_obstore  # noqa: PLC0415 - heavy: only where used
    from core.objects.obstore_objects import ObstoreObjects  # noqa: PLC0415 - as above

    return ObstoreObjects(open_obstore(settings.url, settings.timeout))
