"""``avocado pool adopt`` on what avocado-i2n leaves: no records, absolute backing names."""

import fcntl
import json
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from avocado_pool_plugin.core import durable, layout, records, users
from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.core.layout import META
from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.states.bases import bring_in
from avocado_pool_plugin.upkeep.adopt import plan
from avocado_pool_plugin.upkeep.adopt.act import Adoption, clean
from avocado_pool_plugin.upkeep.adopt.bases import LocalBases
from avocado_pool_plugin.upkeep.here import LocalSite
from tests.faults.adopting import adopt
from tests.functional.commands.sites import WHERE, here, run, runner, where, where_of
from tests.functional.commands.test_moves import own_lines
from tests.support.images import edit, held_open, image, qemu_img, write
from tests.support.jobs import Worker
from tests.support.needs import need_programs
from tests.support.places import POLICY, digest_of, local_store
from tests.support.states import contents, get, leftovers, stamp
from tests.support.strace import calls, killed, points
from tests.support.terminals import on_terminal

__all__ = ["here", "run", "where"]
from tests.support.vms import Lab, backing, holds, sound, tool

NAMES = "abc"
PLAIN = replace(POLICY, verify="always")


def fill(pool: Path, uploader: Path, names: str = NAMES) -> None:
    """Fill a pool as avocado-i2n does, from the cache of a worker that is gone."""
    home = uploader / "vm1" / "image1"
    below = None
    for number, name in enumerate(names):
        path = image(home / f"{name}.qcow2", backing=str(below) if below else None, size="16M")
        write(path, 1 + number, f"{number}M", "1M")
        below = path
    shutil.copytree(home, pool / "vm1" / "image1")
    (pool / "vm1" / f"{names[-1]}.state").write_bytes(b"memory" * 1000)
    shutil.copy(home / "a.qcow2", pool / "vm1" / "image1.qcow2")
    shutil.rmtree(uploader)


@pytest.fixture(scope="session")
def filled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("i2n")
    fill(root / "pool", root / "swarm" / "host7")
    return root / "pool"


@pytest.fixture
def pool(filled_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled_once, tmp_path / "pool")
    # stamps are to be trusted when they are first looked at
    while durable.clock(str(tmp_path)) <= max(p.stat().st_ctime_ns for p in tmp_path.rglob("*")):
        time.sleep(0.001)
    return tmp_path / "pool"


def state(pool: Path, name: str) -> Path:
    return pool / "vm1" / "image1" / f"{name}.qcow2"


def rebase(path: Path, below: Path) -> None:
    """Let an image name another backing file."""
    qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", below, path)


def others(pool: Path) -> list[Path]:
    return [pool / "vm1" / "c.state", pool / "vm1" / "image1.qcow2"]


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "avocado.app"]


def usable(pool: Path, root: Path, name: str = "c") -> None:
    """Make sure that a worker that knows nothing yet can start from the pool."""
    lab = Lab(root / "getter")
    lab.pool = pool
    get(lab, name)
    sound(lab.image())
    assert all(holds(lab.image(), 1 + n, f"{n}M", "1M") for n in range(NAMES.index(name) + 1))


# -- what it does -----------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE, indirect=True)
def test_a_pool_is_taken_over_without_copying(pool, where, run, tmp_path, capsys):
    before = {path: (path.stat().st_ino, path.stat().st_mode) for path in pool.rglob("*.*")}
    digests = {name: digest_of(state(pool, name)) for name in NAMES}
    assert run("adopt", where.at(pool)) == 0
    assert {p: (p.stat().st_ino, p.stat().st_mode) for p in before} == before
    assert [backing(state(pool, name)) for name in NAMES] == ["", "a.qcow2", "b.qcow2"]
    known = {name: records.read_record(str(state(pool, name))) for name in NAMES}
    for name in NAMES:
        sound(state(pool, name))
        assert known[name].stamp == records.Stamp.of(state(pool, name).stat())
        assert local_store(PLAIN).info(str(state(pool, name))), "true to its record"
    assert [known[name].info.parent for name in NAMES] == ["", "a", "b"]
    assert known["c"].info.parent_generation == known["b"].info.generation
    if known["a"].info.digest:
        assert known["a"].info.digest == digests["a"]
        assert [known[name].info.source_digest for name in "bc"] == [digests["b"], digests["c"]]
        assert (
            known["c"].info.parent_digest == known["b"].info.digest == digest_of(state(pool, "b"))
        )
    assert all(records.read_record(str(path)) for path in others(pool))
    assert leftovers(pool) == [] and not list(pool.rglob("*.next-*"))
    out = capsys.readouterr().out.splitlines()
    assert out[-1] == f"{where.at(pool)}: 5 files: 3 recorded, 2 got a relative backing name"
    usable(pool, tmp_path)
    # and once more: all is known, nothing is done
    there = contents(pool)
    assert run("adopt", where.at(pool)) == 0
    assert capsys.readouterr().out == f"{where.at(pool)}: 5 files: 5 adopted already\n"
    assert contents(pool) == there


