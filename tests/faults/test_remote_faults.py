"""Remote pools that are full, read-only, oddly named, filled by others, or that let nobody in."""

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core import copy, layout
from avocado_pool_plugin.core.errors import (
    ChainBroken,
    HostUnreachable,
    ImageRefused,
    LoginRefused,
    NameRefused,
    PoolError,
    PoolSilent,
    PoolUnreachable,
    SpaceMissing,
    StateMissing,
)
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.names import state_name
from avocado_pool_plugin.ssh import session
from avocado_pool_plugin.ssh.bulk import Agent
from avocado_pool_plugin.states import telling
from avocado_pool_plugin.states.pool import TransferOps
from tests.functional.states.test_i2n_pool import NAMES as I2N_NAMES
from tests.functional.states.test_i2n_pool import content, filled  # noqa: F401
from tests.support.agents import noise
from tests.support.images import MIB, chain, edit, guest_bytes
from tests.support.mounts import fill, mounted, read_only
from tests.support.places import Dir, digest_of, local_store, put
from tests.support.proxy import Proxy
from tests.support.remote import server
from tests.support.remote_faults import POLICY, STRICT, Line, left
from tests.support.remote_labs import RemoteLab
from tests.support.sshd import PasswordUser, free_port, make_key
from tests.support.states import get, made, show, stamp, unset
from tests.support.states import put as set_state
from tests.support.vms import backing, holds, write


@pytest.fixture
def lab(tmp_path: Path) -> RemoteLab:
    return RemoteLab(tmp_path, server())


@pytest.fixture
def line() -> Iterator[Line]:
    with Line(server()) as found:
        yield found


def true(path: Path) -> bool:
    """Tell whether a file is what its record says, found out by reading it."""
    info = local_store(STRICT).info(str(path))
    return info is not None and info.digest == digest_of(path)


# -- full disks ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Iterator[Path]:
    """A file system of 16 MiB."""
    with mounted("tmpfs", tmp_path_factory.mktemp("small"), 16) as point:
        yield point


@pytest.fixture
def disk(small, tmp_path) -> Iterator[Dir]:
    directory = Dir(small / tmp_path.name)
    directory.root.mkdir()
    yield directory
    shutil.rmtree(directory.root)


@pytest.mark.parametrize("verb", ["publish", "fetch"])
@pytest.mark.parametrize("kind", ["python", "plain"])
def test_too_little_room_is_known_before_the_first_byte(disk, pool, verb, kind):
    put(pool.ram("s"), noise(17 * MIB))
    put(disk.ram("s"), b"old")
    with Line(server(kind)) as line:
        store = line.store()
        assert store.session.abilities
        before = line.proxy.moved()
        with pytest.raises(SpaceMissing, match=r"17\.0 MiB.*nothing changed"):
            getattr(store, verb)(str(pool.ram("s")), str(disk.ram("s")))
        assert sum(line.proxy.moved()) - sum(before) < MIB
    assert disk.ram("s").read_bytes() == b"old" and true(disk.ram("s"))
    assert left(disk.root) == []


