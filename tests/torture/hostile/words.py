"""What people and programs write as text: locations, names, options and params."""

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

import hypothesis
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st

from avocado_pool_plugin import params as settings
from avocado_pool_plugin.core.errors import PoolError, SettingRefused
from avocado_pool_plugin.core.host import Host
from avocado_pool_plugin.core.location import Location, split_locations
from avocado_pool_plugin.core.names import State, check_name, state_name
from avocado_pool_plugin.params.options import OPTIONS, read_option
from tests.torture.hostile.cage import judge
from tests.torture.hostile.mutate import WORDS
from tests.torture.row import Row, Wish

T = TypeVar("T")
_SAMPLES = (
    ":/srv/pool", ":/srv/pool;", "lab:/srv/pool", ":/a;/b", "/srv/my pool", ":/a lab:/b", "500GiB",
    "1.5TiB", "300", "0.5", "own shared", "changed", "always", "yes", "vm1", "image1", "install",
)  # fmt: skip
_ANY = st.one_of(
    st.text(max_size=40),
    st.sampled_from((*WORDS, *_SAMPLES)),
    st.builds(str.__add__, st.sampled_from(_SAMPLES), st.sampled_from(WORDS)),
    st.text(st.sampled_from(":/;. ~-@%\n\0\t\\$`'\"ab0"), max_size=20),
    st.from_regex(r"[0-9]{1,400}(\.[0-9]{0,20})?(e-?[0-9]{1,4})? ?[kKMGTP]?i?B?"),
    st.characters().map(lambda char: f"vm{char}1"),
)
#: Waits that nobody lives to see the end of, in seconds.
_LIFE = 2e6


def rows(wish: Wish) -> Iterator[Row]:
    """Locations and names, then options."""
    work = "locations, and names of states, images and objects: any text"
    right = "refused, or what it says: read again it is the same, and a name stays in its directory"
    yield judge(Row(work, right), _location_or_name, _texts(wish, 3000, 250, 1))
    work = "options and test params: any text"
    right = "refused by a sentence that names the option, or a value that can be worked with"
    yield judge(Row(work, right), _option, _texts(wish, 1500, 150, 2))


def _texts(wish: Wish, full: int, some: int, number: int) -> list[tuple[str, str]]:
    """Return texts; the same seed gives the same."""
    found: list[str] = []

    @hypothesis.seed(wish.seed * 10 + number)
    @hypothesis.settings(
        max_examples=wish.few(full, some),
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(_ANY)
    def collect(text: str) -> None:
        found.append(text)

    collect()
    return [(f"the text {text[:200]!r}", text) for text in found]


def _location_or_name(text: str) -> str:
    taken = [_try(check, text) for check in (_location, _list, _name, _host)]
    return "taken" if any(taken) else "refused"


def _try(check: Callable[[T], object], given: T) -> bool:
    try:
        check(given)
    except PoolError as error:
        _sentence(str(error))
        return False
    return True


def _location(text: str) -> None:
    found = Location.from_setting(text)
    assert Location.parse(str(found)) == found
    assert found.path.startswith("/") and not set(found.path) & set("\n\0")


def _list(text: str) -> None:
    for part in split_locations(text):
        Location.from_setting(part)


def _name(text: str) -> None:
    assert state_name(f"{text}.qcow2") in (None, text)
    check_name("state", text)
    for state in (State(text, text, text), State(text, None, text)):
        path = os.path.normpath(os.path.join("/root/of/pool", state.path))
        assert path == f"/root/of/pool/{state.path}", path
        assert path.count("/") == 3 + (3 if state.image else 2), path
    assert not set(text) & set("/;:\n\0") and len(os.path.basename(state.path).encode()) < 256


def _host(text: str) -> None:
    found = Host("lab", text, user=text)
    assert not found.address.startswith("-") and not found.user.startswith("-")


def _option(text: str) -> str:
    taken = 0
    for option in OPTIONS:
        try:
            value = read_option(option, text, "file.conf")
        except SettingRefused as error:
            _sentence(str(error))
            assert option.name in str(error)
            continue
        taken += 1
        if isinstance(value, float):
            assert 0 <= value < _LIFE, f"{option.name}: nothing can wait for {value} seconds"
    for param in ("update_pool_timeout", "cache_limit", "pool_scope", "get_location"):
        _param({param: text})
    host = {"nets_shell_port": text, "ssh_timeout": text}
    _try(lambda given: settings.host("lab", given), host)
    return "taken" if taken > 1 else "refused"


def _param(given: dict[str, str]) -> None:
    for read in (settings.policy, settings.cache_limit, settings.scopes):
        _try(read, given)
    _try(lambda found: settings.mirrors("get", found), given)


def _sentence(text: str) -> None:
    """Make sure that an error is one that people can read."""
    assert text and "Traceback" not in text and "\0" not in text, text[:200]
