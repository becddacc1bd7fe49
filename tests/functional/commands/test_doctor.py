"""``avocado pool doctor`` on real file systems and hosts."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from avocado_pool_plugin.core import answers, durable
from avocado_pool_plugin.ssh.probe import Probe
from avocado_pool_plugin.upkeep.doctor import (
    directory,
    files,
    finding,
    judge,
    mounts,
    qemu,
    vt,
    workplace,
)
from tests.functional.commands.test_moves import ESCAPE, own_lines
from tests.support import mounts as disks
from tests.support import remote
from tests.support.commands import do, section
from tests.support.hosts import hung
from tests.support.jobs import Worker, kvm_works
from tests.support.mounts import fill, mounted, read_only
from tests.support.processes import in_child, lock_holder
from tests.support.shells import SHELLS, far
from tests.support.sshd import ADDRESS, Sshd, free_port
from tests.support.terminals import on_terminal

#: What is found out about each directory of this host that can be written.
LOCAL = {
    "file system", "free space", "locks", "rename", "reflink", "sparse files", "hard links",
    "exchange", "fsync", "time stamps", "stamps", "clock",
}  # fmt: skip
#: The same for each host, besides the login.
FAR = (LOCAL - {"exchange", "fsync"}) | {
    "login", "python3", "cipher", "host key", "latency", "upload", "download", "shared with",
}  # fmt: skip

Doctor = Callable[..., dict[str, dict[str, dict[str, str]]]]


class Report(dict[str, dict[str, dict[str, str]]]):
    """Findings by place and check, with exit status and suggested settings."""

    status = -1
    settings: dict[str, str]

    def __init__(self, status: int, text: str) -> None:
        told = json.loads(text)
        for one in told["findings"]:
            checks = self.setdefault(one["where"], {})
            assert one["check"] not in checks, f"told twice: {one}"
            checks[one["check"]] = one
        self.status, self.settings = status, told["settings"]

    def levels(self, place: object) -> dict[str, str]:
        return {check: one["level"] for check, one in self[str(place)].items()}


@pytest.fixture
def doctor(tmp_path: Path, capsys) -> Doctor:
    """Do it in this process."""

    def done(*places: object, cache: Path = tmp_path / "no cache", **options: object) -> Report:
        own = section({"swarm_pool": str(cache), **{k: str(v) for k, v in options.items()}})
        capsys.readouterr()
        status = do("doctor", {"pool_json": True, "pool_places": list(map(str, places)), **own})
        report = Report(status, capsys.readouterr().out)
        levels = {level for place in report for level in report.levels(place).values()}
        serious = levels & {"warn", "bad"}
        assert status == (1 if serious else 0)
        return report

    return done


# -- the program ------------------------------------------------------------------------------


def test_places_are_named_as_for_other_commands(worker, tmp_path):
    words = ("--pool-location", f":{tmp_path}", "--json")
    for given in (
        [f":{tmp_path}"],
        ["--at", "pools"],
        ["pools"],
        [f":{tmp_path}", "--at", "pools"],
    ):
        done = worker.avocado("pool", "doctor", *given, *words)
        assert list(Report(done.returncode, done.stdout)) == [f":{tmp_path}"], given
    done = worker.avocado("pool", "doctor", "nowhere")
    [line] = own_lines(done.stderr)
    assert done.returncode == 2 and "one of cache, pools, all" in line


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Worker:
    return Worker(tmp_path_factory.mktemp("worker"), "")


def test_all_that_is_configured_is_probed(worker, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    words = ("--pool-location", f":{pool} :{tmp_path}/no")
    done = worker.avocado("pool", "doctor", "--json", *words)
    assert own_lines(done.stderr) == []
    report = Report(done.returncode, done.stdout)
    assert done.returncode == 1, "a pool does not exist"
    assert list(report) == [f":{worker.cache}", f":{pool}", f":{tmp_path}/no", "QEMU", "Avocado-VT"]
    assert {*LOCAL, "VM images", "image locks"} == set(report[f":{worker.cache}"])
    assert {*LOCAL, "to the cache", "directory", "shared with"} == set(report[f":{pool}"])
    assert report.levels(f":{tmp_path}/no") == {"directory": "warn"}
    images = report[f":{worker.cache}"]["VM images"]
    assert images["level"] == "ok" and str(worker.env.images) in images["found"]
    assert report.levels(f":{worker.cache}")["image locks"] == "ok"
    assert {"qemu-img", "emulator", "mapped-ram", "KVM"} == set(report["QEMU"])
    vt = report.levels("Avocado-VT")
    for check in ("nc", "tcpdump", "vt-bootstrap", "filelock", "aexpect", "avocado-framework"):
        assert vt[check] == "ok", check
    assert (report.levels("QEMU")["KVM"] == "ok") == kvm_works()
    assert left(worker.cache, worker.env.images, pool, tmp_path) == []


def left(*roots: Path) -> list[Path]:
    """Return what probes left behind."""
    return [path for root in roots for path in root.rglob("*") if "doctor" in path.name]


def test_a_pipe_gets_plain_text_and_a_terminal_tables(worker, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    words = ("pool", "doctor", f":{pool}")
    done = worker.avocado(*words)
    assert (done.returncode, own_lines(done.stderr)) == (0, [])
    lines = done.stdout.splitlines()
    assert lines[0] == f":{pool}" and lines[1].split() == ["check", "level", "found", "advice"]
    assert lines[-1].startswith("all is well, ") and ESCAPE not in done.stdout
    assert not any("QEMU" in line for line in lines), "only what was asked for"
    variables = worker.env.variables()
    program = str(shutil.which("avocado", path=variables["PATH"]))
    shown = on_terminal([program, *words], variables)
    assert shown.status == 0 and "─" in shown.output and "all is well" in shown.output
    assert left(pool) == []


def test_wrong_use_is_one_sentence_and_status_2(worker):
    for words, hint in (
        (("dir",), "':dir'"),
        ((":/a;", "b;c:/x;"), "b;c"),
        (("lab:/x", "--pool-ssh-timeout", "soon"), "ssh_timeout"),
        (("--bogus",), "--bogus"),
    ):
        done = worker.avocado("pool", "doctor", *words)
        assert (done.returncode, done.stdout) == (2, ""), words
        [line] = own_lines(done.stderr)
        assert hint in line, words


# -- directories of this host -----------------------------------------------------------------


def test_each_kind_of_file_system(doctor, on_disk):
    pool, cache = on_disk / "pool", on_disk / "cache"
    pool.mkdir()
    cache.mkdir()
    report = doctor(f":{pool}", f":{pool};", f":{cache}", cache=cache)
    [kind] = {
        report[place]["file system"]["found"].partition(" ")[0].rstrip(",") for place in report
    }
    for place in report:
        levels = report.levels(place)
        assert set(levels) >= LOCAL
        assert levels["reflink"] == ("ok" if kind == "xfs" else "note")
        assert levels["file system"] == ("note" if kind == "tmpfs" else "ok")
        assert levels["free space"] == "warn", "these are small"
        fine = LOCAL - {"reflink", "file system", "free space"}
        assert {check: levels[check] for check in fine} == dict.fromkeys(fine, "ok")
    told = report[f":{pool}"]["to the cache"]
    assert told["level"] == ("ok" if kind == "xfs" else "note")
    assert kind == "xfs" or f"':{pool};'" in told["advice"]
    assert "symlinked" in report[f":{pool};"]["to the cache"]["found"]
    assert list(pool.iterdir()) == list(cache.iterdir()) == []


def test_a_pool_on_another_file_system_than_the_cache(doctor, on_xfs, tmp_path):
    (tmp_path / "cache").mkdir()
    report = doctor(f":{on_xfs}", cache=tmp_path / "cache")
    assert "another file system" in report[f":{on_xfs}"]["to the cache"]["found"]


def test_a_cache_away_from_the_images(doctor, on_xfs, tmp_path, monkeypatch):
    from avocado_pool_plugin.plugins.commands import doctor as command

    (tmp_path / "images").mkdir()
    monkeypatch.setattr(command, "_vt_data", lambda: str(tmp_path))
    report = doctor(f":{on_xfs}", cache=on_xfs)
    assert report.levels(f":{on_xfs}")["VM images"] == "note"
    assert report.settings == {"swarm_pool": str(tmp_path / "states")}
    assert list((tmp_path / "images").iterdir()) == []


def test_times_of_whole_seconds_are_told(doctor, tmp_path, monkeypatch):
    monkeypatch.setitem(disks.MKFS, "coarse", ("mkfs.ext4", "-q", "-F", "-I", "128"))
    with mounted("coarse", tmp_path, 64) as pool:
        report = doctor(f":{pool}")
        levels = report.levels(f":{pool}")
    assert (levels["time stamps"], levels["stamps"], levels["clock"]) == ("warn", "ok", "ok")
    assert "1000 ms apart" in report[f":{pool}"]["time stamps"]["found"]
    assert report.settings == {}, "what is set is trusted late, and never wrongly"


@pytest.mark.parametrize("kind", ["cache", "pool"])
def test_a_read_only_mount(doctor, tmp_path, kind):
    place = tmp_path / "ro"
    (place / "vm1").mkdir(parents=True)
    cache = place if kind == "cache" else tmp_path / "no cache"
    with read_only(place):
        report = doctor(f":{place}", cache=cache)
        found = report[f":{place}"]["writable"]
        assert "Read-only file system" in found["found"]
        assert "read-only" in report[f":{place}"]["file system"]["found"]
        if kind == "cache":
            assert found["level"] == "bad" and report.settings == {}
        else:
            assert found["level"] == "warn" and "mount it writable" in found["advice"]
            assert report.settings == {"set_mirrors": "any"}
            again = doctor(f":{place}", cache=cache, set_mirrors="any")
            assert (again.levels(f":{place}")["writable"], again.status) == ("note", 0)
            assert again.settings == {}


@pytest.mark.parametrize("size", [0, 4096 * 4])
def test_a_full_mount(doctor, tmp_path, size):
    with mounted("tmpfs", tmp_path, 16) as pool:
        fill(pool, size)
        report = doctor(f":{pool}")
        levels = report.levels(f":{pool}")
        assert levels["free space"] == levels["room"] == "bad"
        assert set(levels.values()) - {"bad"} <= {"ok", "note"}, "one reason is told once"
        assert sorted(path.name for path in pool.iterdir()) == ["hog"]


def test_a_full_ext4(doctor, file_systems, tmp_path):
    with mounted("ext4", tmp_path, 16) as pool:
        hog = fill(pool, 0)
        report = doctor(f":{pool}")
        assert report.levels(f":{pool}")["free space"] == "bad"
        assert sorted(path.name for path in pool.iterdir()) == ["hog", "lost+found"]
        assert hog.exists()


def test_what_does_not_exist_is_not_made(doctor, tmp_path):
    cache, pool, file = tmp_path / "cache", tmp_path / "a" / "pool", tmp_path / "file"
    file.write_text("")
    report = doctor(f":{cache}", f":{pool}", f":{file}", f":{file}/x", cache=cache)
    assert {place: report.levels(place)["directory"] for place in report} == {
        f":{cache}": "note",
        f":{pool}": "warn",
        f":{file}": "bad",
        f":{file}/x": "warn",
    }
    assert "made by the first set" in report[f":{cache}"]["directory"]["advice"]
    assert f"is {tmp_path}" in report[f":{pool}"]["directory"]["found"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_pool_that_is_not_mounted(doctor, tmp_path, monkeypatch):
    table, pool = tmp_path / "fstab", tmp_path / "a pool"
    table.write_text(f"# none\nstore:/p {str(pool).replace(' ', chr(92) + '040')} nfs hard 0 0\n")
    monkeypatch.setattr(directory, "_FSTAB", str(table))
    for made in (False, True):
        if made:
            (pool / "states").mkdir(parents=True)
        found = doctor(f":{pool}/states")[f":{pool}/states"]["directory"]
        assert found["level"] == "bad" and f"mount {pool}" in found["advice"]
    (tmp_path / "other").mkdir()
    found = doctor(f":{tmp_path}/other")[f":{tmp_path}/other"]["directory"]
    assert found["level"] == "note" and "empty" in found["found"]


def test_another_user_without_permission(tmp_path):
    shared, closed = Path("/tmp") / f"doctor-{os.getpid()}", tmp_path / "closed"
    shared.mkdir()
    (closed / "pool").mkdir(parents=True)
    closed.chmod(0o700)
    (shared / "dark").mkdir(mode=0o711)
    out = shared / "found"
    out.touch()
    out.chmod(0o666)

    def look() -> None:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        found = [
            *directory.examine(directory.Directory("pool", str(shared))),
            *directory.examine(directory.Directory("cache", str(shared), cache=True)),
            *directory.examine(directory.Directory("closed", str(closed / "pool"))),
            *directory.examine(directory.Directory("dark", str(shared / "dark"))),
        ]
        out.write_text(json.dumps([(one.place, one.check, one.level) for one in found]))

    try:
        assert in_child(look) == 0
        told = [tuple(one) for one in json.loads(out.read_text())]
    finally:
        shutil.rmtree(shared)
    assert ("pool", "writable", "warn") in told and ("cache", "writable", "bad") in told
    assert [one for one in told if one[0] == "closed"] == [("closed", "directory", "bad")]
    assert ("dark", "directory", "bad") in told and ("dark", "writable", "warn") in told


@pytest.mark.parametrize(
    ("mode", "umask", "told"),
    [
        (0o2775, 0o002, ("ok", "can read and write")),
        (0o2775, 0o022, ("warn", "umask 002")),
        (0o775, 0o002, ("note", "chmod g+s")),
        (0o755, 0o022, ("ok", "only the owner can write")),
        (0o755, 0o077, ("note", "umask 022")),
    ],
)
def test_who_can_use_a_pool(doctor, tmp_path, mode, umask, told):
    pool = tmp_path / "pool"
    pool.mkdir()
    pool.chmod(mode)
    before = os.umask(umask)
    try:
        found = doctor(f":{pool}")[f":{pool}"]["shared with"]
    finally:
        os.umask(before)
    assert found["level"] == told[0] and told[1] in found["found"] + found["advice"]


def test_locks_that_keep_nobody_out_are_told(doctor, tmp_path, no_locks):
    report = doctor(f":{tmp_path}")
    found = report[f":{tmp_path}"]["locks"]
    assert found["level"] == "warn" and "at the same time" in found["found"]


def test_what_killed_ones_left_goes_after_a_day(doctor, tmp_path):
    old, new, other = (
        tmp_path / f"{workplace.PREFIX}{token}"
        for token in (durable.new_token(), durable.new_token(), "of-somebody")
    )
    for path in (old, new, other):
        (path / ".pool").mkdir(parents=True)
        age = 0 if path == new else workplace.OLD + 60
        os.utime(path, (time.time() - age,) * 2)
    doctor(f":{tmp_path}")
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


def test_a_reader_that_finds_no_file_or_half_of_one_tells_so(tmp_path):
    path = tmp_path / "file"
    assert files._torn(str(path)) == "absent"
    path.write_bytes(b"a" * (files._SIZE - 1))
    assert files._torn(str(path)) == "half written"
    path.write_bytes(b"a" * (files._SIZE - 1) + b"b")
    assert files._torn(str(path)) == "half written"
    path.write_bytes(b"a" * files._SIZE)
    assert files._torn(str(path)) == ""
    assert [one.level for one in judge.torn("x", 3, "absent")] == ["bad"]


def test_what_is_known_of_network_file_systems(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        "2 1 0:40 / /mnt/my\\040pool rw - nfs4 store:/pool rw,vers=4.2,soft\n"
        "3 1 0:41 / /mnt ro shared:5 - fuse.sshfs me@store: rw\n"
    )
    where = {
        path: mounts.mount_of(path, str(table)) for path in ("/mnt/my pool/a", "/mnt/b", "/mnt2")
    }
    assert [mount and mount.kind for mount in where.values()] == ["nfs4", "fuse.sshfs", "ext4"]
    assert where["/mnt/my pool/a"] and "soft" in where["/mnt/my pool/a"].options
    levels = {
        kind: next(iter(judge.kind("x", kind))).level
        for kind in ("nfs4", "fuse.sshfs", "cifs", "ext4", "xfs", "btrfs", "tmpfs", "vfat")
    }
    assert list(levels.values()) == ["note", "warn", "warn", "ok", "ok", "ok", "note", "bad"]


def test_stamps_that_lie_have_content_hashed():
    [found] = judge.stamps("x", honest=False)
    assert (found.level, found.settings) == ("warn", (("verify", "always"),))
    assert [one.level for one in judge.stamps("x", honest=True, stable=False)] == ["warn"]


@pytest.mark.parametrize(
    ("ahead", "level"), [(0.5, "ok"), (-1.9, "ok"), (90, "warn"), (-9, "warn")]
)
def test_clocks_that_differ(ahead, level):
    assert [one.level for one in judge.skew("x", ahead, "its clock")] == [level]


# -- probes that fail -------------------------------------------------------------------------


def test_a_probe_that_gets_no_answer_is_left_behind():
    never, others = threading.Event(), []

    def hangs() -> Iterator[finding.Finding]:
        yield finding.Finding("x", "first", finding.OK, "fine")
        never.wait(60)

    one = finding.Round("x", patience=0.1)
    assert not one.do("second", hangs)
    assert not one.do("third", lambda: others)
    never.set()
    assert [(found.check, found.level) for found in one.findings] == [
        ("first", "ok"),
        ("second", "bad"),
    ]
    assert "no answer within 0.1 seconds" in one.findings[1].found


@pytest.mark.parametrize("patience", [5.0, None])
def test_a_probe_that_fails_is_a_finding(patience):
    def fails(error: BaseException) -> Iterator[finding.Finding]:
        yield finding.Finding("x", "first", finding.OK, "fine")
        raise error

    one = finding.Round("x", patience)
    assert not one.do("second", lambda: fails(ValueError("no sense")))
    assert not one.do("third", lambda: fails(OSError(5, "anything")))
    assert not one.do("full", lambda: fails(OSError(28, "anything")))
    assert not one.do("full as well", lambda: fails(OSError(122, "anything")))
    told = [(found.check, found.found) for found in one.findings if found.level != "ok"]
    assert [check for check, _ in told] == ["second", "third", "room"]
    assert "no sense" in told[0][1] and "Input/output error" in told[1][1]
    with pytest.raises(KeyboardInterrupt):
        one.do("end", lambda: fails(KeyboardInterrupt()))


def test_a_mount_whose_server_is_gone(doctor, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "LEAST", 0.3)
    with hung(tmp_path / "mount"):
        report = doctor(f":{tmp_path}/mount", f":{tmp_path}")
    assert report.levels(f":{tmp_path}/mount") == {"answers": "bad"}
    assert "does not answer" in report[f":{tmp_path}/mount"]["answers"]["found"]
    assert set(report[f":{tmp_path}"]) >= LOCAL, "the others are probed"


def test_one_that_is_interrupted_leaves_nothing(worker, tmp_path):
    variables = worker.env.variables()
    program = str(shutil.which("avocado", path=variables["PATH"]))
    process = subprocess.Popen(
        # who starts the tests in the background has it ignored
        ["env", "--default-signal=INT", program, "pool", "doctor", f":{tmp_path}"],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    appears(tmp_path)
    process.send_signal(signal.SIGINT)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == 8 and b"interrupted" in problems and b"Traceback" not in problems
    assert list(tmp_path.iterdir()) == []


def appears(pool: Path) -> None:
    """Wait for a probe's working directory."""
    deadline = time.monotonic() + 60
    while not list(pool.glob(f"{workplace.PREFIX}*")):
        assert time.monotonic() < deadline
        time.sleep(0.001)


