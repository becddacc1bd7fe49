"""
The policies: which states of which objects are shown, checked, got, set and unset, and when.

The documented interface of avocado-i2n's ``states.setup``: objects come from ``states_chain``, the
backend of each from its ``states`` param, and a mode of two letters says what to do if the state
exists (first letter) and if it does not (second letter).
"""

import logging
from typing import Any

from avocado.core import exceptions

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.core.names import ROOTS, check_name
from avocado_pool_plugin.states import report, telling
from avocado_pool_plugin.states.backends import Backends, StateBackend, load_backends
from avocado_pool_plugin.states.objects import DEFAULT_BACKENDS, last_type, stateful_objects
from avocado_pool_plugin.states.policies import ABORT, SKIP, VERBS, letters

__all__ = [
    "BACKENDS",
    "DEFAULT_BACKENDS",
    "ROOTS",
    "StateBackend",
    "check_states",
    "get_states",
    "pop_states",
    "push_states",
    "set_states",
    "show_states",
    "stateful_objects",
    "unset_states",
]

LOG = logging.getLogger("avocado." + __name__)

#: State backends by the name that the ``states`` param gives; from installed packages.
BACKENDS = load_backends()


def _is_default(params: Any) -> bool:
    return bool(
        params.get("states", "") == DEFAULT_BACKENDS.get(last_type(params["object_type"]), "")
    )


def check_requests(run_params: Any, *verbs: str) -> None:
    """
    Make sure that all that is asked for makes sense, before any of it is done.

    :raises BackendUnknown: a backend is not installed
    :raises NameRefused: a state can't have its name
    :raises SettingRefused: another param makes no sense
    :raises LocationRefused: a location can't be used
    :raises TestError: a mode is none
    """
    for params in stateful_objects(run_params):
        for verb in verbs:
            if params.get(f"{verb}_state"):
                _check_request(verb, params)


def _check_request(verb: str, params: Any) -> None:
    own = params.copy()
    check_name("state", params[f"{verb}_state"])
    plain, mode = {"push": ("set", "af"), "pop": ("get", "ra")}.get(verb, (verb, ""))
    if plain != verb:
        own[f"{plain}_mode"] = params.get(f"{verb}_mode") or mode
    letters(plain, own)
    settings.policy(own, plain)
    settings.one_mirror_is_enough(own)
    backend = _backend(own)
    permitted = getattr(backend, "permitted", None)
    ops = getattr(getattr(backend, "transport", None), "ops", None)
    check = getattr(ops, "check_location", None)
    for location, _ in permitted(plain, own) if permitted else ():
        if check:
            check(location, params)


def _backend(params: Any) -> Any:
    if not params.get("states"):
        raise SettingRefused(
            f"no state backend is set for {params['object_name']} ({params['object_type']}); set "
            f"states_{last_type(params['object_type'])} to one of "
            f"{', '.join(sorted(BACKENDS))}"
        )
    # users of avocado-i2n put a plain dictionary into its place
    return Backends(BACKENDS)[params["states"]]


def _instance(params: Any, env: Any) -> Any:
    """Return the vm that an object is or is part of, the env for nets, None without env."""
    if env is None or params["object_type"] == "nets":
        return env
    return env.get_vm(params["vms"])


# -- show and check ------------------------------------------------------------------------------


def show_states(run_params: Any, env: Any = None) -> list[str]:
    """Return the names of the states of all objects, one after the other."""
    states: list[str] = []
    for params in stateful_objects(run_params):
        if params.get("states") not in BACKENDS and _is_default(params):
            continue  # nobody asked for states of this type, and none can be there
        found = list(_backend(params).show(params, _instance(params, env)))
        LOG.info("states of %s: %s", params["object_name"], ", ".join(found) or "none")
        states += found
    return states


@telling.one_operation()
def check_states(run_params: Any, env: Any = None) -> bool:
    """
    Tell whether all asked-for states (``check_state``) exist.

    The object's root is looked at first: ``check_mode`` says whether one that exists is reused or
    made anew, and whether one that does not is made or means that no state exists.
    """
    for params in stateful_objects(run_params):
        if params.get("check_state") and not _exists("check", params, env):
            LOG.info("state %r of %s does not exist", params["check_state"], params["object_name"])
            return False
    return True


