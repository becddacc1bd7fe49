"""Whether there was a reason for what users were told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.torture.model.crowd import Ended
from tests.torture.model.work import GET, SET, UNSET, Op
from tests.torture.model.world import POOLS, WORKERS, Image, Key, images_of

if TYPE_CHECKING:
    from tests.torture.model.law import Step

#: What may be told at all.
_ALLOWED = ("TestAbortError", "StateMissing", "StateNeeded", "ChainBroken", "ImageInUse",
            "MirrorsFailed", "FileChanging")  # fmt: skip


def check(step: Step, op: Op, ended: Ended) -> None:
    """
    Make sure that an operation was refused for a reason.

    :raises AssertionError: there is none
    """
    told = f"{op}: {ended.kind}: {ended.said}"
    # the state under an image, removed while a tool was at it
    gone = not step.alone and "ToolFailed" in ended.kinds and "No such file" in ended.said
    assert gone or any(kind in _ALLOWED for kind in ended.kinds), told
    missing = {"TestAbortError", "StateMissing"} & set(ended.kinds)
    if op.verb == GET and missing:
        for image in images_of(op.vm):
            if not step.alone and not _there_all_the_time(step, op, image):
                return
        assert step.alone or _unknown(step, op), f"it was there all the time: {told}"
    if step.alone:
        reasons = [image for image in images_of(op.vm) if _has_reason(step, op, image, ended)]
        assert reasons, f"for no reason: {told}"


def _unknown(step: Step, op: Op) -> bool:
    """Tell whether it can't be told what was there when it was looked at."""
    return bool(step.before.intents) or any(step.broken(image) for image in images_of(op.vm))


def _there_all_the_time(step: Step, op: Op, image: Image) -> bool:
    """Tell whether a state was in a place in which nobody removed or replaced anything of it."""
    if any(other.verb == UNSET or other.cascade for other in step.on(image, GET, SET, UNSET)
           if other is not op and op.cache in other.places):  # fmt: skip
        return False  # from the cache, in which it was already
    places = (op.cache,) if op.own else (*POOLS, op.cache)
    for place in places:
        others = [other for other in step.ops if other is not op and place in other.places]
        quiet = not any(other.verb not in (GET,) for other in others)
        if quiet and place in POOLS and step.before.at(place, image, op.state):
            return True
        if not others and step.before.at(place, image, op.state):
            return True
    return False


def _has_reason(step: Step, op: Op, image: Image, ended: Ended) -> bool:
    kinds, working = set(ended.kinds), (op.worker, image)
    if "ImageInUse" in kinds:
        return working in step.known.opened
    if step.broken(image) or step.before.intents:
        return True
    reasons = {
        "TestAbortError": _is_missing,
        "StateMissing": _is_missing,
        "StateNeeded": _is_needed,
        "ChainBroken": _is_another,
    }
    asked = [reasons[kind] for kind in reasons if kind in kinds] or list(reasons.values())
    return any(reason(step, op, image) for reason in asked)


def _is_missing(step: Step, op: Op, image: Image) -> bool:
    if op.verb == SET:
        return _spoiled(step, op, image)
    places = (op.cache,) if op.own else (op.cache, *POOLS)
    return not any(step.before.at(place, image, op.state) for place in places)


def _spoiled(step: Step, op: Op, image: Image) -> bool:
    """Tell whether the image stands on other files than when it was made."""
    working = (op.worker, image)
    found = step.before.images.get(working)
    if not found or found.content != step.known.wrote[working]:
        return True
    return step.before.files_below(*working) != step.known.based[working]


def _is_needed(step: Step, op: Op, image: Image) -> bool:
    names = _concerned(step, op, image)
    for name in names:
        places = op.places if op.verb in (SET, UNSET) else (op.cache,)
        if any(step.before.children(place, image, name) for place in places):
            return True
    return any(
        WORKERS[worker] == op.cache and opened == image
        and set(names) & set(step.before.below(worker, opened))
        for worker, opened in step.known.opened
    )  # fmt: skip


def _concerned(step: Step, op: Op, image: Image) -> list[str]:
    """Return the states that an operation looks at, as far as it may change them."""
    names = [op.state]
    if op.verb == SET:
        names += step.before.below(op.worker, image)
    if op.verb == GET:
        for place in (op.cache, *POOLS):
            names += step.before.chain(place, image, op.state)
    return names


def _is_another(step: Step, op: Op, image: Image) -> bool:
    if op.verb == SET and _spoiled(step, op, image):
        return True
    if op.verb == UNSET:
        return _spoiled(step, op, image)
    for name in _concerned(step, op, image):
        for pool in POOLS:
            here, there = Key(op.cache, image, name), Key(pool, image, name)
            if step.before.at(pool, image, name) and not step.world.same_file(here, there):
                return True
    return False