# -- hosts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", remote.KINDS)
def test_each_kind_of_host(doctor, tmp_path, kind):
    pool = tmp_path / "a pool"
    pool.mkdir()
    where = f"lab:{pool}"
    report = doctor(where, ssh_config=remote.server(kind).lab("doctor"))
    levels = report.levels(where)
    assert set(levels) >= FAR
    assert levels["python3"] == ("ok" if kind == "python" else "note")
    assert ("rsync" in levels) == (kind != "plain")
    fine = FAR - {"python3", "reflink", "free space", "upload", "download"}
    assert {check: levels[check] for check in fine} == dict.fromkeys(fine, "ok"), report[where]
    assert list(pool.iterdir()) == []


def test_other_directories_of_a_host(doctor, tmp_path):
    config = remote.server("python").lab("doctor")
    full, ro, file = tmp_path / "full", tmp_path / "ro", tmp_path / "file"
    file.write_text("")
    ro.mkdir()
    places = [f"lab:{path}" for path in (tmp_path / "a" / "b", ro, file)]
    with mounted("tmpfs", full, 8) as pool, read_only(ro):
        fill(pool, 0)
        report = doctor(*places, f"lab:{pool}", ssh_config=config)
        assert sorted(path.name for path in pool.iterdir()) == ["hog"]
    assert report[places[0]]["directory"]["level"] == "warn"
    assert report[places[1]]["writable"]["level"] == "warn"
    assert report[places[2]]["directory"]["level"] == "bad"
    assert report.levels(f"lab:{pool}")["room"] == "bad"
    assert report.levels(f"lab:{pool}")["free space"] == "bad"
    assert report.settings == {"set_mirrors": "any"}
    assert not (tmp_path / "a").exists()


