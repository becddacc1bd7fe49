"""The verbs of ``TransferOps`` on files of other hosts, and the logins behind them."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avocado_pool_plugin.core.errors import (
    FileCorrupt,
    HostUnreachable,
    LoginRefused,
    PoolError,
    SettingRefused,
    StateMissing,
    StateNeeded,
)
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.states.pool import TransferOps
from tests.support.images import MIB, chain, edit
from tests.support.processes import environment
from tests.support.remote import KINDS, server
from tests.support.remote_labs import Logins, RemoteLab
from tests.support.sshd import ADDRESS, PasswordUser, Sshd, free_port
from tests.support.states import stamp

CONTENT = b"x" * (3 * MIB) + b"end"


@pytest.fixture
def lab(tmp_path: Path) -> RemoteLab:
    return RemoteLab(tmp_path, server())


def there(path: Path) -> str:
    return f"lab:{path}"


def gone(host: Sshd, within: float = 10) -> bool:
    """Tell whether a server has no connection any more, in the end."""
    deadline = time.monotonic() + within
    while host.connections() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not host.connections()


# verbs


@pytest.mark.parametrize("kind", KINDS)
def test_verbs_on_single_files(tmp_path, kind):
    lab = RemoteLab(tmp_path, server(kind))
    params = lab.params()
    cache, shared = tmp_path / "c" / "x.state", tmp_path / "p" / "deep er" / "x.state"
    location = there(shared)
    assert TransferOps.list_paths(there(shared.parent), params) == []
    assert TransferOps.compare(str(cache), location, params) is False, "absent is not equal"
    with pytest.raises(StateMissing):
        TransferOps.download(str(cache), location, params)
    with pytest.raises(StateMissing):
        TransferOps.upload(str(cache), location, params)
    assert not shared.parent.exists() and not cache.exists()
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(CONTENT)
    assert TransferOps.compare(str(cache), location, params) is False, "absent over there"
    moved = TransferOps.upload(str(cache), location, params)
    assert (moved.action, moved.size) == ("copied", len(CONTENT)) and moved.seconds > 0
    before = stamp(shared)
    assert TransferOps.upload(str(cache), location, params).action == "kept"
    assert stamp(shared) == before, "equal is skipped"
    assert TransferOps.compare(str(cache), location, params) is True
    assert TransferOps.list_paths(there(shared.parent), params) == ["x.state"]
    cache.unlink()
    assert TransferOps.compare(str(cache), location, params) is False, "absent here"
    cache.write_bytes(CONTENT[:-1] + b"!")
    shutil.rmtree(cache.parent / ".pool")  # no record of ours says what it should be
    assert TransferOps.compare(str(cache), location, params) is False
    assert TransferOps.download(str(cache), location, params).action == "copied"
    assert cache.read_bytes() == CONTENT
    assert TransferOps.download(str(cache), location, params).action == "kept"
    TransferOps.delete(location, params)
    TransferOps.delete(location, params)
    assert TransferOps.list_paths(there(shared.parent), params) == []
    assert cache.read_bytes() == CONTENT


def test_chains_and_what_stands_on_states(lab, tmp_path):
    params, home = lab.params(), tmp_path / "far" / "vm1" / "image1"
    chain(home, "base", "top")
    assert TransferOps.get_parent(there(home / "top.qcow2"), params) == "base"
    assert TransferOps.get_parent(there(home / "base.qcow2"), params) == ""
    with pytest.raises(StateMissing, match=r"lab:.*absent\.qcow2"):
        TransferOps.get_parent(there(home / "absent.qcow2"), params)
    with pytest.raises(StateNeeded, match=rf"^lab:{home}/base\.qcow2 is needed by top\.qcow2"):
        TransferOps.delete(there(home / "base.qcow2"), params)
    assert (home / "base.qcow2").exists()
    cascading = lab.params(unset_cascade="yes")
    TransferOps.delete(there(home / "base.qcow2"), cascading)
    assert TransferOps.list_paths(there(home), params) == []


def test_a_corrupt_file_compares_false_and_is_not_delivered(lab, tmp_path, caplog):
    params, shared = lab.params(), tmp_path / "far" / "x.state"
    cache = tmp_path / "c" / "x.state"
    cache.parent.mkdir()
    cache.write_bytes(CONTENT)
    TransferOps.upload(str(cache), there(shared), params)
    edit(shared, 2 * MIB, b"damaged")
    assert TransferOps.compare(str(cache), there(shared), params) is False
    assert f"lab:{shared} is corrupt" in caplog.text
    other = tmp_path / "d" / "x.state"
    with pytest.raises(FileCorrupt, match=rf"lab:{shared}"):
        TransferOps.download(str(other), there(shared), params)
    assert not other.exists()
    assert TransferOps.upload(str(cache), there(shared), params).action == "copied", "repaired"
    assert shared.read_bytes() == CONTENT


def test_odd_paths_are_only_paths(lab, tmp_path):
    odd = tmp_path / '$(touch spoiled) it\'s; `id` "&" *' / "ümlaut"
    cache = tmp_path / "c" / "two words.state"
    cache.parent.mkdir()
    cache.write_bytes(b"content")
    location = there(odd / cache.name)
    TransferOps.upload(str(cache), location, lab.params())
    assert TransferOps.list_paths(there(odd), lab.params()) == [cache.name]
    assert TransferOps.compare(str(cache), location, lab.params()) is True
    assert not list(lab.host.home.iterdir()) and not Path("spoiled").exists()


def test_dispatch_is_by_the_class_and_positional(tmp_path):
    """What users of avocado-i2n override, as they wrote it: the whole location."""
    told: list[tuple[Any, ...]] = []

    def note(name):
        return classmethod(lambda cls, *args: told.append((name, *args)))

    verbs = ("list", "compare", "download", "upload", "delete", "parent")
    Own = type("Own", (TransferOps,), {f"{verb}_remote": note(verb) for verb in verbs})  # noqa: N806
    params, place = object(), "far:/x;y"
    Own.list_paths(place, params)
    Own.compare("/c", place, params)
    Own.download("/c", place, params)
    Own.upload("/c", place, params)
    Own.delete(place, params)
    Own.get_parent(place, params)
    assert told == [
        ("list", place, params),
        *((verb, "/c", place, params) for verb in verbs[1:4]),
        ("delete", place, params),
        ("parent", place, params),
    ]
    assert Own.plan([("/c", place)], params, True) is None, "what others move they plan"


# logins


def test_one_login_serves_all_that_is_done(lab, tmp_path):
    logins, params = Logins(lab.host), lab.params()
    for number in range(3):
        cache = tmp_path / "c" / f"{number}.state"
        cache.parent.mkdir(exist_ok=True)
        cache.write_bytes(CONTENT)
        location = there(tmp_path / "far" / str(number) / cache.name)
        TransferOps.upload(str(cache), location, params)
        TransferOps.list_paths(location, params)
        TransferOps.download(f"{cache}.copy", location, params)
        TransferOps.delete(location, params)
    assert logins() == 1


def test_sessions_are_told_apart_by_where_they_go_and_as_whom(lab):
    with PasswordUser() as user, Sshd(lab.root / "second") as second:
        logins, more = Logins(lab.host), Logins(second)
        first = TransferOps.get_session("lab", lab.params().object_params("lab"))
        assert TransferOps._session_cache[first.host.key] is first
        assert not first.alive, "nothing is connected before it is used"
        others = [
            lab.params(**second.params()),
            lab.params(nets_username_lab=user.name, nets_password_lab=user.password),
        ]
        for params in (lab.params(), *others, lab.params(), *others):
            assert TransferOps.list_paths(there(user.home / "none"), params) == []
        assert (logins(), more()) == (2, 1)
        assert f"Accepted password for {user.name}" in lab.host.log()
        assert first.alive
        # what a host is called makes no difference
        named = lab.params(**lab.host.params("alias"))
        assert TransferOps.get_session("alias", named.object_params("alias")) is first
        session.close_all()


def test_a_dead_login_is_replaced(lab, tmp_path):
    logins, params = Logins(lab.host), lab.params()
    cache = tmp_path / "c.state"
    cache.write_bytes(CONTENT)
    location = there(tmp_path / "far" / "c.state")
    TransferOps.upload(str(cache), location, params)
    for number in (2, 3):
        assert lab.host.kill_connections()
        assert TransferOps.list_paths(there(tmp_path / "far"), params) == ["c.state"]
        assert TransferOps.download(f"{cache}.{number}", location, params).changed
        assert logins() == number


def test_closed_sessions_can_be_used_again(lab):
    """A suite's hooks close all sessions after each test, as those of avocado-i2n do."""
    logins, params = Logins(lab.host), lab.params()
    for number in (1, 2):
        assert TransferOps.list_paths(there(lab.root / "none"), params) == []
        for found in TransferOps._session_cache.values():
            found.close()
        assert logins() == number and gone(lab.host)


