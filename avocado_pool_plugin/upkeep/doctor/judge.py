"""What figures mean that are measured alike on this host and on others."""

from collections.abc import Iterator
from dataclasses import dataclass

from avocado_pool_plugin.upkeep.doctor.finding import BAD, NOTE, OK, WARN, Finding

#: Less than this part of a file system free, or less than so many bytes, is too little.
_PART, _LEAST = 0.05, 1 << 30
#: Nanoseconds between two times that a file system tells apart: more is coarse.
COARSE = 20_000_000
#: Seconds that two clocks may differ.
_SKEW = 2.0

#: Kinds of file systems that need a word, by how they begin: level, what is so, what to do.
_KINDS: tuple[tuple[tuple[str, ...], str, str, str], ...] = (
    (
        ("nfs",),
        NOTE,
        "a network file system: locks reach other hosts only if all mount it with locking, and "
        "a host may see changes of others some seconds late",
        "mount it 'hard', not 'soft' nor 'nolock', on all hosts; nothing gets corrupted without "
        "locks, work may be done twice",
    ),
    (
        ("cifs", "smb"),
        WARN,
        "a Windows share: no sparse files on many servers, modes and links may be missing",
        "prefer NFS, or ssh: 'label:/dir'",
    ),
    (
        ("fuse.sshfs",),
        WARN,
        "ssh below a mount: locks are local, times are whole seconds, a cut looks like an empty "
        "directory",
        "use the host itself as the location: 'label:/dir'",
    ),
    (
        ("fuse", "9p", "v9fs", "virtiofs", "ceph", "glusterfs", "afs"),
        NOTE,
        "its locks and times are as good as the program or server behind it",
        "run this command on each host that mounts it",
    ),
    (
        ("tmpfs", "ramfs"),
        NOTE,
        "in memory: all states are gone after a reboot, and take memory until then",
        "keep what takes long to build in a pool on a disk",
    ),
    (
        ("overlay",),
        NOTE,
        "a layer of a container: gone with it, and files below are copied when changed",
        "mount a volume for states",
    ),
    (
        ("vfat", "msdos", "exfat", "ntfs"),
        BAD,
        "no sparse files, links or permissions, files of 4 GiB at most on some",
        "keep states on ext4, XFS or btrfs",
    ),
)


def kind(place: str, name: str, details: str = "") -> Iterator[Finding]:
    """
    Judge the kind of a file system.

    :param name: as the kernel or ``stat -f`` calls it
    :param details: what else is known, for users
    """
    shown = f"{name}{f' ({details})' if details else ''}"
    for names, level, found, advice in _KINDS:
        if name.startswith(names):
            yield Finding(place, "file system", level, f"{shown}, {found}", advice)
            return
    yield Finding(place, "file system", OK, shown)


@dataclass(frozen=True)
class Room:
    """
    What is left on a file system.

    :param free: bytes for its users
    :param total: bytes
    :param free_inodes: how many files more
    :param inodes: how many files; 0 where that has no limit
    """

    free: int
    total: int
    free_inodes: int
    inodes: int


def room(place: str, left: Room) -> Iterator[Finding]:
    """Judge free space."""
    share = left.free / left.total if left.total else 0.0
    told = f"{_size(left.free)} of {_size(left.total)} ({share:.0%})"
    advice = "free some: 'avocado pool gc' takes away states that cost least to build again"
    if left.free < 1 << 20:
        yield Finding(place, "free space", BAD, f"none: {told}", advice)
    elif share < _PART or left.free < _LEAST:
        yield Finding(place, "free space", WARN, f"little: {told}", advice)
    else:
        yield Finding(place, "free space", OK, told)
    if left.inodes and left.free_inodes < _PART * left.inodes:
        told = f"few files more can be made: {left.free_inodes} of {left.inodes}"
        advice = "remove small files there, or make the file system with more inodes"
        yield Finding(place, "inodes", WARN if left.free_inodes else BAD, told, advice)


def granularity(place: str, between: int | None) -> Iterator[Finding]:
    """
    Judge how near two times of a file system can be.

    :param between: nanoseconds, None if no second time was seen for seconds
    """
    advice = "XFS, btrfs, and ext4 with inodes of 256 bytes have finer times and save that"
    cost = "what was just set is hashed once more before it is trusted"
    if between is None:
        found = f"no two times within seconds: {cost}"
        yield Finding(place, "time stamps", WARN, found, advice)
    elif between > COARSE:
        found = f"times are {between / 1e6:.0f} ms apart: {cost}"
        yield Finding(place, "time stamps", WARN, found, advice)
    else:
        yield Finding(place, "time stamps", OK, f"times at most {between / 1e6:.2g} ms apart")


def stamps(place: str, honest: bool, stable: bool = True) -> Iterator[Finding]:
    """
    Judge whether a change shows in a file's stamp.

    :param honest: whether one shows that keeps size and modification time
    :param stable: whether the stamp of a file that nobody touches stays
    """
    if not honest:
        yield Finding(
            place,
            "stamps",
            WARN,
            "a change that keeps size and modification time does not show",
            "have content hashed every time: verify = always",
            (("verify", "always"),),
        )
    elif not stable:
        found = "inode or times of a file change by themselves: it is hashed each time"
        yield Finding(place, "stamps", WARN, found, "keep states on another file system")
    else:
        yield Finding(place, "stamps", OK, "every change of a file shows")