def test_a_dry_run_tells_and_changes_nothing(pool, where, run, capsys):
    (pool / "vm1" / "image1" / "a.qcow2.lock").touch()
    before = contents(pool)
    old = backing(state(pool, "b"))
    assert run("adopt", where.at(pool), dry_run=True) == 0
    rows = [re.split("  +", line) for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[-1]) for row in rows[:-1]] == [
        ("file", "what"),
        ("vm1/image1.qcow2", "record"),
        ("vm1/image1/a", "record"),
        ("vm1/image1/b", f"backing {old} -> a.qcow2"),
        ("vm1/image1/c", f"backing {backing(state(pool, 'c'))} -> b.qcow2"),
        ("vm1/c", "record"),
        (
            "vm1/image1/a.qcow2.lock",
            "a lock file of avocado-i2n that nobody holds; --clean removes it",
        ),
    ]
    [total] = rows[-1]
    assert total.startswith(
        f"{where.at(pool)}: 5 files: 3 to record, 2 to get a relative backing name; "
    )
    assert contents(pool) == before and not list(pool.rglob("*.json"))


def test_for_programs(pool, where, run, capsys):
    (pool / "vm1" / "image1" / "a.qcow2.lock").touch()
    state(pool, "x").write_text("junk")
    for dry in (True, False):
        assert run("adopt", where.at(pool), json=True, dry_run=dry, clean=True) == 1
        [told] = json.loads(capsys.readouterr().out)
        assert (told["where"], told["dry_run"]) == (where.at(pool), dry)
        actions = {
            Path(file["path"]).name: (file["action"], file["done"]) for file in told["files"]
        }
        assert actions == {
            "image1.qcow2": ("record", not dry),
            "a.qcow2": ("record", not dry),
            "b.qcow2": ("rename", not dry),
            "c.qcow2": ("rename", not dry),
            "x.qcow2": ("leave", False),
            "c.state": ("record", not dry),
        }
        [lock] = told["locks"]
        assert (lock["held"], lock["removed"]) == (False, not dry)
    assert not state(pool, "a").with_name("a.qcow2.lock").exists()


# -- what is left -----------------------------------------------------------------------------


def test_what_can_not_be_taken_over_is_left_with_its_reason(pool, where, run, capsys):
    home = state(pool, "a").parent
    state(pool, "junk").write_text("junk")
    secret = ("--object", "secret,id=s,data=x", "-o", "encrypt.format=aes,encrypt.key-secret=s")
    qemu_img("create", "-q", "-f", "qcow2", *secret, state(pool, "secret"), "1M")
    for one, other in ("pq", "qp"):
        on = ("-u", "-F", "qcow2", "-b", f"{other}.qcow2")
        qemu_img("create", "-q", "-f", "qcow2", *on, state(pool, one), "1M")
    rebase(image(state(pool, "orphan")), home / "gone.qcow2")
    shutil.copy(state(pool, "a"), home / "x;y.qcow2")
    (home / "deep").mkdir()
    shutil.copy(state(pool, "a"), home / "deep")
    state(pool, "link").symlink_to(state(pool, "a"))
    (home / META).mkdir()
    (home / META / "a.qcow2.json").write_text('{"format": 99}')
    before = contents(pool)
    assert run("adopt", where.at(pool), dry_run=True) == 1
    out = capsys.readouterr().out
    left = dict(re.findall(r"^(\S+) +left: (.*)$", out, re.MULTILINE))
    assert contents(pool) == before
    wanted = {
        "vm1/image1/junk": "is no QCOW2 image",
        "vm1/image1/secret": "is encrypted",
        "vm1/image1/p": "is a circle",
        "vm1/image1/q": "is a circle",
        "vm1/image1/orphan": "'gone', which it stands on, is not beside it",
        "vm1/image1/link": "adopt the place that is in",
        "vm1/image1/a": "of a later version of this package",
        "vm1/image1/x;y.qcow2": "by its name or where it is no state",
        "vm1/image1/deep/a.qcow2": "by its name or where it is no state",
    }
    assert left.keys() == wanted.keys()
    for name, reason in wanted.items():
        assert reason in left[name], left[name]
    assert run("adopt", where.at(pool)) == 1
    assert "9 left" in capsys.readouterr().out.splitlines()[-1]
    assert backing(state(pool, "c")) == "b.qcow2"


