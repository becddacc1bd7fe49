import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from avocado_pool_plugin.core import digest, durable, knowledge, layout, records
from avocado_pool_plugin.core.errors import FileChanging, FileCorrupt, ImageRefused
from avocado_pool_plugin.core.place import new_info, place
from avocado_pool_plugin.core.policy import Policy
from avocado_pool_plugin.core.recipe import Recipe
from avocado_pool_plugin.core.records import FileInfo, Record, Stamp
from tests.support.images import MIB, chain, edit, image, qemu_img, write
from tests.support.mounts import read_only
from tests.support.places import POLICY, digest_of, put, put_image, settle

CONTENT = b"content" * 700_000  # 4.7 MiB


@pytest.fixture
def reads(monkeypatch):
    """The sizes of all files that are hashed."""
    done: list[int] = []
    real = digest.digest_fd

    def counting(fd, size, *more):
        done.append(size)
        return real(fd, size, *more)

    monkeypatch.setattr(knowledge, "digest_fd", counting)
    return done


def identify(path: Path, policy: Policy = POLICY, seen_dir: Path | None = None):
    return knowledge.identify(str(path), policy, str(seen_dir) if seen_dir else None)


# records


def test_records_read_back_as_written(pool):
    path = str(pool.ram("s"))
    recipe = Recipe.of({"param mem": "192", "param b": ""})
    info = FileInfo(5, "b3t1m:ab", "b3t1m:cd", "parent", "b3t1m:ef", "pg", "g", recipe, 1.5, "me")
    record = Record(info, Stamp(1, 5, 2, 3), Stamp(1, 5, 2, 4))
    durable.make_meta(path)
    for written in (record, Record(FileInfo(7), Stamp(1, 2, 3, 4), None)):
        records.write_record(path, written, fsync=True)
        assert records.read_record(path) == written
    name = records.write_pending(path, record, fsync=True)
    assert records.pending_names(path) == [name] and records.read_pending(path) == [record]
    records.drop_records(path)
    assert records.read_candidates(path) == []


def test_records_hold_a_map_of_digests_by_algorithm(pool):
    path = pool.ram("s")
    put(path, b"x")
    data = json.loads(Path(layout.record_path(str(path))).read_text())
    assert set(data["digests"]) == {"b3t1m"}
    data["digests"]["sha256"] = "00"
    Path(layout.record_path(str(path))).write_text(json.dumps(data))
    assert identify(path).digest == digest_of(path)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"format": 1}', '"text"', "\0" * 300,
                                    '{"format": 1, "stamp": 3, "made_as": {}}'])  # fmt: skip
def test_a_damaged_record_is_no_record(pool, reads, damage):
    path = pool.ram("s")
    put(path, CONTENT)
    settle(path)
    Path(layout.record_path(str(path))).write_text(damage)
    assert records.read_record(str(path)) is None
    found = identify(path)
    assert found.digest == digest_of(path)
    assert identify(path) == found and identify(path) == found
    assert reads == [len(CONTENT)], "adopted once, then known"


def test_a_record_of_a_later_version_is_not_written_over(pool):
    path = pool.ram("s")
    put(path, CONTENT)
    later = '{"format": 2, "more": true}'
    Path(layout.record_path(str(path))).write_text(later)
    assert identify(path).digest == digest_of(path)
    assert Path(layout.record_path(str(path))).read_text() == later


def test_records_of_names_that_begin_alike_stay_apart(pool):
    """A state whose name looks like a pending record of another is still a state of its own."""
    one, other = pool.ram("a"), pool.ram("a.state.next-0123456789abcdef")
    put(one, b"one")
    put(other, b"other")
    assert records.pending_names(str(one)) == []
    records.drop_records(str(one))
    assert records.read_record(str(other)) is not None


# what a file is


def test_an_absent_file_is_none_and_a_directory_is_refused(pool):
    assert identify(pool.ram("s")) is None
    pool.ram("s").mkdir(parents=True)
    with pytest.raises(ImageRefused):
        identify(pool.ram("s"))


def test_a_file_without_record_is_adopted_once_and_hashed_once(on_disk, reads):
    path = on_disk / "vm1" / "s.state"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    settle(path)
    found = identify(path)
    assert found.digest == digest_of(path) and found.size == len(CONTENT)
    assert [identify(path) for _ in range(3)] == [found] * 3
    assert reads == [len(CONTENT)]
    record = records.read_record(str(path))
    assert record and record.info == found and record.stamp is not None


def test_a_fresh_state_is_known_without_reading_it(on_disk, reads):
    path = on_disk / "s.state"
    info = put(path, CONTENT)
    assert identify(path) == info
    assert knowledge.peek(str(path)).fresh
    assert reads == []