_LISTS = """
import sys
from virttest.utils_params import Params
from avocado_pool_plugin.states.pool import TransferOps
params = Params(dict(part.split("=", 1) for part in sys.argv[2:]))
print(TransferOps.list_paths(sys.argv[1], params))
"""


def test_logins_end_with_their_process(lab):
    logins = Logins(lab.host)
    (lab.root / "far").mkdir()
    (lab.root / "far" / "s.state").touch()
    words = [f"{key}={value}" for key, value in lab.params().items()]
    command = [sys.executable, "-c", _LISTS, there(lab.root / "far"), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=60, check=False
    )
    assert done.stdout == "['s.state']\n", done.stderr
    assert logins() == 1 and gone(lab.host)


def test_no_login_for_what_is_here(lab, tmp_path):
    logins, params = Logins(lab.host), lab.params()
    cache = tmp_path / "c.state"
    cache.write_bytes(CONTENT)
    for marker in ("", ";"):
        location = f":{tmp_path}/here/{marker and 'l'}c.state{marker}"
        TransferOps.upload(str(cache), location, params)
        TransferOps.compare(str(cache), location, params)
        TransferOps.list_paths(f":{tmp_path}/here{marker}", params)
        TransferOps.download(str(cache), location, params)
        TransferOps.delete(location, params)
    TransferOps.check_location(f"lab:{tmp_path}", params)
    TransferOps.get_session("lab", params.object_params("lab"))
    assert logins() == 0