def _exists(verb: str, params: Any, env: Any) -> bool:
    """Tell whether the state that a verb is about exists."""
    backend, instance = _backend(params), _instance(params, env)
    state = check_name("state", params[f"{verb}_state"])
    needs_root = getattr(backend, "needs_root", True) or bool(params.get("check_mode"))
    if needs_root or (state in ROOTS and verb == "check"):
        root = _provide_root(verb, params, backend, instance)
        if not root or state in ROOTS:
            return root
    elif state in ROOTS:
        return bool(backend.check_root(params, instance))
    asked = params.copy()
    if verb == "check":
        return state in backend.show(asked, instance)
    asked["show_location"] = " ".join(settings.mirrors(verb, asked))
    if isinstance(backend, type) and issubclass(backend, StateBackend):
        return backend.has(verb, asked, instance)
    return state in backend.show(asked, instance)


def _about(verb: str, params: Any, state: str = "") -> Any:
    """
    Return params that tell a backend what is going on, as those of avocado-i2n expect it.

    A test's own params name states for several verbs; these name the one in question. To sourced
    backends, a set and an unset of one state mean that the unset only makes way for the set.

    :param state: what the verb is about, if the params do not say
    """
    own = _without({"set": "unset_state", "unset": "set_state"}.get(verb, ""), params)
    own["check_state"] = own[f"{verb}_state"] = state or params[f"{verb}_state"]
    own["check_opts"] = f"soft_boot={'yes' if verb in ('set', 'check') else 'no'}"
    return own


def _without(key: str, params: Any) -> Any:
    own = params.copy()
    if key in own:
        del own[key]
    return own


def _provide_root(verb: str, params: Any, backend: Any, instance: Any) -> bool:
    """Bring an object's root into the condition that ``check_mode`` asks for."""
    own = _about(verb, params)
    own["soft_boot"] = params.get("soft_boot") or own["check_opts"].partition("=")[2]
    mode = params.get("check_mode") or VERBS["check"].mode
    letters("check", params)
    if not backend.check_root(own, instance):
        if mode[1] == "r":
            return False
        own["pool_scope"] = "own"
        backend.set_root(own, instance)
    elif mode[0] == "f":
        own["pool_scope"] = "own"
        _renew_root(own, backend, instance)
    else:
        backend.get_root(own, instance)
    return True


# -- get, set, unset, push, pop ------------------------------------------------------------------


def get_states(run_params: Any, env: Any = None) -> None:
    """
    Bring all objects into the states asked for (``get_state``, ``get_mode``).

    :raises TestAbortError: a state does not exist, or does, and the mode says abort
    :raises TestError: the mode is none
    """
    _each("get", run_params, env)


def set_states(run_params: Any, env: Any = None) -> None:
    """Save all objects as the states asked for (``set_state``, ``set_mode``); see get_states."""
    _each("set", run_params, env)


def unset_states(run_params: Any, env: Any = None) -> None:
    """Remove the states asked for (``unset_state``, ``unset_mode``); see get_states."""
    _each("unset", run_params, env)


@telling.one_operation()
def push_states(run_params: Any, env: Any = None) -> None:
    """Save states (``push_state``) that are not there yet by default (``push_mode = af``)."""
    for params in _asked("push", run_params):
        _apply("set", params, env, state=params["push_state"], mode=params.get("push_mode") or "af")


@telling.one_operation()
def pop_states(run_params: Any, env: Any = None) -> None:
    """Get states (``pop_state``, ``pop_mode``, else ``ra``) and remove what was got (``fa``)."""
    for params in _asked("pop", run_params):
        state, mode = params["pop_state"], params.get("pop_mode") or "ra"
        if _apply("get", params, env, state=state, mode=mode):
            _apply("unset", params, env, state=state, mode="fa")


def _asked(verb: str, run_params: Any) -> list[Any]:
    """
    Return the params of each object for which a verb is to be done, and tell those who listen.

    Roots are not pushed or popped.
    """
    rootless = verb in ("push", "pop")
    found = [
        params
        for params in stateful_objects(run_params)
        if params.get(f"{verb}_state") and not (rootless and params[f"{verb}_state"] in ROOTS)
    ]
    done = report.begins(verb, [params["object_name"] for params in found])
    for name in sorted(done):
        LOG.info("%s of a state of %s is left out, it was done in this test", verb, name)
    return [params for params in found if params["object_name"] not in done]