@pytest.mark.parametrize("verb", ["publish", "fetch"])
@pytest.mark.parametrize("kind", ["python", "rsync", "plain"])
@pytest.mark.parametrize("old", [0, 4 * MIB])
def test_the_disk_gets_full_meanwhile(disk, pool, verb, kind, old, monkeypatch):  # noqa: PLR0917
    small, new = disk.root.parent, noise(9 * MIB)
    put(pool.ram("s"), new)
    if old:
        put(disk.ram("s"), new[:old] + b"old")
    hogs: list[Path] = []

    real = copy.require_room

    def require_room(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        hogs.append(fill(small, leave=MIB))

    with Line(server(kind)) as line:
        store = line.store()
        move = getattr(store, verb)
        try:
            with (
                monkeypatch.context() as patch,
                pytest.raises(SpaceMissing, match="no room left for ") as caught,
            ):
                patch.setattr(copy, "require_room", require_room)
                move(str(pool.ram("s")), str(disk.ram("s")))
            assert str(disk.ram("s").parent) in str(caught.value)
            if verb == "publish":
                assert "host lab" in str(caught.value)
        finally:
            for hog in hogs:
                hog.unlink()
        found = disk.ram("s").read_bytes() if disk.ram("s").exists() else None
        assert found == (new[:old] + b"old" if old else None)
        assert left(disk.root) == [] and (not old or true(disk.ram("s")))
        move(str(pool.ram("s")), str(disk.ram("s")))
    assert disk.ram("s").read_bytes() == new and true(disk.ram("s"))


def test_no_byte_is_free_over_there(disk, pool, small, line):
    """Whatever fails there is no wrong state; with room the next try works."""
    put(pool.ram("s"), b"")
    put(disk.ram("s"), b"old")
    put(disk.ram("made"), b"made" * 1000, hashed=False)
    disk.ram("foreign").write_bytes(b"foreign" * 1000)
    store = line.store()
    hog = fill(small, leave=0)
    try:
        with pytest.raises(SpaceMissing, match="host lab"):
            store.publish(str(pool.ram("s")), str(disk.ram("s")))
        assert disk.ram("s").read_bytes() in (b"old", b"")
        assert store.info(str(disk.ram("s"))) is not None
        for name in ("made", "foreign"):
            cached = pool.root / f"{name}.state"
            assert store.fetch(str(disk.ram(name)), str(cached)).changed, "reading needs no room"
            assert cached.read_bytes() == name.encode() * 1000
            assert store.info(str(disk.ram(name))) is not None
    finally:
        hog.unlink()
    store.publish(str(pool.ram("s")), str(disk.ram("s")))
    assert disk.ram("s").read_bytes() == b"" and true(disk.ram("s"))
    assert left(disk.root, layout.PART) == []


# -- read-only pools -----------------------------------------------------------------------------


@pytest.fixture(params=["mount", "user"])
def forbidden(request, tmp_path) -> Iterator[tuple[Path, dict[str, object]]]:
    """A directory that can be read and not written over there, and who logs in."""
    with contextlib.ExitStack() as stack:
        if request.param == "user":
            user = stack.enter_context(PasswordUser())
            found = user.home / "pool"
            found.mkdir(mode=0o755)
            user.home.chmod(0o755)
            stack.callback(session.close_all)
            yield found, {"user": user.name, "password": user.password}
        else:
            found = tmp_path / "pool"
            found.mkdir()
            with contextlib.ExitStack() as later:
                stack.callback(later.close)
                yield found, {"later": later}


def test_a_pool_that_can_only_be_read(forbidden, tmp_path, line, monkeypatch):
    """What is found out about its files is kept here."""
    root, who = forbidden
    pool, cache, seen = Dir(root), Dir(tmp_path / "cache"), tmp_path / "seen"
    put(pool.ram("known"), b"known" * 1000)
    put(pool.ram("made"), b"made" * 1000, hashed=False)
    pool.ram("foreign").write_bytes(b"foreign" * 1000)
    later = who.pop("later", None)
    if later:
        later.enter_context(read_only(root))
    before = {path: stamp(path) for path in root.rglob("*") if path.is_file()}
    store = line.store(**who)
    store.view.seen_dir = store.here.seen_dir = str(seen)
    names = ("known", "made", "foreign")
    time.sleep(2.1)  # a change this soon after the last would not show in such a file system
    for name in names:
        assert store.fetch(str(pool.ram(name)), str(cache.ram(name))).changed
        assert cache.ram(name).read_bytes() == name.encode() * 1000
    assert len(list(seen.iterdir())) == 2
    for name in names:
        assert store.info(str(pool.ram(name))).digest == digest_of(pool.ram(name))
    with monkeypatch.context() as patch:
        for method in ("digest", "download"):
            patch.setattr(Agent, method, None)
        for name in names:
            assert store.fetch(str(pool.ram(name)), str(cache.ram(name))).action == "kept"
    put(cache.ram("known"), b"another")
    for name in ("known", "new"):
        put(cache.ram(name), b"another")
        with pytest.raises(PoolUnreachable, match=r"host lab.*(Read-only|denied)"):
            store.publish(str(cache.ram(name)), str(pool.ram(name)))
    with pytest.raises(PoolUnreachable, match=r"host lab.*(Read-only|denied)"):
        store.remove(str(pool.ram("known")))
    after = {path: stamp(path) for path in root.rglob("*") if path.is_file()}
    assert after == before


def test_a_pool_that_does_not_exist(lab):
    lab.make_image()
    nowhere = {"shared_pool": f"lab:{lab.root}/no/where", "pool_scope": "shared"}
    assert show(lab, **nowhere) == []
    with pytest.raises(StateMissing, match="no/where"):
        TransferOps.download(
            str(lab.state("a")), f"lab:{lab.root}/no/where/vm1/image1/a.qcow2", lab.params()
        )
    with pytest.raises(Exception, match=r"does not exist|not found|no mirror|missing") as caught:
        get(lab, "a", get_mode="ra", **nowhere)
    assert isinstance(caught.value, PoolError) or type(caught.value).__name__.startswith("Test")
    assert not (lab.root / "no").exists()


# -- names ---------------------------------------------------------------------------------------

#: All that means something to a shell, to rsync, to ssh or to a format string.
SPELLS = [
    "$(touch ran)", "`touch ran`", "a;touch ran", "a&touch ran", "a|touch ran", "a>ran",
    "-e touch ran", "--rsync-path=touch ran", "'; touch ran; '", '"; touch ran; "',
    "\\'; touch ran", "*", "[a-z]?", "{a,b}", "~root", "$HOME", "%s%n", "#x", "!!", "host:x",
    "::x", " lead", "trail ", "ü 日本", "-", "\\", "a\\nb", "(x)", "x y  z", "@x", "=", "^x^y",
]  # fmt: skip


def test_names_are_only_names(lab, tmp_path, monkeypatch):
    """Nothing runs, and nothing leaves its directory."""
    monkeypatch.chdir(tmp_path)
    everything = tmp_path / "pool"
    for kind, spells in (("rsync", SPELLS), ("python", SPELLS[::3]), ("plain", SPELLS[1::6])):
        lab.host = server(kind)
        params = lab.params(pool_fsync="no")
        old, new = noise(50_000), noise(50_000, seed=1)
        for spell in spells:
            directory = everything / kind / spell / f"{spell}/{spell}."
            local = tmp_path / "cache" / kind / spell / f"{spell}.state"
            there = f"lab:{directory}/{spell}.state"
            with telling.one_operation():
                for version in (old, new):  # the second one with the first for a basis
                    put(local, version, store=POLICY)
                    assert TransferOps.upload(str(local), there, params).changed, spell
                assert TransferOps.list_paths(f"lab:{directory}", params) == [f"{spell}.state"]
                assert TransferOps.compare(str(local), there, params), spell
                put(local, old, store=POLICY)
                assert TransferOps.download(str(local), there, params).changed, spell
                assert local.read_bytes() == new
                TransferOps.delete(there, params)
            assert TransferOps.list_paths(f"lab:{directory}", params) == []
        found = sorted(path.name for path in (everything / kind).iterdir())
        assert found == sorted(spells)
        assert list(lab.host.home.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "images", "pool"]


def test_parents_of_oddly_named_images(lab, tmp_path):
    params = lab.params()
    for number, spell in enumerate(SPELLS):
        home = tmp_path / "pool" / f"{number}" / spell
        home.mkdir(parents=True)
        # qemu-img would take some of these for protocols
        base, top = chain(home, "b", "t")
        base.rename(home / f"{spell}.qcow2")
        name = f"{spell}.qcow2".encode()
        edit(top, int.from_bytes(top.read_bytes()[8:16], "big"), name)
        edit(top, 16, len(name).to_bytes(4, "big"))
        # QEMU would take what is before a colon for a protocol
        if state_name(f"{spell}.qcow2") and ":" not in spell:
            assert TransferOps.get_parent(f"lab:{top}", params) == spell
        else:
            with pytest.raises((ChainBroken, ImageRefused)):
                TransferOps.get_parent(f"lab:{top}", params)


def test_oddly_named_states_through_a_backend(lab, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for spell in ("$(touch ran)", "it's; `touch ran`", "a&b|c>ran", "%s {a,b} ~", "ü 日本"):
        own = RemoteLab(tmp_path / spell, lab.host)
        own.make_image()
        asked = {"object_id_vm1": spell, "pool_scope": "shared own"}
        try:
            write(own.image(), 3)
            set_state(own, spell, **asked)
        except NameRefused:
            assert not own.pool.exists()
            continue
        assert {path.name for path in own.pool.iterdir()} - {".pool"} == {spell}
        shutil.rmtree(own.cache)
        own.image().unlink()
        get(own, spell, **asked)
        assert holds(own.image(), 3)
        assert show(own, **asked) == [spell]
        unset(own, spell, **asked)
        assert show(own, **asked) == []
    assert not list(tmp_path.rglob("ran")) and not list(lab.host.home.iterdir())


@pytest.mark.parametrize("bad", ["a\nb", "a\tb", "\x1b[2J"])
def test_names_that_can_not_be_told_are_refused(lab, tmp_path, bad):
    local = tmp_path / "x.state"
    put(local, b"x")
    for ask in (
        lambda: TransferOps.upload(str(local), f"lab:{tmp_path}/pool/{bad}.state", lab.params()),
        lambda: TransferOps.delete(f"lab:{tmp_path}/pool/{bad}.state", lab.params()),
        lambda: TransferOps.list_paths(f"lab:{tmp_path}/pool/{bad}", lab.params()),
    ):
        with pytest.raises((NameRefused, ValueError)):
            ask()
    assert not (tmp_path / "pool").exists()


# -- a pool that avocado-i2n filled --------------------------------------------------------------


def test_a_pool_that_others_filled(filled, lab, monkeypatch):  # noqa: F811
    """No records, absolute names of a cache that is gone: adopted there, and fit for any cache."""
    before = [stamp(lab.shared(name)) for name in I2N_NAMES]
    assert show(lab) == list(I2N_NAMES)
    get(lab, "c")
    assert content(lab)
    assert [backing(lab.state(name)) for name in I2N_NAMES] == ["", "a.qcow2", "b.qcow2"]
    assert [stamp(lab.shared(name)) for name in I2N_NAMES] == before, "the files are left alone"
    for name in I2N_NAMES:
        assert (lab.shared(name).parent / META / f"{name}.qcow2.json").exists(), "adopted"
        assert true(lab.state(name)) and true(lab.shared(name))
    with monkeypatch.context() as patch:
        for method in ("digest", "download"):
            patch.setattr(Agent, method, None)
        get(lab, "c")
    another = lab.elsewhere()
    get(another, "c")
    assert content(another)
    moved = lab.root / "moved"
    lab.cache.rename(moved)
    assert guest_bytes(moved / "vm1" / "image1" / "c.qcow2", 3) == [1, 2, 3]


# -- hosts that can't be used --------------------------------------------------------------------


def refusals(lab: RemoteLab, tmp_path: Path, stack: contextlib.ExitStack) -> dict[str, tuple]:
    """Return params of a host by what is wrong with it, with the error and a part of its text."""
    host = lab.host
    user = stack.enter_context(PasswordUser())
    dead = stack.enter_context(Proxy(host.port))
    dead.freeze()
    other = make_key(tmp_path / "other_key")
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{host.port} " + " ".join(
        other.with_suffix(".pub").read_text().split()[:2]) + "\n")  # fmt: skip
    strict = host.client_config(
        f"strict-{tmp_path.name}", UserKnownHostsFile=str(tmp_path / "none")
    )
    changed = host.client_config(f"changed-{tmp_path.name}", UserKnownHostsFile=str(known))
    return {
        "password": (
            {"nets_username_lab": user.name, "nets_password_lab": "wrong"}, LoginRefused,
            "expected the right nets_username and nets_password",
        ),
        "unknown key": (
            {"ssh_config_lab": str(strict), "ssh_host_keys_lab": "strict"}, LoginRefused,
            "ssh_host_keys = accept-new",
        ),
        "changed key": ({"ssh_config_lab": str(changed)}, LoginRefused, "host key differs"),
        "nobody listens": (
            {"nets_shell_port_lab": str(free_port())}, HostUnreachable, "refused",
        ),
        "hangs": (
            {"nets_shell_port_lab": str(dead.port), "ssh_timeout_lab": "1"}, PoolSilent,
            "ssh_timeout",
        ),
    }  # fmt: skip


