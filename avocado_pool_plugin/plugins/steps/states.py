"""Steps that do something with the states of the selected objects; no vm runs meanwhile."""

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from avocado.core.exceptions import TestBaseException
from avocado.core.output import LOG_UI

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.plugins.commands.command import FAILED, FINE, MISUSED, ToUser

if TYPE_CHECKING:
    from avocado_pool_plugin.plugins.steps.context import Context

#: Logs of what is done with states, as a test has them in its own log.
_LOG = logging.getLogger("avocado.avocado_pool_plugin")


def _verb(verb: str, context: "Context") -> int:
    """Do what ``<verb>_state`` of the command line says."""
    from avocado_pool_plugin.states import requests, setup

    asked = context.selection.params
    if not requests.asked(asked, verb):
        raise SettingRefused(f"step {verb!r} needs a state; write {verb}_state_images=STATE")
    do = getattr(setup, f"{verb}_states")
    return _with_each(context, verb, do, _objects(context, asked))


GET, SET, UNSET, PUSH, POP = (
    functools.partial(_verb, verb) for verb in ("get", "set", "unset", "push", "pop")
)


def create(context: "Context") -> int:
    """Make the images that do not exist, blank."""
    from avocado_pool_plugin.states.setup import set_states

    found = _objects(context, set_state_images="root", set_mode="rf", pool_scope="own")
    return _with_each(context, "set", set_states, found)


def collect(context: "Context") -> int:
    """Get the images from the pool."""
    from avocado_pool_plugin.states.setup import get_states

    found = _objects(context, get_state_images="root", pool_scope="shared swarm cluster")
    return _with_each(context, "get", get_states, found)


def clean(context: "Context") -> int:
    """Remove the images and all their states in the cache."""
    found = _objects(context, unset_state_images="root", unset_mode="fi", pool_scope="own")
    return _with_each(context, "unset", _clean, found)


def _clean(params: Any) -> None:
    from avocado_pool_plugin.states.selected import single_images
    from avocado_pool_plugin.states.setup import show_states, unset_states

    # an image that is in use is refused before a state is gone
    unset_states(params)
    for own in single_images(params):
        for state in show_states(own):
            unset_states(_with(own, unset_state_images=state, unset_cascade="yes"))


def _objects(context: "Context", asked: Any = None, /, **params: str) -> list[Any]:
    """
    Return params of the selected objects.

    :param asked: params of the command line that ask for states
    :param params: params that they all get
    """
    found = context.objects(asked or {})
    if not found:
        raise SettingRefused("no selected test has a vm with an image; choose others by only=")
    return [_with(own, **params) for own in found]


def _with(params: Any, **more: str) -> Any:
    """Return a copy of params with others, which nothing more specific overrides."""
    own = params.copy()
    for key in [key for key in own if key.startswith(tuple(f"{name}_" for name in more))]:
        del own[key]
    own.update(more)
    return own


def _with_each(context: "Context", verb: str, do: Callable[[Any], None], found: list[Any]) -> int:
    """Do something with objects after it was found that it makes sense for all of them."""
    from avocado_pool_plugin.core.progress import reporting
    from avocado_pool_plugin.plugins import bars
    from avocado_pool_plugin.states.selected import title
    from avocado_pool_plugin.states.setup import check_requests

    try:
        for params in found:
            check_requests(params, verb)
    except TestBaseException as error:
        LOG_UI.error("%s", error)
        return MISUSED
    if context.dry:
        context.say("dry run, %s of %s is left out", verb, ", ".join(map(title, found)))
        return FINE
    try:
        machine = bool(context.config.get("stdout_claimed_by"))
        level = logging.WARNING if machine else logging.INFO
        with _shown(level), reporting(bars.reporter(None if machine else LOG_UI)):
            for params in found:
                do(params)
    except TestBaseException as error:
        LOG_UI.error("%s", error)
        return FAILED
    return FINE


@contextlib.contextmanager
def _shown(least: int) -> Iterator[None]:
    """Show the user what is done with states, as far as it is as important as a level of logs."""
    handler, level = ToUser(least), _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)