def skew(place: str, ahead: float, whose: str) -> Iterator[Finding]:
    """
    Judge the difference of two clocks.

    :param ahead: seconds that the other one is ahead of this host's
    :param whose: the other one
    """
    if abs(ahead) <= _SKEW:
        yield Finding(place, "clock", OK, f"{whose} agrees with this host's")
        return
    way = "ahead of" if ahead > 0 else "behind"
    found = f"{whose} is {abs(ahead):.0f} s {way} this host's: ages of files are wrong by that"
    yield Finding(place, "clock", WARN, found, "have all hosts set their clocks by NTP")


def reflink(place: str, able: bool) -> Iterator[Finding]:
    """Judge whether copies can share blocks."""
    if able:
        yield Finding(place, "reflink", OK, "copies within it cost nothing")
    else:
        found = "copies within it are read and written"
        advice = "XFS (mkfs.xfs -m reflink=1) and btrfs copy for nothing"
        yield Finding(place, "reflink", NOTE, found, advice)


def sparse(place: str, allocated: int, size: int, seeks: bool = True) -> Iterator[Finding]:
    """
    Judge whether holes are holes.

    :param allocated: bytes on disk of a file that is nearly all hole
    :param size: bytes of it
    :param seeks: whether holes can be found without reading them
    """
    if allocated * 2 > size:
        found = f"holes take room: {allocated >> 10} KiB for a file that is nearly all hole"
        advice = "images take their whole size there; keep states on ext4, XFS or btrfs"
        yield Finding(place, "sparse files", WARN, found, advice)
    elif not seeks:
        yield Finding(place, "sparse files", NOTE, "holes take no room, but are read as zeros")
    else:
        yield Finding(place, "sparse files", OK, "holes take no room and are skipped")


def refused(place: str, cause: str, cache: bool, read_only: bool, any_mirror: bool) -> Finding:
    """
    Judge a place that can't be written.

    :param cause: what the system says
    :param cache: whether it is the cache
    :param read_only: whether its file system is mounted so
    :param any_mirror: whether a set may fail on a mirror
    """
    if cache:
        advice = "the cache has to be writable: mount it so, let this user write, or set swarm_pool"
        return Finding(place, "writable", BAD, f"no: {cause}", advice)
    why = "mount it writable" if read_only else "let this user, or a group of it, write there"
    if any_mirror:
        found = f"no: {cause}; states can be fetched, and a set only has to reach another pool"
        return Finding(place, "writable", NOTE, found)
    found = f"no: {cause}; states can be fetched, but each set that goes there fails"
    advice = f"{why}, or let a set be content with any other pool: set_mirrors = any"
    return Finding(place, "writable", WARN, found, advice, (("set_mirrors", "any"),))


def torn(place: str, rounds: int, torn_by: str) -> Iterator[Finding]:
    """
    Judge whether a rename over a file is one step.

    :param rounds: how often it was tried under a reader's eyes
    :param torn_by: what the reader found besides an old or a new file, empty for nothing
    """
    if torn_by:
        found = f"not one step: a reader found the file {torn_by}"
        yield Finding(place, "rename", BAD, found, "keep states on another file system")
    else:
        yield Finding(place, "rename", OK, f"one step: {rounds} files replaced under a reader")


def absent(place: str, cache: bool, above: str, writable: bool) -> Iterator[Finding]:
    """
    Judge a directory that does not exist.

    :param above: the nearest one that does
    :param writable: whether that one can be written
    """
    if not writable:
        found = f"does not exist, and this user can't make it in {above}"
        yield Finding(place, "directory", BAD, found, f"make it, or let this user write {above}")
    elif cache:
        yield Finding(place, "directory", NOTE, "does not exist", "it is made by the first set")
    else:
        found = f"does not exist; the nearest directory that does is {above}"
        advice = "mount it or correct the location if it should; else the first set makes it"
        yield Finding(place, "directory", WARN, found, advice)


def empty(place: str) -> Finding:
    """Judge a pool without anything in it."""
    found = "empty: no states, nothing of ours"
    advice = "fine for a new pool; if there were states, its file system is not mounted"
    return Finding(place, "directory", NOTE, found, advice)


def rate(place: str, way: str, size: int, seconds: float) -> Finding:
    """Judge how fast content moves; ``way`` is upload or download."""
    per_second = size / max(seconds, 1e-6)
    told = f"{per_second / 2**20:.0f} MiB/s ({size >> 20} MiB in {seconds:.2f} s)"
    if per_second < 10 << 20:
        advice = "an image of 10 GiB takes more than a quarter of an hour; check the network"
        return Finding(place, way, NOTE, told, advice)
    return Finding(place, way, OK, told)


def _size(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 1 << 30 else f"{size / 2**20:.1f} MiB"
