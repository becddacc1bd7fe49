"""States that were made and used long ago."""

import json
import os
import time
from pathlib import Path

from avocado_pool_plugin.core import layout


def aged(path: Path, seconds: float, rebuild: float = 0.0) -> None:
    """
    Make a state look as if nobody made or used it for some time.

    :param rebuild: seconds that it took to make it, 0 if that is not to be known
    """
    then = time.time() - seconds
    meta = path.parent / layout.META
    for record in (Path(layout.record_path(str(path))), *meta.glob(f"{path.name}.next-*")):
        if record.exists():
            fields = json.loads(record.read_text())
            fields["made"] = then
            fields.pop("seconds", None)
            if rebuild:
                fields["seconds"] = rebuild
            record.write_text(json.dumps(fields))
    used = Path(layout.used_path(str(path)))
    if used.exists():
        os.utime(used, (then, then))


def all_aged(root: Path, seconds: float = 86400.0) -> None:
    """Do so with all states of a cache or pool."""
    for path in [*root.glob("*/*/*.qcow2"), *root.glob("*/*.state")]:
        if not path.is_symlink():
            aged(path, seconds)