def test_a_host_that_nobody_answers_at(doctor, tmp_path):
    server = remote.server("python")
    known = f"Host gone\nHostName {ADDRESS}\nPort {free_port()}\n"
    report = doctor(
        f"gone:{tmp_path}", f":{tmp_path}", ssh_config=server.client_config("off", known)
    )
    assert report.levels(f"gone:{tmp_path}") == {"login": "bad"}
    assert "Connection refused" in report[f"gone:{tmp_path}"]["login"]["found"]
    assert set(report[f":{tmp_path}"]) >= LOCAL, "the others are probed"


def test_a_connection_that_breaks(doctor, tmp_path):
    """It is told once, and what was made over there is removed by way of a new one."""
    pool = tmp_path / "pool"
    pool.mkdir()
    with Sshd(tmp_path / "sshd") as server:

        def cut() -> None:
            appears(pool)
            server.kill_connections()

        cutter = threading.Thread(target=cut)
        cutter.start()
        report = doctor(f"lab:{pool}", ssh_config=server.lab("doctor"))
        cutter.join()
    bad = [one for one in report[f"lab:{pool}"].values() if one["level"] == "bad"]
    assert len(bad) == 1 and "host lab" in bad[0]["found"]
    assert list(pool.iterdir()) == []


@pytest.mark.parametrize("name", SHELLS)
def test_the_far_side_in_each_shell(tmp_path, name):
    work = tmp_path / f"{workplace.PREFIX}{durable.new_token()}"
    old = tmp_path / f"{workplace.PREFIX}{durable.new_token()}"
    old.mkdir()
    os.utime(old, (0, 0))
    with far(SHELLS[name]) as shell:
        probe = Probe(shell, str(work))
        there = probe.place(str(tmp_path))
        room = os.statvfs(tmp_path)
        assert there.directory and there.mode == tmp_path.stat().st_mode & 0o7777
        assert there.room[1] == room.f_blocks * room.f_frsize and there.room[3] == room.f_files
        above = probe.place(str(tmp_path / "x" / "y"))
        assert not above.there and above.above == str(tmp_path) and above.above_writable
        assert probe.make() == "" and (work / ".pool").is_dir() and not old.exists()
        assert probe.make() == "File exists"
        assert probe.rename() == (40, "")
        able = probe.files()
        assert able.links and able.sparse and able.sparse[0] < able.sparse[1]
        times = probe.times()
        assert len(times) > 1 and sorted(times) == times
        assert probe.stamps(0.05) == (True, True)
        probe.nothing()
        probe.drop()
        assert list(tmp_path.iterdir()) == []
        Probe(shell, str(tmp_path)).drop()
        assert tmp_path.exists(), "only what is ours is removed"