def test_an_unread_state_is_hashed_once_by_whoever_reads_it_first(on_disk, reads):
    path = on_disk / "s.state"
    info = put(path, CONTENT, hashed=False)
    assert info.digest is None and not knowledge.peek(str(path)).fresh
    found = identify(path)
    assert found.digest == digest_of(path) and found.generation == info.generation
    assert identify(path) == found
    assert reads == [len(CONTENT)]


def test_a_warm_look_reads_no_content(pool, monkeypatch):
    path = pool.ram("s")
    put(path, CONTENT, hashed=False)
    settle(path)
    found = identify(path)
    real = os.open
    opened: list[str] = []

    def watched(name, *args, **more):
        opened.append(os.fspath(name))
        return real(name, *args, **more)

    monkeypatch.setattr(os, "open", watched)
    assert identify(path) == found
    assert str(path) not in opened


def test_always_reads_always(pool, reads):
    path = pool.ram("s")
    put(path, CONTENT)
    for _ in range(2):
        assert identify(path, Policy(verify="always")).digest == digest_of(path)
    assert reads == [len(CONTENT)] * 2


@pytest.mark.parametrize("at", [0, MIB + 5, len(CONTENT) - 1])
@pytest.mark.parametrize("keep_mtime", [True, False])
@pytest.mark.parametrize("hashed", [True, False])
def test_changed_content_is_corrupt_even_with_its_old_mtime(on_disk, at, keep_mtime, hashed):
    path = on_disk / "s.state"
    info = put(path, CONTENT, hashed=hashed)
    edit(path, at, b"X", keep_mtime)
    with pytest.raises(FileCorrupt, match=r"s\.state") as caught:
        identify(path)
    assert caught.value.expected == info.digest
    assert digest_of(path) in str(caught.value)
    with pytest.raises(FileCorrupt):  # seeing it did not make it good
        identify(path)
    assert records.read_record(str(path)).info == info


@pytest.mark.parametrize("hashed", [True, False])
def test_content_truncated_past_the_first_mib_is_corrupt(on_disk, hashed):
    path = on_disk / "s.state"
    put(path, CONTENT, hashed=hashed)
    os.truncate(path, len(CONTENT) - 1)
    with pytest.raises(FileCorrupt):
        identify(path)


@pytest.mark.parametrize("read_before", [True, False])
@pytest.mark.parametrize("hashed", [True, False])
def test_a_commit_into_a_read_only_state_is_found(pool, tmp_path, hashed, read_before):
    (source,) = chain(tmp_path, "base")
    path = pool.state("base")
    put_image(source, path, hashed=hashed)
    assert path.stat().st_mode & 0o777 == 0o444
    if read_before:
        identify(path)
    overlay = write(image(tmp_path / "overlay.qcow2", backing=str(path)), 9)
    qemu_img("commit", "-q", overlay)
    with pytest.raises(FileCorrupt):
        identify(path)


def test_a_file_put_in_place_of_a_state_by_hand_is_corrupt(pool):
    path = pool.ram("s")
    put(path, CONTENT)
    path.unlink()
    path.write_bytes(CONTENT[:-1] + b"X")
    with pytest.raises(FileCorrupt):
        identify(path)
    path.write_bytes(CONTENT)
    assert identify(path).digest == digest_of(path), "the recorded content again is good"


@pytest.mark.parametrize("change", [lambda p: p.chmod(0o400), lambda p: os.link(p, f"{p}.backup")])
def test_a_mode_or_a_backup_link_does_no_harm_to_a_hashed_state(pool, change):
    path = pool.ram("s")
    info = put(path, CONTENT)
    change(path)
    assert identify(path) == info


def test_knowledge_about_links_is_kept_with_the_file(pool, cache, reads):
    path, link = pool.ram("s"), cache.ram("s")
    put(path, CONTENT, hashed=False)
    link.parent.mkdir(parents=True)
    link.symlink_to(path)
    assert identify(link).digest == identify(path).digest
    assert reads == [len(CONTENT)]
    assert not (link.parent / ".pool").exists()


@pytest.mark.parametrize("recorded", [True, False])
def test_knowledge_about_a_read_only_pool_is_kept_elsewhere(on_disk, tmp_path, reads, recorded,
                                                           monkeypatch):  # fmt: skip
    path, seen = on_disk / "pool" / "s.state", tmp_path / "seen"
    if recorded:
        put(path, CONTENT, hashed=False)
    else:
        path.parent.mkdir()
        path.write_bytes(CONTENT)
    monkeypatch.setattr(knowledge, "_OLD", 0)  # no clock to ask there: do not wait 2 seconds
    settle(path)
    before = sorted(on_disk.rglob("*"))
    with read_only(on_disk / "pool"):
        found = identify(path, seen_dir=seen)
        assert found.digest == digest_of(path)
        assert [identify(path, seen_dir=seen).digest for _ in range(3)] == [found.digest] * 3
        assert reads == [len(CONTENT)]
        assert identify(path).digest == found.digest, "without it: read again, but no error"
        assert len(reads) == 2
    assert sorted(on_disk.rglob("*")) == before
    edit(path, 5, b"X", keep_mtime=True)
    if recorded:
        with pytest.raises(FileCorrupt):
            identify(path, seen_dir=seen)
    else:
        assert identify(path, seen_dir=seen).digest == digest_of(path) != found.digest