def test_hosts_that_let_nobody_in(lab, tmp_path, monkeypatch, caplog):
    """Each is a mirror that fails: another one serves; without one the error names all."""
    made(lab, "a", "b")
    spare = tmp_path / "spare"
    shutil.copytree(lab.pool, spare)
    with contextlib.ExitStack() as stack:
        cases = refusals(lab, tmp_path, stack)
        stack.callback(session.close_all)
        for number, (what, (wrong, error, text)) in enumerate(cases.items()):
            session.close_all()
            own = lab.elsewhere(f"worker {number}")
            params = own.params(**wrong)
            with pytest.raises(error, match=text) as caught:
                TransferOps.list_paths(f"lab:{lab.pool}", params)
            for part in ("host lab", "127.0.0.1", "; "):
                assert part in str(caught.value), what
            both = {"shared_pool": f"lab:{lab.pool} :{spare}", **wrong}
            caplog.clear()
            begin = time.monotonic()
            get(own, "b", **both)
            # its timeout once, whatever has to be asked
            assert time.monotonic() - begin < 3, what
            assert holds(own.image(), 2, "1M"), what
            warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
            assert len([line for line in warned if "mirror lab:" in line]) == 1, warned
            write(own.image(), 50 + number)
            begin = time.monotonic()
            with pytest.raises(PoolError, match=rf"is in .*{spare}.* but did not reach lab:"):
                set_state(own, "n", **both)
            assert time.monotonic() - begin < 3, what
            assert own.state("n").exists()
            assert (spare / "vm1" / "image1" / "n.qcow2").exists()
            unset(own, "n", shared_pool=f":{spare}")
            shutil.rmtree(own.cache)
            gone = {**both, "shared_pool": f"lab:{lab.pool} :{tmp_path}/none"}
            with pytest.raises(error) as caught:
                get(own, "b", **gone)
            assert f"lab:{lab.pool} (" in str(caught.value)
            assert f":{tmp_path}/none (does not have it)" in str(caught.value)
    assert not lab.shared("n").exists()


