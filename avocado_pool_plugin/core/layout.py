"""Where our own files are, in the ``.pool`` directory beside the states they speak of."""

import os

#: Directory of ours in any directory of a cache or pool.
META = ".pool"
#: Ending of temporary files.
PART = ".part"
#: Ending of those that a later attempt may go on with.
RESUME = f".resume{PART}"
#: Endings of what lies beside a state, for :func:`subject`.
LOCK, USED, USERS = ".lock", ".used", ".users"
#: Directories of ours in that one.
TRASH, QUARANTINE, INTENTS = "trash", "quarantine", "intents"


def meta_dir(path: str) -> str:
    """Return our directory beside a file."""
    return os.path.join(os.path.dirname(path), META)


def _beside(path: str, ending: str) -> str:
    return os.path.join(meta_dir(path), os.path.basename(path) + ending)


def subject(path: str, ending: str) -> str:
    """Return the file that something of ours lies beside, empty if that has not this ending."""
    meta, name = os.path.split(path)
    if os.path.basename(meta) != META or not name.endswith(ending):
        return ""
    return os.path.join(os.path.dirname(meta), name.removesuffix(ending))


def record_path(path: str) -> str:
    """Return the record of a file."""
    return _beside(path, ".json")


def pending_prefix(path: str) -> str:
    """Return how the names of records begin whose file may not be in place yet."""
    return _beside(path, ".next-")


def seen_path(path: str) -> str:
    """Return what readers know about a file."""
    return _beside(path, ".seen")


def leaves_path(path: str) -> str:
    """Return the digests of the blocks of a file, kept on hosts that it is published to."""
    return _beside(path, ".leaves")


def lock_path(path: str) -> str:
    """Return the lock of a file."""
    return _beside(path, LOCK)


def users_dir(path: str) -> str:
    """Return the directory of working overlays that stand on a state."""
    return _beside(path, USERS)


def used_path(path: str) -> str:
    """Return the empty file whose time says when a state was used last."""
    return _beside(path, USED)


def part_path(path: str, token: str) -> str:
    """Return a temporary name, on the file system of the file that it is to become."""
    return _beside(path, f".{token}{PART}")


def resumable_path(path: str, key: str) -> str:
    """Return a temporary name that a later attempt at the same content finds again."""
    return _beside(path, f".{key}{RESUME}")


def unfinished_path(path: str) -> str:
    """Return the note that an image's internal snapshots are being changed."""
    return _beside(path, ".unfinished")


def intents_dir(directory: str) -> str:
    """Return the directory of intents for one image's directory of states."""
    return os.path.join(directory, META, INTENTS)


def pins_dir(root: str) -> str:
    """Return the directory of pins of a cache or pool."""
    return os.path.join(root, META, "pins")


def seen_dir(root: str) -> str:
    """Return the directory of what a cache's readers know about files elsewhere."""
    return os.path.join(root, META, "seen")


def durations_path(root: str) -> str:
    """Return what is remembered beside a cache of how long tests took."""
    return os.path.join(root, META, "durations.json")


def trash_dir(path: str) -> str:
    """Return where a removed file goes first."""
    return os.path.join(meta_dir(path), TRASH)


def quarantine_dir(path: str) -> str:
    """Return where a damaged file goes that nothing could repair."""
    return os.path.join(meta_dir(path), QUARANTINE)


def is_ours(name: str) -> bool:
    """Tell whether a directory entry is no state: ours, hidden, or a lock of avocado-i2n."""
    return name.startswith(".") or name.endswith((".lock", PART))
