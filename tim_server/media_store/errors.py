"""What may go wrong with stored files. Services turn these into what a client sees."""


class MediaStoreError(Exception):
    """Bytes could not be written or read. The text names reasons, never content."""


class ObjectMissing(MediaStoreError):
    """There is no such object."""


class NoSpaceLeft(MediaStoreError):
    """The disk is full, or a quota of it is used up."""


class FileAltered(MediaStoreError):
    """What is stored is not what was written: chunks were changed, exchanged, left out or cut off."""


class StoreRefused(MediaStoreError):
    """The object store refuses what it is asked. The text tells operators what to look at."""
