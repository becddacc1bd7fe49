"""A file from a mirror to the place that needs it, whichever of the two are on other hosts."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from avocado_pool_plugin.core import durable, layout
from avocado_pool_plugin.core.copy import require_space
from avocado_pool_plugin.core.digest import ALGORITHM, Progress
from avocado_pool_plugin.core.errors import ChainBroken, PoolUnreachable, StateMissing
from avocado_pool_plugin.core.place import place
from avocado_pool_plugin.core.progress import reported
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Site
from avocado_pool_plugin.upkeep.verify import journal
from avocado_pool_plugin.upkeep.verify.mirrors import Copy, is_image, stamp_of

if TYPE_CHECKING:
    from avocado_pool_plugin.ssh.store import RemoteStore

#: A longer chain is none.
_LONGEST = 1000


def bring(copy: Copy, site: Site, path: str, cache: str) -> None:
    """
    Make a file of a place equal to a copy; errors of the stores of both.

    What the copy stands on comes first, as far as it is missing.

    :param cache: has room for what goes from one other host to another
    """
    for source, target in _missing_below(copy, site, path):
        info = copy.site.store.info(source)
        if info is None:
            raise StateMissing(f"{copy.site.title(source)} is gone meanwhile; try again")
        _bring(Copy(copy.site, source, info), site, target, cache)
    _bring(copy, site, path, cache)


def _missing_below(copy: Copy, site: Site, path: str) -> list[tuple[str, str]]:
    """Return the states to bring before, the lowest first: where they are, and where to."""
    found: list[tuple[str, str]] = []
    source = copy.path
    home = os.path.dirname(os.path.dirname(os.path.relpath(path, site.root)))
    while is_image(source) and home:
        name = copy.site.store.parent(source)
        if not name:
            break
        source = os.path.join(os.path.dirname(source), f"{name}.qcow2")
        target = os.path.join(os.path.dirname(path), f"{name}.qcow2")
        if stamp_of(site, target) is not None:
            break
        found.append((source, target))
        if len(found) > _LONGEST:
            raise ChainBroken(f"the chain of {copy.site.title(copy.path)} has no end")
    return found[::-1]


def _bring(copy: Copy, site: Site, path: str, cache: str) -> None:
    source = copy.site
    title = source.title(copy.path)
    with (
        durable.typed_failures(path),
        reported("repairing from", title, lambda: source.store.allocated(copy.path)) as progress,
    ):
        if not source.place.remote:
            site.store.publish(copy.path, path, progress)
        elif not site.place.remote:
            source.store.fetch(copy.path, path, progress)
        else:
            with _here(copy, cache, progress) as local:
                site.store.publish(local, path, progress)


@contextlib.contextmanager
def _here(copy: Copy, cache: str, progress: Progress) -> Iterator[str]:
    """Give a copy on this host of a file of another one; it is removed at the end."""
    base = os.path.join(journal.directory(cache), f"{durable.new_token()}{layout.PART}")
    name = os.path.relpath(copy.path, copy.site.root)
    local = os.path.join(base, name)
    try:
        with durable.typed_failures(local):
            durable.make_dirs(os.path.dirname(local), fsync=False)
            _receive(copy, local, progress)
            yield local
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _receive(copy: Copy, local: str, progress: Progress) -> None:
    """
    Bring a file as it is, with its record; what it stands on, or belongs to, stays there.

    :raises PoolUnreachable: it is another one by now
    """
    store = cast("RemoteStore", copy.site.store)
    algorithms = tuple({digest.partition(":")[0] for digest in copy.info.also})
    require_space(os.path.dirname(local), store.allocated(copy.path), "a copy to be sent on")
    with durable.new_part(local, fsync=False) as part:

        def attempt() -> FileInfo:
            fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                with store.session.bulk() as bulk:
                    got = bulk.download(copy.path, fd, algorithms=algorithms, progress=progress)
            finally:
                os.close(fd)
            return replace(copy.info, digest=got.digest, also=tuple(sorted(_others(got.digests))))

        info = store.session.again(f"fetching {copy.site.title(copy.path)}", attempt)
        if not info.same_content(copy.info):
            raise PoolUnreachable(
                f"{copy.site.title(copy.path)} was replaced while it was read; try again"
            )
        place(part, local, info, replace(copy.site.policy, fsync=False))


def _others(digests: dict[str, str]) -> Iterator[str]:
    return (digest for name, digest in digests.items() if name != ALGORITHM)