@pytest.mark.parametrize("name", SHELLS)
def test_a_torn_file_over_there_is_told(tmp_path, name):
    """A mv that removes first: what a rename over a file must not be."""
    bad = tmp_path / "bin"
    bad.mkdir()
    (bad / "mv").write_text('#!/bin/sh\nrm -f "$4"; sleep 0.02; exec /bin/mv "$@"\n')
    (bad / "mv").chmod(0o755)
    work = tmp_path / f"{workplace.PREFIX}{durable.new_token()}"
    command = ["env", f"PATH={bad}:{os.environ['PATH']}", *SHELLS[name]]
    with far(command) as shell:
        probe = Probe(shell, str(work))
        probe.make()
        assert probe.rename() == (40, "absent")


def test_a_directory_over_there_that_goes_while_it_is_looked_at(tmp_path):
    bad, pool = tmp_path / "bin", tmp_path / "pool"
    bad.mkdir()
    pool.mkdir()
    (bad / "stat").write_text('#!/bin/sh\n[ "$1" != -f ] || rmdir "$5"\nexec /bin/stat "$@"\n')
    (bad / "stat").chmod(0o755)
    with far(["env", f"PATH={bad}:{os.environ['PATH']}", "dash"]) as shell:
        assert not Probe(shell, "").place(str(pool)).there