# races


def test_a_file_replaced_while_it_is_read_is_read_again(pool, monkeypatch):
    path = pool.ram("s")
    put(path, CONTENT, hashed=False)
    real, meddled = digest.digest_fd, []

    def meddle(fd, size, *more):
        found = real(fd, size, *more)
        if not meddled:
            meddled.append(put(path, b"another" * 9, hashed=False))
        return found

    monkeypatch.setattr(knowledge, "digest_fd", meddle)
    found = identify(path)
    assert found.generation == meddled[0].generation and found.digest == digest_of(path)


def test_a_file_written_to_all_the_time_is_an_error(pool, monkeypatch):
    path = pool.ram("s")
    put(path, CONTENT, hashed=False)
    real = digest.digest_fd

    def meddle(fd, size, *more):
        edit(path, 0, os.urandom(4))
        return real(fd, size, *more)

    monkeypatch.setattr(knowledge, "digest_fd", meddle)
    with pytest.raises(FileChanging, match=r"s\.state"):
        identify(path)


def test_a_commit_between_two_looks_at_records_is_no_corruption(pool, monkeypatch):
    """A reader that saw the old committed record must not miss the new one as it moves."""
    path = pool.ram("s")
    put(path, CONTENT)
    info = FileInfo(**{**vars(new_info(3)), "digest": None})
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(b"new")
        info = FileInfo(**{**vars(info), "digest": digest_of(Path(part))})
        record = Record(info, Stamp.of(os.stat(part)))
        pending = records.write_pending(str(path), record, fsync=False)
        os.rename(part, path)
    looks = []

    def after_the_first_look(real):
        def look(*args):
            found = real(*args)
            if not looks:
                looks.append(1)
                records.write_record(str(path), record, fsync=False)
                durable.unlink(pending)
            return found

        return look

    for name in ("read_record", "read_pending"):
        monkeypatch.setattr(records, name, after_the_first_look(getattr(records, name)))
    with path.open("rb") as file:
        stamp = Stamp.of(os.fstat(file.fileno()))
    assert knowledge.judge(str(path), digest_of(path), stamp, None) == info


def test_a_state_being_replaced_is_good_before_and_after_the_rename(pool, monkeypatch):
    path = pool.ram("s")
    for hashed in (True, False):
        put(path, CONTENT, hashed=hashed)
        seen = []
        real = os.rename

        def rename(source, target, path=path, seen=seen, real=real):
            seen.append(identify(path).digest)
            real(source, target)
            seen.append(identify(path).digest)

        monkeypatch.setattr(os, "rename", rename)
        old = digest_of(path)
        put(path, CONTENT + b"more", hashed=False)
        assert seen == [old, digest_of(path)]
        monkeypatch.undo()


def test_a_writer_that_died_before_its_rename_says_nothing_about_other_files(pool):
    """avocado-i2n may upload a file where one of ours never arrived: it is adopted, not corrupt."""
    path = pool.ram("s")
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(b"never in place")
        record = Record(new_info(14), Stamp.of(os.stat(part)))
        records.write_pending(str(path), record, fsync=False)
        path.write_bytes(CONTENT)
        assert identify(path).digest == digest_of(path)
        settle(path)
        edit(path, 4, b"X", keep_mtime=True)
        with pytest.raises(FileCorrupt):
            identify(path)


def test_a_file_whose_writer_died_after_its_rename_is_told_from_a_damaged_one(pool):
    path = pool.ram("s")
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(CONTENT)
        record = Record(new_info(len(CONTENT)), Stamp.of(os.stat(part)))
        records.write_pending(str(path), record, fsync=False)
        os.rename(part, path)
    assert knowledge.peek(str(path)).info.generation == record.info.generation
    edit(path, 4, b"X")
    with pytest.raises(FileCorrupt):
        identify(path)


def test_equal_content_of_an_older_record_does_not_hide_a_later_change(pool):
    """Found by the model: a writer died before it committed, and set what was there before."""
    path = pool.ram("s")
    put(path, CONTENT, hashed=False)
    identify(path)
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(CONTENT)
        record = Record(new_info(len(CONTENT)), Stamp.of(os.stat(part)))
        records.write_pending(str(path), record, fsync=False)
        os.rename(part, path)
    assert identify(path).generation == record.info.generation
    edit(path, 4, b"X", keep_mtime=True)
    with pytest.raises(FileCorrupt):
        identify(path)


