"""What can be told to be wrong without reading content: chains, records, vm states, names."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import replace

from avocado_pool_plugin.core import chain, vmstate
from avocado_pool_plugin.core.errors import ParentChanged
from avocado_pool_plugin.core.passport import Passport
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.upkeep.site import Item
from avocado_pool_plugin.upkeep.verify import findings as kinds
from avocado_pool_plugin.upkeep.verify.findings import Finding
from avocado_pool_plugin.upkeep.verify.scene import Scene

#: States that are named in one text.
_NAMED = 3


def found(scene: Scene, corrupt: Iterable[str] = ()) -> list[Finding]:
    """
    Return what is wrong, each file and kind once.

    :param corrupt: files whose content is known to be wrong: their headers say nothing
    """
    bad = frozenset(corrupt)
    every = [
        *_strays(scene),
        *(one for item in scene.items.values() for one in _of(scene, item, bad)),
        *_missing(scene, bad),
        *_circles(scene, bad),
        *_vm_states(scene),
        *_pending(scene),
    ]
    unique: dict[tuple[str, str], Finding] = {}
    for finding in every:
        known = unique.get(finding.key)
        wanted = (*(known.wanted if known else ()), *finding.wanted)
        unique[finding.key] = replace(known or finding, wanted=tuple(dict.fromkeys(wanted)))
    return list(unique.values())


def named(names: Iterable[str]) -> str:
    """Return some names as people read them."""
    every = sorted(names)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _strays(scene: Scene) -> Iterator[Finding]:
    for path in scene.strays:
        yield Finding(
            path,
            scene.title(path),
            kinds.STRAY,
            "is no file, but in the place of a state; move it elsewhere",
        )


# -- each file by itself --------------------------------------------------------------------------


def _of(scene: Scene, item: Item, bad: frozenset[str]) -> Iterator[Finding]:
    path, title = item.path, scene.title(item.path)
    if item.entry.stamp is None:
        yield Finding(
            path, title, kinds.DANGLING, f"{item.problem}; remove the link, or get the state again"
        )
        return
    if scene.damaged(path):
        yield Finding(
            path, title, kinds.RECORD, "its record is damaged", wanted=_wanted_of(scene, path)
        )
    if path in bad:
        return
    if item.problem:
        kind = kinds.BACKING if item.problem.startswith("stands on ") else kinds.IMAGE
        yield Finding(path, title, kind, item.problem)
    elif not item.relative:
        yield Finding(
            path,
            title,
            kinds.BACKING,
            f"names the state {item.parent!r} it stands on by a path, which holds in one place "
            f"only; have it adopted, or set it again",
        )
    yield from _parent(scene, item)


def _parent(scene: Scene, item: Item) -> Iterator[Finding]:
    """Compare what a state says of its parent with what that is."""
    record = scene.record(item.path)
    below = scene.items.get(scene.parent(item))
    said = record.info.parent if record else ""
    if said and not item.problem and said != item.parent:
        text = f"its record says that it stands on {said!r}, its header on {item.parent or None!r}"
        yield Finding(item.path, scene.title(item.path), kinds.PARENT, text)
    if not (item.parent and below and item.peek and below.peek and below.peek.recorded):
        return
    try:
        chain.check_parent(item.path, item.peek.info, below.peek.info)
    except ParentChanged as error:
        text = str(error).removeprefix(f"{item.path} ")
        yield Finding(item.path, scene.title(item.path), kinds.PARENT, text)


def _wanted_of(scene: Scene, path: str) -> tuple[FileInfo, ...]:
    """Return what others say that a file contains."""
    tops = (item for item in scene.items.values() if scene.parent(item) == path)
    infos = [parent_of(item.peek.info) for item in tops if item.peek]
    for ram, passport in _passports(scene):
        for image, mark in passport.images:
            if vmstate.image_file(ram.path, image) == path:
                infos.append(FileInfo(0, digest=mark.digest, generation=mark.generation))
    return tuple(dict.fromkeys(info for info in infos if info.digest or info.generation))


def parent_of(info: FileInfo) -> FileInfo:
    """Return what is recorded of the parent of a state."""
    return FileInfo(0, digest=info.parent_digest, generation=info.parent_generation)


# -- chains ---------------------------------------------------------------------------------------


def _missing(scene: Scene, bad: frozenset[str]) -> Iterator[Finding]:
    tops: dict[str, list[Item]] = {}
    for item in scene.items.values():
        parent = scene.parent(item, trusted=item.path not in bad)
        if parent and parent not in scene.items and parent not in scene.strays:
            tops.setdefault(parent, []).append(item)
    for path, items in tops.items():
        names = named(os.path.basename(item.path).removesuffix(".qcow2") for item in items)
        stand = "stands" if len(items) == 1 else "stand"
        yield Finding(
            path,
            scene.title(path),
            kinds.MISSING,
            f"is missing, {names} {stand} on it",
            wanted=tuple(parent_of(item.peek.info) for item in items if item.peek),
        )


def _circles(scene: Scene, bad: frozenset[str]) -> Iterator[Finding]:
    done: set[str] = set()
    for start in sorted(scene.items):
        way: list[str] = []
        path = start
        while path in scene.items and path not in done:
            done.add(path)
            way.append(path)
            path = scene.parent(scene.items[path], trusted=path not in bad)
        if path in way:
            circle = way[way.index(path) :]
            first = circle.index(min(circle))
            circle = [*circle[first:], *circle[:first]]
            names = [os.path.basename(one).removesuffix(".qcow2") for one in circle]
            text = f"its chain is a circle: {' -> '.join([*names, names[0]])}; set these again"
            yield Finding(circle[0], scene.title(circle[0]), kinds.CIRCLE, text)


def standing_on(scene: Scene, bad: Iterable[str]) -> dict[str, str]:
    """Return the files that stand on bad ones, directly or not, each with the bad one."""
    tops: dict[str, list[str]] = {}
    for item in scene.items.values():
        parent = scene.parent(item)
        if parent:
            tops.setdefault(parent, []).append(item.path)
    for ram, passport in _passports(scene):
        for image, _ in passport.images:
            tops.setdefault(vmstate.image_file(ram.path, image), []).append(ram.path)
    every = sorted(bad)
    reached: dict[str, str] = {}
    for start in every:
        waiting = [start]
        while waiting:
            for top in tops.get(waiting.pop(), ()):
                if top not in reached and top not in every:
                    reached[top] = start
                    waiting.append(top)
    return reached


def depth(scene: Scene, path: str) -> int:
    """Return how many states a state stands on; more for a vm state than for any image's."""
    number, seen = 0, {path}
    while path in scene.items:
        path = scene.parent(scene.items[path])
        if not path or path in seen:
            break
        seen.add(path)
        number += 1
    return number