def test_a_dead_host_costs_its_timeout_once(lab, tmp_path):
    """However long the chain, and although it worked before."""
    made(lab, "a", "b", "c", "d")
    with Proxy(lab.host.port) as proxy:
        slow = {"nets_shell_port_lab": str(proxy.port), "ssh_timeout_lab": "1"}
        own = lab.elsewhere("worker")
        assert show(own, **slow) == ["a", "b", "c", "d"]
        proxy.freeze()
        for verb in (get, set_state):
            write(own.make_image(), 7)
            begin = time.monotonic()
            with pytest.raises(PoolSilent):
                verb(own, "d", **slow)
            # once on the connection that hangs now, once for a new login
            assert time.monotonic() - begin < 8
        proxy.thaw()
        get(own, "d", **slow)
        session.close_all()


# -- passwords -----------------------------------------------------------------------------------


def test_a_password_is_nowhere(tmp_path, caplog, monkeypatch):
    """Not in a log, an argument, the environment or a file, during and after a get and set."""
    caplog.set_level(logging.DEBUG)
    word = "Sesame7x%$'Q"
    before = set(os.listdir("/proc"))
    temporary = tmp_path / "t"
    temporary.mkdir()
    with PasswordUser(word) as user:
        lab = RemoteLab(tmp_path, server())
        lab.pool = user.home / "pool"
        who = {"nets_username_lab": user.name, "nets_password_lab": word}
        found: list[str] = []
        logins: set[str] = set()
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.002):
                # what was there before got no password, and there may be many of these
                for pid in filter(str.isdecimal, {*os.listdir("/proc")} - before):
                    for name in ("cmdline", "environ"):
                        with contextlib.suppress(OSError):
                            text = Path("/proc", pid, name).read_bytes()
                            if word.encode() in text:
                                found.append(f"{pid}/{name}")
                            if (
                                name == "cmdline"
                                and text.startswith(b"ssh\0")
                                and b"\0-f\0" in text
                            ):
                                logins.add(pid)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            made(lab, "a", "b", **who)
            shutil.rmtree(lab.cache)
            get(lab, "b", **who)
            unset(lab, "b", **who)
            with pytest.raises(PoolError) as caught:
                TransferOps.download(str(tmp_path / "x"), f"lab:{lab.pool}/none.state",
                                     lab.params(**who))  # fmt: skip
        finally:
            stop.set()
            thread.join()
        assert found == [] and logins, "it was looked at while somebody logged in"
        assert "Accepted password" in lab.host.log()
        assert word not in caplog.text and word not in str(caught.value)
        places = (tmp_path, user.home, Path("/tmp"))
        recent = [path for place in places for path in _recent(place)]
        assert recent and not [path for path in recent if word.encode() in path.read_bytes()]
        session.close_all()


def _recent(root: Path) -> list[Path]:
    """Return small files of the last minutes; of other users' directories only ours."""
    found = []
    for path in root.rglob("*") if root != Path("/tmp") else root.glob("*pool*/**/*"):
        with contextlib.suppress(OSError):
            about = path.lstat()
            new = about.st_mtime > time.time() - 300 and about.st_size < 16 * MIB
            if new and path.is_file() and not path.is_symlink() and os.access(path, os.R_OK):
                found.append(path)
    return found