# what can't be


WRONG = {
    "port": ({"nets_shell_port": "many"}, "nets_shell_port"),
    "far port": ({"nets_shell_port": "70000"}, "nets_shell_port"),
    "client": ({"nets_shell_client": "telnet"}, "nets_shell_client"),
    "transfer": ({"nets_file_transfer_client": "nc"}, "nets_file_transfer_client"),
    "address": ({"nets_shell_host": "-oProxyCommand=touch x"}, "nets_shell_host"),
    "user": ({"nets_username": "-l root"}, "nets_username"),
    "password": ({"nets_password": "a\nb"}, "nets_password"),
    "timeout": ({"ssh_timeout": "soon"}, "ssh_timeout"),
    "host keys": ({"ssh_host_keys": "any"}, "ssh_host_keys"),
    "config": ({"ssh_config": "/nowhere/config"}, "ssh_config"),
}


@pytest.mark.parametrize("name", WRONG)
def test_params_that_make_no_sense(lab, name):
    wrong, told = WRONG[name]
    params = lab.params(**{f"{key}_lab": value for key, value in wrong.items()})
    for ask in (
        lambda: TransferOps.check_location(f"lab:{lab.pool}", params),
        lambda: TransferOps.get_session("lab", params.object_params("lab")),
        lambda: TransferOps.list_paths(f"lab:{lab.pool}", params),
    ):
        with pytest.raises(SettingRefused, match=told):
            ask()
    # those of another host are no concern of this one
    others = lab.params(**{f"{key}_other": value for key, value in wrong.items()})
    TransferOps.check_location(f"lab:{lab.pool}", others)
    TransferOps.check_location(f":{lab.pool}", others)


def test_hosts_that_do_not_let_us_in(lab, tmp_path):
    cache, place = tmp_path / "c.state", there(tmp_path / "s.state")
    cache.write_bytes(b"c")
    deaf = lab.params(nets_shell_port_lab=str(free_port()))
    stranger = lab.host.client_config("stranger", IdentityFile="/dev/null")
    wrong = lab.params(ssh_config_lab=str(stranger))
    asks: list[Callable[[Any], Any]] = [
        lambda params: TransferOps.list_paths(there(tmp_path), params),
        lambda params: TransferOps.compare(str(cache), place, params),
        lambda params: TransferOps.upload(str(cache), place, params),
        lambda params: TransferOps.download(str(cache), place, params),
        lambda params: TransferOps.delete(place, params),
        lambda params: TransferOps.get_parent(there(tmp_path / "s.qcow2"), params),
    ]
    for params, error in ((deaf, HostUnreachable), (wrong, LoginRefused)):
        for ask in asks:
            with pytest.raises(error, match=rf"host lab \(.*{ADDRESS} port \d+\)") as caught:
                ask(params)
            assert isinstance(caught.value, PoolError) and "; " in str(caught.value)
    assert not (tmp_path / "s.state").exists() and cache.read_bytes() == b"c"