@telling.one_operation()
def _each(verb: str, run_params: Any, env: Any) -> None:
    asked = _asked(verb, run_params)
    # what is missing for one object is known before another one is touched
    decided = [_decide(verb, p, env) if _harmless(verb, p) else None for p in asked]
    for params, decision in zip(asked, decided, strict=True):
        _do(verb, params, env, decision)


def _harmless(verb: str, params: Any) -> bool:
    """Tell whether looking for a state to get changes nothing, not even the object's root."""
    rootless = not getattr(_backend(params), "needs_root", True)
    return verb == "get" and rootless and not params.get("check_mode")


def _apply(verb: str, params: Any, env: Any, *, state: str, mode: str) -> bool:
    own = params.copy()
    own[f"{verb}_state"], own[f"{verb}_mode"] = state, mode
    return _do(verb, own, env)


def _do(verb: str, params: Any, env: Any, decision: tuple[str, bool] | None = None) -> bool:
    """Do a verb for one object, as its mode says; return whether it was done."""
    action, exists = decision or _decide(verb, params, env)
    state, name = params[f"{verb}_state"], params["object_name"]
    backend, instance = _backend(params), _instance(params, env)
    if action == SKIP:
        LOG.info(
            "%s of state %r of %s is left out, it %s and the policy is %s",
            *(verb, state, name, "exists" if exists else "does not exist"),
            params.get(f"{verb}_mode") or VERBS[verb].mode,
        )
        return False
    LOG.debug("%s: %s of state %r begins", name, verb, state)
    params = _about(verb, params)
    if state in ROOTS:
        _do_root(verb, params, exists, backend, instance)
    else:
        _do_state(verb, params, exists, backend, instance)
    return True


def _decide(verb: str, params: Any, env: Any) -> tuple[str, bool]:
    """
    Return what the mode of a verb says to do, and whether the state exists.

    :raises TestAbortError: it says to abort
    """
    if_exists, if_missing = letters(verb, params)
    backend = _backend(params)
    if if_exists == if_missing and _overwrites(verb, params, backend):
        exists = False  # it does not matter, and no mirror has to be asked
    else:
        exists = _exists(verb, params, env)
    action = if_exists if exists else if_missing
    if action == ABORT:
        raise exceptions.TestAbortError(_reason(verb, params, exists, backend))
    return action, exists


def _overwrites(verb: str, params: Any, backend: Any) -> bool:
    """Tell whether a verb does the same with a state that is there as with one that is not."""
    needs_root = getattr(backend, "needs_root", True) or params.get("check_mode")
    rooted = needs_root or params[f"{verb}_state"] in ROOTS
    return verb == "set" and not rooted and bool(getattr(backend, "replaces", False))


def _reason(verb: str, params: Any, exists: bool, backend: Any) -> str:
    state, name = params[f"{verb}_state"], params["object_name"]
    if exists:
        return (
            f"State {state!r} of {name} exists already and {verb}_mode = "
            f"{params.get(f'{verb}_mode')} says to abort then"
        )
    try:
        looked = backend.root_places(params) if state in ROOTS else backend.places(verb, params)
        places = ", ".join(looked)
    except AttributeError:
        places = params["states"]
    return (
        f"State {state!r} of {name} does not exist, looked at: {places}; run a test that sets it "
        f"({verb}_mode = {params.get(f'{verb}_mode') or VERBS[verb].mode})"
    )


def _do_root(verb: str, params: Any, exists: bool, backend: Any, instance: Any) -> None:
    if verb == "set" and exists and set(settings.scopes(params)) == {"own"}:
        _renew_root(params, backend, instance)
    else:
        getattr(backend, f"{verb}_root")(params, instance)


def _renew_root(params: Any, backend: Any, instance: Any) -> None:
    """Make an object anew; what can replace it keeps the old one if that fails."""
    own = _without("unset_state", params)
    if getattr(backend, "replaces", False):
        own["replace_root"] = "yes"
    else:
        backend.unset_root(_without("set_state", params), instance)
    backend.set_root(own, instance)


def _do_state(verb: str, params: Any, exists: bool, backend: Any, instance: Any) -> None:
    if verb == "set" and exists and not getattr(backend, "replaces", False):
        backend.unset(_about("unset", params, params["set_state"]), instance)
    getattr(backend, verb)(params, instance)