def test_a_lock_over_there_that_somebody_has_is_no_trouble(doctor, tmp_path):
    """Probes have locks of their own."""
    with lock_holder(tmp_path / "vm1" / "image1" / "a.qcow2"):
        report = doctor(f"lab:{tmp_path}", ssh_config=remote.server("plain").lab("doctor"))
    assert report.levels(f"lab:{tmp_path}")["locks"] == "ok"


# -- this host --------------------------------------------------------------------------------


def only(directory: Path, *programs: str) -> str:
    """Return a PATH with these programs."""
    directory.mkdir()
    for name in programs:
        (directory / name).symlink_to(shutil.which(name) or name)
    return str(directory)


def test_missing_programs_are_told(doctor, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", only(tmp_path / "bin", "tcpdump", "ssh", "timeout"))
    report = doctor()
    assert report["Avocado-VT"]["nc"]["level"] == "warn"
    assert "netcat-openbsd" in report["Avocado-VT"]["nc"]["advice"]
    levels = report.levels("Avocado-VT")
    assert (levels["tcpdump"], levels["ssh"], levels["ip"]) == ("ok", "ok", "note")
    assert report["QEMU"]["qemu-img"]["level"] == "bad"
    assert report["QEMU"]["emulator"]["level"] == "warn"


def test_a_netcat_without_unix_sockets(doctor, tmp_path, monkeypatch):
    path = only(tmp_path / "bin", "tcpdump")
    nc = tmp_path / "bin" / "nc"
    nc.write_text("#!/bin/sh\necho 'usage: nc [-options] hostname port' >&2; exit 1\n")
    nc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path}:/bin")
    found = doctor()["Avocado-VT"]["nc"]
    assert found["level"] == "warn" and "-U" in found["found"]


