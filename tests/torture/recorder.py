"""
A disk for nbdkit that notes everything that is done to it; disk.py reads its notes.

The system's Python runs it, one request after the other: what is noted before a flush was answered
before that flush came, so it is on the disk afterwards.
"""

import os
import struct

#: How a note begins: what was done, where, and how many bytes.
NOTE = struct.Struct("<cQQ")
WRITE, ZERO, FLUSH = b"w", b"z", b"f"

_options: dict[str, str] = {}


def config(key, value):
    """Take ``disk``, a file, and ``log``, where notes go."""
    _options[key] = value


def open(_readonly):
    return os.open(_options["disk"], os.O_RDWR), os.open(_options["log"], os.O_WRONLY | os.O_APPEND)


def close(handles):
    for handle in handles:
        os.close(handle)


def get_size(handles):
    return os.fstat(handles[0]).st_size


def pread(handles, count, offset):
    return os.pread(handles[0], count, offset)


def pwrite(handles, data, offset):
    _note(handles, WRITE, offset, data)
    os.pwrite(handles[0], data, offset)


def zero(handles, count, offset, _may_trim=False):
    _note(handles, ZERO, offset, b"", count)
    os.pwrite(handles[0], bytes(count), offset)


def flush(handles):
    _note(handles, FLUSH, 0, b"")


def _note(handles, what, offset, data, count=None):
    """Write in one go: whoever looks at the log's size never sees half a note."""
    os.write(handles[1], NOTE.pack(what, offset, len(data) if count is None else count) + data)