def test_an_image_that_a_qemu_has_open_is_left(pool, where, run, capsys):
    rebase(state(pool, "c"), state(pool, "b"))
    rebase(state(pool, "b"), state(pool, "a"))
    with held_open(state(pool, "c"), "-r"):
        assert run("adopt", where.at(pool)) == 1
        out = capsys.readouterr().out
        assert "left: it is in use by a running QEMU" in out
        assert backing(state(pool, "c")) == str(state(pool, "b"))
    assert run("adopt", where.at(pool)) == 0
    assert backing(state(pool, "c")) == "b.qcow2"


def test_an_image_under_a_registered_overlay_is_left(pool, where, run, tmp_path, capsys):
    overlay = image(tmp_path / "work.qcow2", backing=str(pool / "vm1" / "image1.qcow2"))
    rebase(overlay, state(pool, "c"))
    users.register(str(state(pool, "c")), str(overlay), "")
    assert run("adopt", where.at(pool)) == 1
    assert f"it is in use by overlay {overlay} (host " in capsys.readouterr().out
    assert backing(state(pool, "b")) == "a.qcow2" and backing(state(pool, "c")).startswith("/")
    overlay.unlink()
    assert run("adopt", where.at(pool)) == 0


def test_a_header_without_room_is_left_with_what_to_do(pool, here, capsys):
    """As images of very old versions of QEMU: nothing ends the list of extensions."""
    path = state(pool, "c")
    with path.open("r+b") as file:
        start = file.read(4096)
        end = start.index(b"/", 100) - 8
        assert start[end : end + 8] == bytes(8), "the end of the extensions"
        file.seek(end)
        file.write(b"\x12\x34\x56\x78\0\0\0\0")
    assert here("adopt", str(pool)) == 1
    out = capsys.readouterr().out
    assert "qemu-img rebase -u -f qcow2 -F qcow2 -b b.qcow2" in out
    assert backing(path).startswith("/")


# -- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("where", WHERE, indirect=True)
def test_content_that_contradicts_its_record_needs_force(pool, where, run, caplog, capsys):
    assert run("adopt", where.at(pool)) == 0
    edit(state(pool, "b"), 1_200_000, b"damaged")
    capsys.readouterr()
    assert run("adopt", where.at(pool), dry_run=True) == 0
    assert "compare with its record" in capsys.readouterr().out
    assert run("adopt", where.at(pool)) == 1
    [told] = [text for text in said(caplog) if "is left" in text]
    assert "is corrupt: expected" in told and told.endswith("give --force")
    record = records.read_record(str(state(pool, "b")))
    caplog.clear()
    assert run("adopt", where.at(pool), force=True) == 0
    [told] = [text for text in said(caplog) if "recorded anew" in text]
    assert told.startswith("vm1/image1/b was recorded anew: it was to be ")
    again = records.read_record(str(state(pool, "b")))
    assert again.info.digest != record.info.digest or again.info.also != record.info.also
    assert local_store(PLAIN).info(str(state(pool, "b")))


def test_a_damaged_record_is_written_anew(pool, where, run, capsys):
    assert run("adopt", where.at(pool)) == 0
    for name, text in (("a", b""), ("b", b'{"format": 1, "dig')):
        Path(layout.record_path(str(state(pool, name)))).write_bytes(text)
        Path(layout.seen_path(str(state(pool, name)))).unlink(missing_ok=True)
    capsys.readouterr()
    assert run("adopt", where.at(pool)) == 0
    assert capsys.readouterr().out.count("record anew, what there is is damaged") == 2
    for name in "ab":
        record = records.read_record(str(state(pool, name)))
        assert record and (record.info.digest or record.info.also)


def test_what_readers_have_recorded_is_fine(pool, here, tmp_path, capsys):
    durable.make_meta(str(state(pool, "a")))  # where there is none, new files are not trusted
    usable(pool, tmp_path)
    known = {name: records.read_record(str(state(pool, name))) for name in NAMES}
    assert all(known.values())
    assert here("adopt", str(pool)) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[-1].endswith("2 recorded, 2 got a relative backing name, 1 adopted already")
    assert records.read_record(str(state(pool, "a"))) == known["a"]
    again = records.read_record(str(state(pool, "c")))
    assert again.info.source_digest == known["c"].info.digest
    # the copy in the cache of who got it before is still equal to it: nothing is fetched anew
    mine = local_store().info(str(tmp_path / "getter" / "cache" / "vm1" / "image1" / "c.qcow2"))
    assert mine.same_content(again.info)


