"""What a far shell does to files is what this package does to them itself."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from avocado_pool_plugin.core import durable, knowledge, layout, locks, records, trash, users
from avocado_pool_plugin.core.errors import (
    HostUnreachable,
    LockTimeout,
    NameRefused,
    PoolSilent,
    PoolUnreachable,
    SpaceMissing,
)
from avocado_pool_plugin.ssh import survey, talk
from avocado_pool_plugin.ssh.shell import Shell
from tests.support.mounts import fill, mounted, read_only
from tests.support.places import digest_of, local_store, opened, ours, put, settle
from tests.support.processes import lock_holder
from tests.support.shells import (
    NEEDED,
    ODD,
    SHELLS,
    TITLE,
    as_nobody,
    commit,
    far,
    finished,
    shell,
    stamp_of,
    with_programs,
)

__all__ = ["shell"]

HOLDER = "host here, process 42, since yesterday"


def kept(path: Path) -> list[Path]:
    """Return what of a file is in the trash, records aside, oldest first."""
    directory = Path(layout.trash_dir(str(path)))
    found = directory.iterdir() if directory.is_dir() else []
    return sorted(one for one in found if one.name.endswith(f"-{path.name}"))


def check(path: Path, content: bytes) -> None:
    """A committed file is whole, as known as one that was set here, and no temporary is left."""
    assert path.read_bytes() == content
    known = knowledge.peek(str(path))
    assert known and known.fresh and known.info.digest == digest_of(path)
    assert local_store().info(str(path)) == known.info
    assert path.stat().st_mode & 0o333 == 0
    assert ours(path.parent) == sorted(
        {f"{path.name}.json", *(name for name in ours(path.parent) if name.endswith(".leaves"))}
    )


# -- putting a file in its place -----------------------------------------------------------------


@pytest.mark.parametrize("fsync", [True, False])
def test_a_committed_file_is_as_one_set_here(shell, on_disk, fsync):
    path = on_disk / "vm 1" / "it's.qcow2"
    for content in (b"first", b"second"):
        stamp = commit(shell, path, content, fsync=fsync)
        check(path, content)
        assert stamp == stamp_of(path) == records.read_record(str(path)).stamp
    (old,) = kept(path)
    assert old.read_bytes() == b"first" and re.fullmatch(r"\d+-[0-9a-f]{16}-it's\.qcow2", old.name)
    record = records.decode(Path(f"{old}.json").read_bytes())
    assert record.info.digest == digest_of(old) and record.info.generation


def test_the_trash_is_made_and_filled_as_here(shell, tmp_path):
    here, there = tmp_path / "here" / "x.state", tmp_path / "there" / "x.state"
    for path in (here, there):
        path.parent.mkdir()
        path.parent.chmod(0o2770)
        os.chown(path.parent, -1, 12345)
    for content in (b"1", b"2"):
        put(here, content)
        commit(shell, there, content)
    for name in (".pool", ".pool/trash"):
        one, other = (here.parent / name).stat(), (there.parent / name).stat()
        assert (one.st_mode, one.st_gid) == (other.st_mode, other.st_gid), name
    (mine,), (its,) = kept(here), kept(there)
    assert mine.read_bytes() == its.read_bytes() and mine.stat().st_mode == its.stat().st_mode


def test_odd_names_are_only_names(shell, tmp_path):
    for name in ODD:
        path = tmp_path / name / f"{name}.state"
        path.parent.mkdir()
        use(shell, path, name)
        assert os.listdir(path.parent) == [".pool"]
    assert sorted(os.listdir(tmp_path)) == sorted(ODD)


def use(shell: Shell, path: Path, name: str) -> None:
    """Make a file and remove it, with everything that may lie beside it."""
    shell.prepare(str(path))
    shell.lock(str(path), 0, f"host {name}, process 1, since $(date)")
    for content in (b"1", b"2"):
        commit(shell, path, content, leaves=name.encode())
    shell.unlock()
    lock = Path(layout.lock_path(str(path)))
    assert lock.read_text().startswith(f"host {name}, process 1, since $(date), over ssh: shell ")
    lock.unlink()
    check(path, b"2")
    assert Path(layout.leaves_path(str(path))).read_bytes() == name.encode()
    shell.write(layout.seen_path(str(path)), name.encode(), fsync=False)
    assert Path(layout.seen_path(str(path))).read_bytes() == name.encode()
    assert shell.create(f"{path.parent}/.pool/new{name}", b"\0") is True
    assert shell.remove(str(path), trash.name_of(str(path)), fsync=False)
    assert len(kept(path)) == 2 and ours(path.parent) == [f"new{name}"]


def test_a_link_is_replaced_and_not_what_it_leads_to(shell, tmp_path):
    path, target = tmp_path / "a" / "x.state", put_at(tmp_path / "b" / "x.state", b"target")
    path.parent.mkdir()
    path.symlink_to(target)
    commit(shell, path, b"new")
    check(path, b"new")
    assert not path.is_symlink() and target.read_bytes() == b"target" and kept(path) == []


def put_at(path: Path, content: bytes, **given: object) -> Path:
    put(path, content, **given)
    return path


def test_a_directory_in_the_way_stays(shell, tmp_path):
    path = tmp_path / "x.state"
    path.mkdir()
    with pytest.raises(PoolUnreachable, match=r"host far .*part can't become .*x\.state: "):
        commit(shell, path, b"new")
    assert path.is_dir()


def test_what_was_replaced_stays_good_if_only_its_stamp_is_known(shell, tmp_path):
    path = put_at(tmp_path / "x.state", b"old", hashed=False)
    record = records.read_record(str(path))
    loosened = records.encode(replace(record, stamp=None))
    # ln has just made the second name
    command = with_programs(tmp_path / "bin", *NEEDED)
    replaced(tmp_path / "bin" / "ln", '/bin/ln "$@"; kill -9 0')
    with far(command) as one, pytest.raises(HostUnreachable):
        commit(one, path, b"new", loosened=loosened)
    assert path.stat().st_nlink == 2 and stamp_of(path) != record.stamp
    assert local_store().info(str(path)).digest == digest_of(path)
    commit(shell, path, b"new", loosened=loosened)
    assert path.read_bytes() == b"new" and len(kept(path)) == 2


def replaced(program: Path, script: str) -> None:
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_without_hard_links_it_is_replaced_all_the_same(tmp_path, caplog):
    path = put_at(tmp_path / "x.state", b"old")
    command = with_programs(tmp_path / "bin", *NEEDED)
    replaced(tmp_path / "bin" / "ln", 'echo "ln: no: Operation not permitted" >&2; exit 1')
    with far(command) as one:
        commit(one, path, b"new")
        assert one.create(f"{path}.made", b"\0made") is True
        assert one.create(f"{path}.made", b"other") is False
    check(path, b"new")
    assert kept(path) == [] and Path(f"{path}.made").read_bytes() == b"\0made"
    assert "can't be kept in the trash: ln: no: Operation not permitted" in caplog.text


def test_another_writer_s_pending_record_keeps_ours_findable(shell, tmp_path):
    path = put_at(tmp_path / "x.state", b"old")
    record = records.read_record(str(path))
    fresh = records.write_pending(str(path), record, fsync=False)
    stale = records.write_pending(str(path), record, fsync=False)
    os.utime(stale, (time.time() - 7200,) * 2)
    commit(shell, path, b"new")
    pending = records.pending_names(str(path))
    assert fresh in pending and stale not in pending and len(pending) == 2
    assert knowledge.peek(str(path)).fresh
    os.unlink(fresh)
    commit(shell, path, b"newer")


def test_the_record_of_who_came_later_counts(tmp_path):
    """Another writer puts its file there between our rename and our record."""
    path = put_at(tmp_path / "x.state", b"old")
    other, info = finished(path, b"other")
    command = with_programs(tmp_path / "bin", *NEEDED)
    # the first call makes ours visible
    replaced(
        tmp_path / "bin" / "mv",
        f'/bin/mv "$@"; [ "$4" != "{path}" ] || [ ! -e "{other}" ] || /bin/mv "{other}" "{path}"',
    )
    with far(command) as one:
        assert commit(one, path, b"new") is None
    assert path.read_bytes() == b"other"
    assert records.read_record(str(path)).info.digest != info.digest
    assert records.pending_names(str(path)) == []


def test_a_stamp_is_only_trusted_once_later_changes_show_in_it(tmp_path):
    path = tmp_path / "x.state"
    command = with_programs(tmp_path / "bin", *NEEDED)
    # the clock that is asked before the file does not get past it
    replaced(
        tmp_path / "bin" / "stat",
        'case "$*" in *.clock-*) found=$(/usr/bin/stat "$@"); echo "${found##*\n}"; '
        'echo "${found##*\n}" ;; *) exec /usr/bin/stat "$@" ;; esac',
    )
    with far(command) as one:
        assert commit(one, path, b"new") is None
    assert records.read_record(str(path)).stamp is None
    known = knowledge.peek(str(path))
    assert known.recorded and not known.fresh
    assert local_store().info(str(path)).digest == digest_of(path)


def test_a_record_that_cannot_be_committed_stays_pending(tmp_path, caplog):
    path = put_at(tmp_path / "x.state", b"old")
    command = with_programs(tmp_path / "bin", *NEEDED)
    record = layout.record_path(str(path))
    replaced(
        tmp_path / "bin" / "mv",
        f'[ "$4" != "{record}" ] || {{ echo "mv: no: Input/output error" >&2; exit 1; }}\n'
        f'exec /bin/mv "$@"',
    )
    with far(command) as one:
        assert commit(one, path, b"new") is None
    assert path.read_bytes() == b"new" and len(records.pending_names(str(path))) == 1
    assert local_store().info(str(path)).digest == digest_of(path)
    assert f"record of {TITLE}:{path} stays a pending one: mv: no: Input/output" in caplog.text


def test_the_digests_of_blocks_are_those_of_the_file_that_is_there(shell, tmp_path):
    path = tmp_path / "x.state"
    leaves = Path(layout.leaves_path(str(path)))
    big = os.urandom(3_000_000)
    commit(shell, path, b"1", leaves=big)
    assert leaves.read_bytes() == big == shell.look([str(path)], leaves=True)[str(path)].leaves
    commit(shell, path, b"2")
    assert not leaves.exists()
    commit(shell, path, b"3", leaves=b"")
    assert not leaves.exists()
    check(path, b"3")


def test_what_is_in_the_trash_for_long_goes(shell, tmp_path):
    path = put_at(tmp_path / "x.state", b"old")
    directory = Path(durable.make_like_parent(layout.trash_dir(str(path))))
    now = int(time.time())
    old = [f"{now - 8 * 86400}-a", f"{now - 8 * 86400}-b c'd", "0-x"]
    new = [f"{now - 6 * 86400}-a", "foreign", "08x-1", "-1", "99999999999999999999-x"]
    for name in old + new:
        (directory / name).touch()
    commit(shell, path, b"new")
    left = {one.name for one in directory.iterdir()}
    assert not left & set(old) and left >= set(new) and len(left) == len(new) + 2


def test_a_clock_that_is_ahead_takes_nothing_from_the_trash(shell, tmp_path, monkeypatch):
    path = put_at(tmp_path / "x.state", b"old")
    directory = Path(durable.make_like_parent(layout.trash_dir(str(path))))
    now = int(time.time())
    old, young = directory / f"{now - 8 * 86400}-a", directory / f"{now - 6 * 86400}-a"
    for one in (old, young):
        one.touch()
    monkeypatch.setattr(time, "time", lambda: now + 30 * 86400.0)
    commit(shell, path, b"new")
    assert young.exists() and not old.exists()


def test_what_others_threw_away_long_ago_keeps_nobody_from_removing_his_own(tmp_path):
    """In a directory like /tmp each may remove his own files only."""
    opened(tmp_path)
    path = tmp_path / "pool" / "x.state"
    path.parent.mkdir()
    path.parent.chmod(0o1777)
    durable.make_meta(str(path))
    directory = Path(durable.make_like_parent(layout.trash_dir(str(path))))
    old = directory / f"{int(time.time()) - 8 * 86400}-a"
    old.touch()
    with far(as_nobody("dash")) as one:
        path.touch()
        os.chown(path, 65534, 65534)
        assert one.remove(str(path), trash.name_of(str(path))) is True
    assert old.exists() and len(kept(path)) == 1


def test_content_is_on_the_disk_before_its_name_and_the_name_before_the_end(tmp_path):
    """What only a power cut would show."""
    path = put_at(tmp_path / "vm" / "x.state", b"old")
    log = tmp_path / "log"
    calls = "trace=fsync,?rename,?renameat2,?renameat,?link,?linkat"
    with far(
        ["strace", "-f", "-y", "-qq", "-s", "300", "-o", str(log), "-e", calls, "dash"]
    ) as one:
        shell_part, info = finished(path, b"new")
        one.commit(shell_part, str(path), records.template(info),
                   trash=trash.name_of(str(path)))  # fmt: skip
    lines = log.read_text(errors="replace").splitlines()
    meta, record = f"{path.parent}/.pool", layout.record_path(str(path))

    def first(pattern: str, after: int = -1) -> int:
        for number, line in enumerate(lines):
            if number > after and re.search(pattern, line):
                return number
        raise AssertionError(f"no {pattern} after {after} in\n" + "\n".join(lines))

    content = first(rf"fsync\(\d+<{re.escape(shell_part)}>")
    pending_data = first(rf"fsync\(\d+<{re.escape(meta)}/x\.state\.next-[0-9a-f]{{16}}\.tmp>")
    pending = first(r'rename.*\.next-[0-9a-f]{16}\.tmp", .*\.next-[0-9a-f]{16}"')
    pending_name = first(rf"fsync\(\d+<{re.escape(meta)}>", pending)
    linked = first(rf'link.*"{re.escape(str(path))}", .*trash', pending_name)
    renamed = first(rf'rename.*\.part", .*"{re.escape(str(path))}"', linked)
    name = first(rf"fsync\(\d+<{re.escape(str(path.parent))}>", renamed)
    committed_data = first(rf"fsync\(\d+<{re.escape(record)}\.[0-9a-f]+\.tmp>", name)
    committed = first(rf'rename.*"{re.escape(record)}"', committed_data)
    assert content < pending and pending_data < pending
    assert first(rf"fsync\(\d+<{re.escape(meta)}>", committed)


# -- other changes -------------------------------------------------------------------------------


def test_removed_is_in_the_trash(shell, on_disk):
    path = put_at(on_disk / "x.qcow2", b"content")
    overlay = on_disk / "overlay.qcow2"
    users.register(str(path), str(overlay), "generation")
    Path(layout.leaves_path(str(path))).write_bytes(b"x")
    records.write_pending(str(path), records.read_record(str(path)), fsync=False)
    record = Path(layout.record_path(str(path))).read_bytes()
    assert shell.remove(str(path), trash.name_of(str(path))) is True
    (old,) = kept(path)
    assert old.read_bytes() == b"content" and Path(f"{old}.json").read_bytes() == record
    assert ours(on_disk) == [] and local_store().names(str(on_disk)) == []
    assert shell.remove(str(path), trash.name_of(str(path))) is False
    assert shell.remove(f"{on_disk}/no/such/x.qcow2", "1-x") is False


def test_a_removed_link_leaves_what_it_led_to(shell, tmp_path):
    path = put_at(tmp_path / "x.state", b"content")
    link = tmp_path / "links" / "x.state"
    link.parent.mkdir()
    for target in (path, tmp_path / "nowhere"):
        link.symlink_to(target)
        assert shell.remove(str(link), "1-x") is True
        assert os.listdir(link.parent) == []
    check(path, b"content")


def test_a_name_that_was_taken_just_now_is_not_taken_again(tmp_path):
    """Where there are no hard links, and mv finds the name of somebody else."""
    programs, old, new = tmp_path / "bin", tmp_path / "old", tmp_path / "new"
    programs.mkdir()
    for name, line in {"ln": "exit 1", "mv": f'echo other >{new}; exec /bin/mv "$@"'}.items():
        (programs / name).write_text(f"#!/bin/sh\n{line}\n")
        (programs / name).chmod(0o755)
    old.write_text("mine")
    with far(["env", f"PATH={programs}:{os.environ['PATH']}", "dash"]) as one:
        assert survey.move_new(one, str(old), str(new), fsync=False) is False
    assert (old.read_text(), new.read_text()) == ("mine", "other\n")


def test_small_files_are_replaced_as_a_whole(shell, tmp_path):
    path = tmp_path / "new" / ".pool" / "x.seen"
    for data in (b"", bytes(range(256)), os.urandom(300_000)):
        shell.write(str(path), data)
        assert path.read_bytes() == data
    assert shell.create(str(path), b"other") is False and path.stat().st_size == 300_000
    assert shell.create(f"{path}2", b"\0\n\n") is True
    assert Path(f"{path}2").read_bytes() == b"\0\n\n"
    assert sorted(os.listdir(path.parent)) == ["x.seen", "x.seen2"]


def test_temporaries_are_swept_unless_somebody_writes_to_them(shell, tmp_path):
    path = put_at(tmp_path / "x.state", b"content")
    meta = tmp_path / ".pool"
    parts = [f"{name}.resume.part" for name in ("x.state.1", "it's $(x)", "busy", "new")]
    names = [*parts[:2], "-n.tmp", ".clock-1.tmp", *parts[2:]]
    for name in names:
        (meta / name).touch()
        if name != parts[3]:
            os.utime(meta / name, (time.time() - 7200,) * 2)
    with (meta / parts[2]).open() as busy:
        fcntl.flock(busy, fcntl.LOCK_EX)
        swept = shell.sweep(str(tmp_path), 3600)
    assert sorted(swept) == sorted(f"{meta}/{name}" for name in names[:4])
    assert ours(tmp_path) == [parts[2], parts[3], "x.state.json"]
    assert shell.sweep(str(tmp_path), 3600) == [f"{meta}/{parts[2]}"]
    assert shell.sweep(str(tmp_path / "no"), 3600) == []
    shell.discard(f"{meta}/{parts[3]}")
    shell.discard(f"{meta}/{parts[3]}")
    check(path, b"content")


def test_directories_are_made_for_the_same_people(shell, tmp_path):
    for name, mode in (("a", 0o2770), ("b", 0o1777), ("c", 0o700)):
        here, there = tmp_path / name / "here", tmp_path / name / "there"
        for one in (here, there):
            one.mkdir(parents=True)
            os.chown(one, -1, 12345)
            one.chmod(mode)
        durable.make_meta(str(here / "x.state"))
        shell.prepare(str(there / "x.state"))
        one, other = (here / ".pool").stat(), (there / ".pool").stat()
        assert (one.st_mode, one.st_gid) == (other.st_mode, other.st_gid)
    shell.prepare(str(tmp_path / "new" / "deep" / "x.state"))
    assert (tmp_path / "new" / "deep" / ".pool").is_dir()
    shell.prepare(str(tmp_path / "new" / "deep" / "x.state"))


def test_what_cannot_be_written_is_told(tmp_path):
    opened(tmp_path)
    path = put_at(tmp_path / "x.state", b"content")
    (tmp_path / "file").touch()
    with far(as_nobody("dash")) as one:
        for work in (
            lambda: one.prepare(f"{tmp_path}/new/x.state"),
            lambda: one.write(layout.seen_path(str(path)), b"x"),
            lambda: one.create(layout.seen_path(str(path)), b"x"),
            lambda: one.remove(str(path), "1-x"),
            lambda: one.lock(str(path), 0, HOLDER),
            lambda: one.clock(str(tmp_path)),
            lambda: commit(one, path, b"new"),
        ):
            with pytest.raises(PoolUnreachable, match=r"host far .*:/.*(denied|not permitted)"):
                work()
        assert one.sweep(str(tmp_path), 0) == []
        with pytest.raises(PoolUnreachable, match=r"file/\.pool.* can't be made: .*[Nn]ot a dir"):
            one.prepare(f"{tmp_path}/file/x.state")
    assert path.read_bytes() == b"content" and knowledge.peek(str(path)).fresh
    refused = pytest.raises(PoolUnreachable, match="Read-only file system")
    with far() as one, read_only(tmp_path), refused:
        one.write(layout.seen_path(str(path)), b"x")


@pytest.mark.parametrize("kind", SHELLS)
def test_a_full_disk_is_told(kind, tmp_path):
    with mounted("tmpfs", tmp_path, 4) as point, far(SHELLS[kind]) as one:
        path = put_at(point / "x.state", b"old")
        part, info = finished(path, b"new")
        hog = fill(point, 0)
        for leaves in (None, os.urandom(3_000_000)):
            with pytest.raises(SpaceMissing, match=r"no room left for host far .*No space left"):
                one.commit(part, str(path), records.template(info),
                           trash="1-x", fsync=False, leaves=leaves)  # fmt: skip
        with pytest.raises(SpaceMissing):
            one.write(layout.seen_path(str(path)), b"x" * 10_000)
        with pytest.raises(SpaceMissing):
            one.create(f"{path}.new", b"x" * 10_000)
        assert path.read_bytes() == b"old" and knowledge.peek(str(path)).fresh
        assert set(ours(point)) == {"x.state.json", Path(part).name}
        assert not Path(f"{path}.new").exists()
        hog.unlink()
        one.commit(part, str(path), records.template(info), trash="1-x", fsync=False)
        check(path, b"new")


def test_names_with_control_characters_are_refused(shell, tmp_path):
    for work in (
        shell.discard,
        lambda path: shell.lock(path, 0, ""),
        lambda path: shell.write(path, b""),
    ):
        with pytest.raises(NameRefused):
            work(f"{tmp_path}/a\nb")
    shell.write(f"{tmp_path}/a b", b"")


# -- signs of life -------------------------------------------------------------------------------


def with_sync(directory: Path, line: str) -> list[str]:
    """Return the command of a shell whose disk takes its time: what a line of a shell takes."""
    command = with_programs(directory, *NEEDED, "flock")
    (directory / "sync").unlink()
    (directory / "sync").write_text(f"#!/bin/sh\n{line}\n")
    (directory / "sync").chmod(0o755)
    os.mkfifo(directory / "never")
    return command


#: Takes for ever, without a process of its own.
FOR_EVER = 'read x <"${0%/*}/never"'


@pytest.mark.parametrize("kind", SHELLS)
def test_a_disk_that_takes_long_is_no_silence(kind, tmp_path):
    path = tmp_path / "pool" / "x.state"
    path.parent.mkdir()
    command = with_sync(tmp_path / "bin", '[ -e "$0.done" ] || sleep 2; : >"$0.done"')
    with far([*command[:-1], shutil.which(kind) or kind], timeout=1.2) as one:
        began = time.monotonic()
        commit(one, path, b"content", fsync=True)
        assert time.monotonic() - began > 2
        assert one.usable
    check(path, b"content")


def test_a_disk_that_never_ends_is_silence(tmp_path, monkeypatch):
    path = tmp_path / "pool" / "x.state"
    path.parent.mkdir()
    monkeypatch.setattr(talk, "_PATIENCE", 1.0)
    with far(with_sync(tmp_path / "bin", FOR_EVER), timeout=1) as one:
        began = time.monotonic()
        with pytest.raises(PoolSilent):
            commit(one, path, b"content", fsync=True)
        # it had more than one timeout, for it was heard meanwhile
        assert time.monotonic() - began > 1.5
        assert not one.usable
        os.killpg(one.pid, signal.SIGKILL)
    assert not path.exists()


# -- locks ---------------------------------------------------------------------------------------


def test_its_locks_are_those_of_this_package(shell, on_disk):
    path = str(on_disk / "x.state")
    shell.lock(path, 1, HOLDER)
    text = rf"{HOLDER}, over ssh: shell {shell.pid} on \S+; waited"
    with pytest.raises(LockTimeout, match=text), locks.hold(path, 0):
        pass
    shell.unlock()
    with locks.hold(path, 5):
        pass
    with lock_holder(Path(path)) as process:
        began = time.monotonic()
        for timeout in (0, 0.3):
            with pytest.raises(LockTimeout) as caught:
                shell.lock(path, timeout, HOLDER)
            assert f"{TITLE}:{path} is locked by host" in str(caught.value)
            assert f"process {process.pid}, since" in str(caught.value)
            assert f"waited {timeout:g} seconds" in str(caught.value) and caught.value.path == path
        assert time.monotonic() - began > 0.3
        process.stdin.write("\n")
        process.stdin.flush()
        shell.lock(path, 10, HOLDER)
    shell.unlock()


def test_many_shells_take_a_lock_in_turn(tmp_path):
    path = str(tmp_path / "x.state")
    inside: list[int] = []

    def work(kind: str) -> None:
        with far(SHELLS[kind]) as one:
            for _ in range(10):
                one.lock(path, 20, HOLDER)
                inside.append(1)
                assert len(inside) == 1
                time.sleep(0.002)
                inside.pop()
                one.unlock()

    threads = [threading.Thread(target=work, args=(kind,)) for kind in ("dash", "bash", "dash")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not inside and ours(tmp_path) == ["x.state.lock"]


def test_waiting_for_a_lock_is_no_silence(tmp_path):
    path = tmp_path / "x.state"
    with lock_holder(path), far(timeout=1) as one:
        with pytest.raises(LockTimeout):
            one.lock(str(path), 2, HOLDER)
        assert one.usable


@pytest.mark.parametrize("how", ["close", "kill"])
def test_a_lock_ends_with_its_shell(shell, tmp_path, how):
    path = str(tmp_path / "x.state")
    shell.lock(path, 0, HOLDER)
    if how == "kill":
        os.kill(shell.pid, signal.SIGKILL)
        with pytest.raises(HostUnreachable):
            shell.names(path)
    else:
        shell.close()
    with locks.hold(path, 5):
        pass


def test_a_shell_can_be_ended_by_another_one(shell, tmp_path):
    path = str(tmp_path / "x.state")
    with far() as lost, contextlib.ExitStack() as stack:
        # processes that were started in one tick of the clock differ by their numbers only
        time.sleep(0.05)
        other = stack.enter_context(subprocess.Popen(["sleep", "60"], start_new_session=True))
        lost.lock(path, 0, HOLDER)
        # of another time, another start of the system, nothing at all
        for token in (f"{lost.token}1", f"x{lost.token}", "wrong"):
            for pid in (lost.pid, other.pid):
                shell.end_of(pid, token)
        assert lost.names(str(tmp_path)) == [] and other.poll() is None
        shell.end_of(lost.pid, lost.token)
        shell.lock(path, 5, HOLDER)
        with pytest.raises(HostUnreachable):
            lost.names(str(tmp_path))
        shell.end_of(lost.pid, lost.token)
        other.kill()


def test_a_lock_is_not_kept_by_what_outlives_its_shell(tmp_path):
    """The sign of life of something long must neither hold the lock nor go on for an orphan."""
    path = tmp_path / "pool" / "x.state"
    path.parent.mkdir()
    with far(with_sync(tmp_path / "bin", FOR_EVER), timeout=1) as one:
        one.lock(str(path), 0, HOLDER)
        holders: list[set[str]] = []

        def end() -> None:
            holders.append(holders_of(one.pid, layout.lock_path(str(path))))
            os.kill(one.pid, signal.SIGKILL)

        thread = threading.Timer(0.4, end)
        thread.start()
        with pytest.raises((HostUnreachable, PoolSilent)):
            commit(one, path, b"content", fsync=True)
        thread.join()
        # what it waits for may
        assert holders == [{"dash", "sync"}]
        for pid, name in processes_of(one.pid):
            if name == "sync":
                os.kill(pid, signal.SIGKILL)
        with locks.hold(str(path), 5):
            pass
        deadline = time.monotonic() + 5
        while processes_of(one.pid) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert processes_of(one.pid) == []


def processes_of(session: int) -> list[tuple[int, str]]:
    """Return the living processes of a session: number and name."""
    done = subprocess.run(
        ["ps", "-o", "pid=,stat=,comm=", "-s", str(session)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split() for line in done.stdout.splitlines()]
    return [(int(pid), name) for pid, state, name, *_ in found if not state.startswith("Z")]


def holders_of(session: int, path: str) -> set[str]:
    """Return which processes of a session have a file open; its shell is ``dash``."""
    found = set()
    for pid, name in processes_of(session):
        opened = []
        with contextlib.suppress(OSError):  # it has ended meanwhile
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    opened.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        if path in opened:
            found.add(name if name != "dash" or pid == session else f"child of {name}")
    return found


def test_a_lock_is_for_all_who_may_write(tmp_path):
    old = os.umask(0o077)
    try:
        with far() as one:
            one.lock(str(tmp_path / "x.state"), 0, HOLDER)
    finally:
        os.umask(old)
    assert Path(layout.lock_path(str(tmp_path / "x.state"))).stat().st_mode & 0o777 == 0o666


def test_settled_files_are_trusted_at_once(shell, tmp_path):
    path = put_at(tmp_path / "x.state", b"content")
    settle(path)
    assert shell.clock(str(tmp_path)) > shell.look([str(path)])[str(path)].stamp.ctime_ns
