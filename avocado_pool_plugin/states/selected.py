"""The objects of several tests, each once, with params for what a person asks of them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from virttest.utils_params import Params

from avocado_pool_plugin.core.names import check_name
from avocado_pool_plugin.states.images import object_id

#: Starts of the params by which tests ask for something.
_ASKED = tuple(
    f"{verb}_{what}"
    for verb in ("get", "set", "unset", "push", "pop", "check")
    for what in ("state", "mode", "cascade")
)
#: Types of objects whose states only running vms have.
_RUNNING = ("nets", "vms")
#: What records name as the test that made a state.
_MAKER = "avocado pool run"


def objects_of(tests: Iterable[Mapping[str, str]], asked: Mapping[str, str]) -> list[Any]:
    """
    Return params of tests, without images that an earlier one of them has.

    What the tests themselves ask for is left out, and so are states of running vms, unless they
    are asked for by the name of their type: nothing runs here.

    :param tests: params of each test
    :param asked: params that a person gave; those of the tests have them already
    :raises NameRefused: an object could not be a file name
    """
    seen: set[tuple[str, str]] = set()
    found = []
    for test in tests:
        params = Params({key: test[key] for key in test if key in asked or not _is_asked(key)})
        for vm in params.objects("vms"):
            own = params.object_params(vm)
            own["vms"] = vm
            new = [name for name in own.objects("images") if (object_id(own), name) not in seen]
            seen.update((object_id(own), check_name("image", name)) for name in new)
            params[f"images_{vm}"] = " ".join(new)
        params["vms"] = " ".join(vm for vm in params.objects("vms") if params[f"images_{vm}"])
        if params["vms"]:
            params["id"] = _MAKER
            params["skip_types"] = " ".join((params.get("skip_types") or "", *_skipped(asked)))
            found.append(params)
    return found


def _is_asked(key: str) -> bool:
    return any(key == start or key.startswith(f"{start}_") for start in _ASKED)


def _skipped(asked: Mapping[str, str]) -> list[str]:
    """Return the types of objects that nobody asked for by name."""
    return [kind for kind in _RUNNING if not any(f"_state_{kind}" in key for key in asked)]


def single_images(params: Any) -> Iterator[Any]:
    """Yield the params of a test for each of its images alone."""
    for vm in params.objects("vms"):
        for image in params.object_params(vm).objects("images"):
            own = params.copy()
            own["vms"], own[f"images_{vm}"] = vm, image
            yield own


def title(params: Any) -> str:
    """Return the names of the images of a test's params: ``vm1/image1, vm1/image2``."""
    return ", ".join(f"{own['vms']}/{own['images_' + own['vms']]}" for own in single_images(params))