def test_copies_of_the_time_before_compare_equal(pool, here, tmp_path):
    cached = shutil.copy(state(pool, "c"), tmp_path / "c.qcow2")
    assert here("adopt", str(pool)) == 0
    mine = local_store().info(str(cached))
    assert mine.same_content(local_store().info(str(state(pool, "c"))))


# -- bases ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qcow2", "raw"])
def test_a_base_outside_is_brought_into_the_chain(kind, pool, here, tmp_path, capsys):
    golden = tmp_path / f"golden.{kind}"
    tool("qemu-img", "create", "-q", "-f", kind, golden, "16M")
    tool("qemu-io", "-f", kind, "-c", "write -q -P 9 3M 1M", golden)
    tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", golden, "-F", kind, state(pool, "g"))
    write(state(pool, "g"), 8, "1M", "1M")
    assert here("adopt", str(pool), dry_run=True) == 0
    assert f"base outside: {golden} is brought into the chain (copy of " in capsys.readouterr().out
    assert not list(pool.rglob("base-*"))
    assert here("adopt", str(pool)) == 0
    [base] = pool.rglob("base-????????????.qcow2")
    assert backing(state(pool, "g")) == base.name
    golden.unlink()
    assert holds(state(pool, "g"), 9, "3M", "1M") and holds(state(pool, "g"), 8, "1M", "1M")
    record = records.read_record(str(state(pool, "g")))
    assert record.info.parent == base.stem and record.info.source_digest
    assert here("adopt", str(pool)) == 0
    assert "adopted already\n" in capsys.readouterr().out


def test_a_state_on_a_base_outside_that_is_gone_meanwhile_is_told(pool, tmp_path):
    golden = image(tmp_path / "golden.qcow2")
    image(state(pool, "g"), backing=str(golden))
    store = local_store()
    site = LocalSite(Location(str(pool)), store)
    bases = LocalBases(store, partial(bring_in, policy=store.policy, seen_dir=None))
    planned = plan.make(site, bases)
    state(pool, "g").unlink()
    [left] = [
        outcome
        for outcome in Adoption(site, planned, bases, force=False).run()
        if outcome.step.path == str(state(pool, "g"))
    ]
    assert isinstance(left.problem, PoolError) and "g.qcow2" in str(left.problem)


def test_a_lock_that_is_taken_meanwhile_stays(pool):
    free, held = pool / "a.qcow2.lock", pool / "b.qcow2.lock"
    for lock in (free, held):
        lock.touch()
    site = LocalSite(Location(str(pool)), local_store())
    planned = plan.make(site, None)
    with held.open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert clean(site, planned) == [str(free)]
    assert held.exists() and not free.exists()


def test_a_base_of_another_host_is_left(pool, tmp_path, capsys):
    where = where_of("plain")
    golden = image(tmp_path / "golden.qcow2")
    image(state(pool, "g"), backing=str(golden))
    run = runner(where, tmp_path / "cache")
    assert run("adopt", where.at(pool)) == 1
    assert f"it stands on {golden}, which is no state; adopt it on its own host" in (
        capsys.readouterr().out
    )


# -- kills, and others at work ----------------------------------------------------------------

#: Calls that change something, and those of nothing but time.
_CHANGING = ("write", "pwrite64", "link", "rename", "unlink")


def test_the_change_is_one_write_of_twelve_bytes(pool, tmp_path):
    need_programs("strace")
    lines = calls(["tests.faults.adopting", pool], tmp_path, "pwrite64")
    found = [line for line in lines if re.search(r"/image1/[abc]\.qcow2>", line)]
    assert len(found) == 2 and all(", 12, 8) = 12" in line for line in found), lines