#: Stands in for a QEMU that is newer than the one here.
NEW_QEMU = """#!/bin/sh
case $1 in
--version) echo 'QEMU emulator version 9.1.0 (Debian)'; exit ;;
esac
while read -r line; do
    case $line in
    *'"query-migrate-capabilities"'*) echo '{"id": "query-migrate-capabilities", "return": [
        {"capability": "mapped-ram", "state": false}]}' | tr -d '\\n'; echo ;;
    *) echo '{"return": {}}' ;;
    esac
done
"""


def test_what_a_qemu_can_do_is_asked(tmp_path):
    new = tmp_path / "qemu"
    new.write_text(NEW_QEMU)
    new.chmod(0o755)
    here = {one.check: one for one in qemu.tools(qemu.find_emulator())}
    there = {one.check: one for one in qemu.tools(str(new))}
    assert "9.1.0" in there["emulator"].found and there["mapped-ram"].level == "ok"
    major = int(here["emulator"].found.split()[-1].split(".")[0])
    assert here["mapped-ram"].level == ("ok" if major >= 9 else "note")
    new.write_text("#!/bin/sh\nexit 3\n")
    assert [one.level for one in qemu.tools(str(new)) if one.check == "emulator"] == ["bad"]


def test_pitfalls_of_avocado(tmp_path):
    def levels(**changed: str) -> dict[str, str]:
        return {one.check: one.level for one in vt.settings(vt.Facts(str(tmp_path), **changed))}

    assert levels() == {"vt-bootstrap": "warn", "remove_image": "note"}
    downloads = tmp_path / "virttest" / "test-providers.d" / "downloads"
    downloads.mkdir(parents=True)
    assert levels()["vt-bootstrap"] == "warn"
    (downloads / "tests").touch()
    config = tmp_path / "tests.cfg"
    for line, level in (("remove_image = yes", "note"), ("  remove_image_image1 = no", "ok")):
        config.write_text(f"include base.cfg\n{line}\n")
        assert levels(vt_config=str(config)) == {"vt-bootstrap": "ok", "remove_image": level}
    assert levels(tmp_dir="/tmp/x", spawner="podman").items() >= {
        ("tmp_dir", "warn"),
        ("spawner", "note"),
    }


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [("113.0", ">=113.0", True), ("112.9", ">=113.0", False), ("81.0.1", "<81", False),
     ("80.9", "<81", True), ("4.10", ">=4.2", True), ("113", ">=113.0", True)],
)  # fmt: skip
def test_versions_are_compared_as_numbers(version, wanted, fits):
    [(how, number)] = vt._NUMBER.findall(wanted)
    assert vt._fits(version, how, number) == fits


def test_nothing_runs_on(worker, tmp_path):
    """No process of a probe outlives it, nor one that was killed."""
    worker.avocado("pool", "doctor", "--json")
    assert running(worker) == []
    variables = worker.env.variables()
    program = str(shutil.which("avocado", path=variables["PATH"]))
    process = subprocess.Popen(
        [program, "pool", "doctor", f":{tmp_path}"], env=variables, stdout=subprocess.DEVNULL
    )
    appears(tmp_path)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while running(worker):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def running(worker: Worker) -> list[str]:
    """Return the processes that live in the environment of a worker."""
    mark = f"VIRTUAL_ENV={worker.env.venv}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text())
    return found
