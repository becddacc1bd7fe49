"""Which states a test gets and sets, and which images it works on, read from its params."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from avocado_pool_plugin.core.errors import GraphRefused, PoolError
from avocado_pool_plugin.core.names import ROOTS, State
from avocado_pool_plugin.graph import working
from avocado_pool_plugin.graph.model import Made, Node, Want
from avocado_pool_plugin.params import flag, scopes
from avocado_pool_plugin.states.images import object_id
from avocado_pool_plugin.states.objects import last_type, stateful_objects
from avocado_pool_plugin.states.requests import asks_for_states

#: What is done with a state, and the params that ask for it.
_ASKS = {"get": ("get", "pop"), "set": ("set", "push"), "unset": ("unset", "pop")}
#: The mode of a get that the test can't do without.
_REQUIRED = "ra"


@dataclass(frozen=True)
class Owner:
    """
    Whose state it is, for those who look for it.

    :param params: of a test, narrowed to the object; ``<verb>_state`` is the state's name. For the
        images of a state of a vm they are the vm's.
    :param verb: what the test does with it: get, set or unset
    """

    params: Any
    verb: str


class _Owners(Mapping[State, Owner]):
    """Narrowed params made when they are asked for: there are too many to keep them."""

    def __init__(self, params: Mapping[str, str], asks: Mapping[State, tuple[str, str]]) -> None:
        self._params, self._asks = params, asks

    def __getitem__(self, state: State) -> Owner:
        title, verb = self._asks[state]
        for own in _objects(working.quick(self._params)):
            if own["object_name"] == title:
                own[f"{verb}_state"] = state.name
                return Owner(own, verb)
        raise KeyError(state)

    def __iter__(self) -> Iterator[State]:
        return iter(self._asks)

    def __len__(self) -> int:
        return len(self._asks)


@dataclass(frozen=True)
class Reading:
    """
    A test as it was read.

    :param node: the test in a graph; its ``files`` are those that no slot changes
    :param owners: whose states it gets, sets and unsets; made when asked for
    :param params: the flat params it was read from
    """

    node: Node
    owners: Mapping[State, Owner] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)


def node_of(name: str, params: Mapping[str, str]) -> Reading:
    """
    Read a test.

    :param name: what it is called in the graph
    :param params: its flat params, with the job's settings among them
    :raises GraphRefused: they make no sense, such as the name of a state; the text says which test
    """
    try:
        flat = working.quick(params)
        objects = list(_objects(flat)) if asks_for_states(params) else []
        files = working.files_of(flat, tuple(_movable(flat, objects)))
        if not objects:
            return Reading(Node(name, files=files), params=params)
        node, asks = _node(name, files, objects)
        return Reading(node, _Owners(params, asks), params)
    except PoolError as error:
        raise GraphRefused(f"test {name!r}: {error}") from error


def remappable(params: Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Return vm and image of the working images that a test can have in any place.

    They are those whose content the test always brings with it: it gets a state of them or of
    their vm, or makes them anew (``force_create_image``). Absolute names are left alone.
    """
    flat = working.quick(params)
    return list(_movable(flat, _objects(flat) if asks_for_states(params) else ()))


def place_in_slot(params: MutableMapping[str, str], directory: str) -> None:
    """
    Change a test's params so that its own working images, and no others, are below a directory.

    :param params: flat params of a test
    :param directory: absolute path; one for all tests that run one after the other
    :raises SettingRefused: virttest can't tell the params of one image from those of another
    """
    mine = remappable(params)
    for own in working.working_images(working.quick(params)):
        if working.tag(own) in mine:
            working.place_below(params, own, directory)


def _objects(flat: Any) -> Iterator[Any]:
    """Yield the narrowed params of each vm and image that may have states, images first."""
    for own in stateful_objects(flat, warn=False):
        if _kind(own) in ("vms", "images"):
            yield own


def _kind(own: Any) -> str:
    return last_type(own["object_type"])


def _node(
    name: str, files: frozenset[str], objects: Iterable[Any]
) -> tuple[Node, dict[State, tuple[str, str]]]:
    """Return the node, and of each of its states the object's name and what is done with it."""
    gets: dict[State, bool] = {}
    parents: dict[tuple[str, str | None], State] = {}
    done: dict[str, list[State]] = {"set": [], "unset": []}
    asks: dict[State, tuple[str, str]] = {}
    for own in objects:
        for ask, state in _asked("get", own):
            optional = _mode(own, ask) != _REQUIRED
            gets[state] = gets.get(state, True) and optional
            # a vm comes after its images, and what it gets replaces what they got
            parents[state.object_id, state.image] = state
            asks[state] = (own["object_name"], "get")
    for own in objects:
        for verb, states in done.items():
            for _, state in _asked(verb, own):
                states.append(state)
                asks.setdefault(state, (own["object_name"], verb))
    node = Node(
        name,
        gets=tuple(Want(state, optional) for state, optional in gets.items()),
        sets=tuple(
            Made(state, parents.get((state.object_id, state.image)))
            for state in dict.fromkeys(done["set"])
        ),
        unsets=tuple(dict.fromkeys(done["unset"])),
        files=files,
    )
    return node, asks


def _mode(own: Any, ask: str) -> str:
    return own.get(f"{ask}_mode") or _REQUIRED


def _asked(verb: str, own: Any) -> Iterator[tuple[str, State]]:
    """Yield each state of an object that a verb is about, roots aside, and what asks for it."""
    for ask in _ASKS[verb]:
        name = own.get(f"{ask}_state")
        if name and name not in ROOTS:
            yield from ((ask, state) for state in _states(own, name))


def _states(own: Any, name: str) -> Iterator[State]:
    """Yield the states that a state of an object is made of."""
    owner = object_id(own)
    if _kind(own) == "images":
        yield State(owner, own["images"], name)
        return
    yield State(owner, None, name)
    for image in saved_images(own):
        yield State(owner, image, name)


def saved_images(own: Any) -> list[str]:
    """Return the images of a vm that are part of its states: all that it can write to."""
    return [
        image
        for image in own.objects("images")
        if not flag(own.object_params(image).object_params("images"), "image_readonly")
    ]


def _movable(flat: Any, objects: Iterable[Any]) -> Iterator[tuple[str, str]]:
    brought = set(_brought(objects))
    for own in working.working_images(flat):
        own_content = working.tag(own) in brought or own.get("force_create_image") == "yes"
        if own_content and working.movable(own):
            yield working.tag(own)


def _brought(objects: Iterable[Any]) -> Iterator[tuple[str, str]]:
    """Yield vm and image of the images whose content a test certainly gets."""
    for own in objects:
        certain = any(_mode(own, ask) == _REQUIRED for ask, _ in _asked("get", own))
        if certain and "own" in scopes(own):
            names = [own["images"]] if _kind(own) == "images" else saved_images(own)
            yield from ((own["vms"], image) for image in names)
