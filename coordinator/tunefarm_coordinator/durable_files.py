"""Files and folders that are there whole or not at all, after a power loss too."""

import os
from pathlib import Path


def put_in_place(draft: Path, place: Path) -> None:
    """Gives a file its name, or a folder one that nothing has yet: first all of it is on the disk, then the name is.

    What a row of the store speaks of has to be put in place before the row is written. Raises OSError.
    """
    for each in (draft, *draft.rglob("*")):
        if not each.is_symlink():
            sync(each)
    new = [folder for folder in place.parents if not folder.exists()]
    place.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(place)
    for folder in (place.parent, *(each.parent for each in new)):
        sync(folder)


def sync(path: Path) -> None:
    """Returns once the file's content, or the folder's names, are on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