def test_killed_at_any_call_and_done_again(filled_once, tmp_path):
    """Each file is true to a record of it at any moment, and the next adoption ends it."""
    template = tmp_path / "template"
    shutil.copytree(filled_once, template)
    state(template, "c").unlink()
    (template / "vm1" / "image1.qcow2").unlink()
    (template / "vm1" / "c.state").unlink()
    old = digest_of(state(template, "b"))
    done = shutil.copytree(template, tmp_path / "done")
    wanted = [p for p in points(["tests.faults.adopting", done], tmp_path) if p[0] in _CHANGING]
    assert ("pwrite64" in [name for name, _ in wanted]) and len(wanted) > 15
    new = digest_of(state(done, "b"))

    def check(point: tuple[str, int]) -> str:
        root = shutil.copytree(template, tmp_path / f"{point[0]}-{point[1]}")
        killed(["tests.faults.adopting", root], *point)
        path = state(root, "b")
        now = digest_of(path)
        assert now in (old, new), point
        copy = shutil.copytree(root, tmp_path / f"{root.name}-read", copy_function=shutil.copy2)
        assert local_store(PLAIN).info(str(state(copy, "b"))).digest == now, point
        assert [outcome.problem for outcome in adopt(str(root)) if outcome.problem] == [], point
        record = records.read_record(str(path))
        assert (backing(path), record.info.digest) == ("a.qcow2", new), point
        assert record.info.source_digest == old and record.info.parent == "a", point
        assert adopt(str(root)) == [], point
        return "old" if now == old else "new"

    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(check, wanted))
    assert set(seen) == {"old", "new"}


@pytest.mark.stress
def test_readers_find_the_old_or_the_new_file(pool, tmp_path):
    problems: list[str] = []
    stop = threading.Event()

    def read(number: int) -> None:
        count = 0
        while not stop.is_set() or count < 3:
            target = tmp_path / f"copy{number}-{count}" / "vm1" / "image1" / "c.qcow2"
            try:
                for name in NAMES:
                    local_store().fetch(str(state(pool, name)), str(target.with_stem(name)))
                assert backing(target) == "b.qcow2"
            except BaseException as error:
                problems.append(f"{type(error).__name__}: {error}")
                return
            count += 1

    threads = [threading.Thread(target=read, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    outcomes = adopt(str(pool))
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == [] and [o.problem for o in outcomes if o.problem] == []
    assert backing(state(pool, "c")) == "b.qcow2"


# -- arguments --------------------------------------------------------------------------------


def test_places_that_are_none(where, run, tmp_path, caplog):
    (tmp_path / "empty").mkdir()
    assert run("adopt", where.at(tmp_path / "empty")) == 1
    assert said(caplog) == [f"{where.at(tmp_path / 'empty')}: no states there; check the path"]
    caplog.clear()
    assert run("adopt", where.at(tmp_path / "no")) == 2
    [told] = said(caplog)
    assert told.startswith("there is no directory ") and f"{tmp_path}/no; correct" in told
    assert not (tmp_path / "no").exists() and not list((tmp_path / "empty").iterdir())


def test_a_host_that_is_off(pool, tmp_path, caplog, capsys):
    run = runner(where_of("plain"), tmp_path / "cache")
    assert run("adopt", "gone:/x", str(pool)) == 1
    assert "Connection refused" in said(caplog)[0]
    assert "2 got a relative backing name" in capsys.readouterr().out, "the other one is adopted"


def test_words_that_are_no_place(here, caplog):
    assert here("adopt", "pool") == 2
    assert said(caplog)[0].startswith("location 'pool' has no ':'")


def test_the_program(pool, tmp_path):
    worker = Worker(tmp_path / "worker", "")
    done = worker.avocado("pool", "adopt", str(pool), "--dry-run")
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    assert done.stdout.splitlines()[0].split() == ["file", "size", "what"]
    assert worker.avocado("pool", "adopt").returncode == 2
    avocado = str(shutil.which("avocado", path=worker.env.variables()["PATH"]))
    shown = on_terminal([avocado, "pool", "adopt", f":{pool}"], worker.env.variables())
    assert shown.status == 0, shown.output
    assert "─" in shown.output and "2 got a relative backing name" in shown.output
    assert backing(state(pool, "c")) == "b.qcow2"


def test_a_link_pool_and_the_words_for_places(pool, here, capsys):
    assert here("adopt", "pools", pools=f":{pool};") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f":{pool};: 5 files: ")
    assert here("adopt", "all", pools=f":{pool};") == 1, "the cache does not exist"


def test_only_what_is_not_adopted_is_read(pool, here, tmp_path):
    """An adoption that was interrupted goes on where it was."""
    assert here("adopt", str(pool)) == 0
    shutil.copy(state(pool, "a"), state(pool, "new"))
    before = {name: stamp(state(pool, name)) for name in NAMES}
    log = tmp_path
    need_programs("strace")
    lines = calls(["tests.faults.adopting", pool], log, "preadv,preadv2")
    read = {
        Path(found).name for found in re.findall(r"<([^>]*\.(?:qcow2|state))>", " ".join(lines))
    }
    assert read == {"new.qcow2"}
    assert {name: stamp(state(pool, name)) for name in NAMES} == before