# -- vm states and writers ------------------------------------------------------------------------


def _passports(scene: Scene) -> Iterator[tuple[Item, Passport]]:
    for item in scene.items.values():
        if item.peek and item.peek.info.passport:
            yield item, item.peek.info.passport


def _vm_states(scene: Scene) -> Iterator[Finding]:
    for ram, passport in _passports(scene):
        name = scene.title(ram.path)
        for image, mark in passport.images:
            path = vmstate.image_file(ram.path, image)
            state = scene.items.get(path)
            if state is None and path not in scene.strays:
                wanted = FileInfo(0, digest=mark.digest, generation=mark.generation)
                text = f"is missing, the vm state {name} belongs to it"
                title = scene.title(path)
                yield Finding(path, title, kinds.MISSING, text, wanted=(wanted,))
            elif state and state.peek and not vmstate.belongs(mark, state.peek):
                text = (
                    f"belongs to another state of {image} than {scene.title(path)}; get or set "
                    f"the vm state again"
                )
                yield Finding(ram.path, name, kinds.VM_STATE, text)


def _pending(scene: Scene) -> Iterator[Finding]:
    for path, names in scene.pending.items():
        what = "a writer" if len(names) == 1 else f"{len(names)} writers"
        text = f"{what} of it ended before the record was written, an hour ago or longer"
        yield Finding(path, scene.title(path), kinds.PENDING, text)