def test_an_unread_state_survives_a_replacement_that_died_before_its_rename(pool, monkeypatch):
    """What a replacement does to the old file's stamp (a link in the trash) is no corruption."""
    path = pool.ram("s")
    info = put(path, CONTENT, hashed=False)

    class DiedError(BaseException):
        pass

    def die(source, target):
        raise DiedError

    monkeypatch.setattr(os, "rename", die)
    with pytest.raises(DiedError):
        put(path, b"new")
    monkeypatch.undo()
    found = identify(path)
    assert found.generation == info.generation and found.digest == digest_of(path)


def test_what_is_known_is_never_trusted_too_early(pool, monkeypatch):
    """Where the clock has not moved on since a change, another change could look the same."""
    path = pool.ram("s")
    stopped = []

    def clock(directory):
        return os.stat(path).st_ctime_ns if path.exists() else 0

    monkeypatch.setattr(durable, "clock", clock)
    put(path, CONTENT)
    assert records.read_record(str(path)).stamp is None
    assert not knowledge.peek(str(path)).fresh
    identify(path)
    assert not knowledge.peek(str(path)).fresh
    monkeypatch.undo()
    settle(path)
    identify(path)
    assert knowledge.peek(str(path)).fresh and not stopped


@pytest.mark.stress
def test_several_writers_of_unlike_content_leave_one_of_them(pool, locks_on_and_off):
    path = pool.ram("s")
    contents = [bytes([65 + n]) * (100_000 + n) for n in range(4)]
    put(path, b"first")
    failures: list[BaseException] = []

    def work(content: bytes) -> None:
        try:
            for _ in range(6):
                put(path, content)
                identify(path)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_bytes() in contents
    assert identify(path).digest == digest_of(path)
    put(path, b"last")
    assert records.read_record(str(path)).info.digest == digest_of(path)


SCRIPT = """
import sys
from pathlib import Path
from tests.support.places import POLICY, put
from avocado_pool_plugin.core import knowledge
path, mine = Path(sys.argv[1]), sys.argv[2].encode() * 50_000
for turn in range(8):
    put(path, mine, hashed=turn % 2 == 0)
    knowledge.identify(str(path), POLICY)
"""


@pytest.mark.stress
def test_several_processes_writing_unlike_content_leave_one_of_them(pool):
    path = pool.ram("s")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, path, mine], stderr=subprocess.PIPE, text=True
        )
        for mine in ("a", "bb", "ccc", "dddd")
    ]
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors
    content = path.read_bytes()
    assert content in [mine * 50_000 for mine in (b"a", b"bb", b"ccc", b"dddd")]
    assert identify(path).digest == digest_of(path)


def test_place_keeps_what_it_replaces(pool):
    path = pool.ram("s")
    put(path, b"old")
    put(path, b"new")
    trash = Path(layout.trash_dir(str(path)))
    (kept,) = [entry for entry in trash.iterdir() if not entry.name.endswith(".json")]
    assert kept.read_bytes() == b"old"
    assert json.loads(Path(f"{kept}.json").read_text())["size"] == 3


def test_longest_names_work_everywhere(pool):
    path = pool.ram("x" * 200)
    path = path.with_name("x" * 200 + ".qcow2")
    for content in (b"one", b"two"):
        put(path, content)
    assert identify(path).digest == digest_of(path)
    with durable.new_part(str(path)) as part:
        Path(part).write_bytes(b"three")
        place(part, str(path), new_info(5), POLICY)
    assert identify(path).digest == digest_of(path)


def test_a_reader_that_records_a_file_first_makes_it_corrupt_for_nobody(pool, monkeypatch):
    """The other one's record comes when it was just looked for records to compare with."""
    path = pool.ram("s")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENT)
    candidates, read = records.read_candidates, digest.digest_fd
    steps: list[str] = []

    def reading(*args):
        steps.append("read")
        return read(*args)

    def looking(name):
        found = candidates(name)
        if steps == ["read"]:
            steps.append("other")
            assert identify(path).digest == digest_of(path)
        return found

    monkeypatch.setattr(knowledge, "digest_fd", reading)
    monkeypatch.setattr(records, "read_candidates", looking)
    assert identify(path).digest == digest_of(path)
    assert steps == ["read", "other", "read"]
    assert records.read_record(str(path)) is not None


@pytest.mark.parametrize("replaced", [False, True])
def test_what_is_gone_when_it_was_read_gets_no_record(pool, replaced):
    """It would be taken for the record of whatever comes to that place."""
    path = pool.ram("s")
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    digest, stamp = knowledge.read_digest(str(path), None)
    path.unlink()
    if replaced:
        path.write_bytes(CONTENT[1:])
    assert knowledge.judge(str(path), digest, stamp, None).digest == digest
    assert records.read_record(str(path)) is None
