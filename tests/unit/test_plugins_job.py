import json
import logging
import os
from types import SimpleNamespace

import pytest
from avocado.core.exceptions import JobBaseException
from avocado.core.output import LOG_UI

from avocado_pool_plugin.plugins import job as plugin
from avocado_pool_plugin.plugins.sums import summary, sums
from avocado_pool_plugin.plugins.text import EVENTS_FILE, human_size
from avocado_pool_plugin.states.report import Event


def a_job(results, **config):
    return SimpleNamespace(
        config=config, test_suites=[], test_results_path=str(results), logdir=str(results)
    )


def recorded(results, test, *lines):
    directory = results / test
    directory.mkdir(parents=True)
    (directory / EVENTS_FILE).write_text("".join(line + "\n" for line in lines))


def event(verb, size=0, hit=None):
    return json.dumps(Event(verb, "s", "vm1/image1", size, 0.1, "/x", hit).as_dict())


def on_terminal(caplog):
    return [record.getMessage() for record in caplog.records if record.name == LOG_UI.name]


@pytest.mark.parametrize("where", ["job", "suite"])
def test_a_bad_value_ends_the_job_before_its_tests(tmp_path, where):
    bad = {"pool.verify": "never"}
    job = a_job(tmp_path, **(bad if where == "job" else {}))
    job.test_suites = [SimpleNamespace(config=bad if where == "suite" else {})]
    with pytest.raises(JobBaseException, match=r"option 'verify'.*'never'"):
        plugin.PoolJob().pre(job)


def test_a_job_without_states_is_not_held_to_anything(tmp_path):
    plugin.PoolJob().pre(a_job(tmp_path, **{"pool.off": True, "pool.verify": "never"}))


def test_the_summary_counts_what_all_tests_did(tmp_path, caplog):
    recorded(tmp_path, "1-a[x]", event("got"), event("fetched", 48 * 2**20), event("set", 5))
    recorded(tmp_path, "2-b", event("got"), event("published", 1024), '{"error": "no"}', '{"ver')
    with caplog.at_level(logging.INFO, logger="avocado.app"):
        plugin.PoolJob().post(a_job(tmp_path))
    assert on_terminal(caplog) == [
        "POOL       : 2 got, 1 fetched (48.0 MiB), 1 set, 1 published (1.0 KiB), 1 error, 0.5 s"
    ]


def test_gets_that_fetched_are_told_from_those_that_did_not():
    gets = [json.loads(event("got", hit=hit)) for hit in (True, True, True, False, False, None)]
    assert summary(gets) == "6 got (3 hits, 2 misses), 0.6 s"
    assert summary(gets[:1]) == "1 got (1 hit), 0.1 s"
    assert summary(gets[3:4]) == "1 got (1 miss), 0.1 s"
    numbers = sums(gets, [{"reused": 2}, {"reused": 3}])
    assert (numbers["hits"], numbers["misses"], numbers["reused"]) == (3, 2, 5)
    assert sums([{"error": "no"}], []) == {**dict.fromkeys(numbers, 0), "errors": 1}
    assert sums([], [{"reused": 0}]) == {}


def test_there_is_no_summary_where_nothing_was_done(tmp_path, caplog):
    (tmp_path / "1-a").mkdir()
    path = results_of(tmp_path, '{"total": 1}')
    plugin.PoolResult().render(None, a_job(tmp_path))
    with caplog.at_level(logging.INFO, logger="avocado.app"):
        plugin.PoolJob().post(a_job(tmp_path))
        plugin.PoolJob().post(a_job(tmp_path / "absent"))
    assert caplog.messages == [] and path.read_text() == '{"total": 1}'


def test_output_that_others_claim_is_left_to_them(tmp_path, caplog):
    recorded(tmp_path, "1-a", event("got"))
    with caplog.at_level(logging.INFO, logger="avocado.app"):
        plugin.PoolJob().post(a_job(tmp_path, stdout_claimed_by="--json"))
    assert on_terminal(caplog) == []


def results_of(directory, text):
    path = directory / "results.json"
    path.write_text(text)
    path.chmod(0o640)
    return path


def test_numbers_are_added_to_the_results_once_whoever_comes_first(tmp_path):
    recorded(tmp_path, "1-a", event("fetched", 10), event("got", hit=False))
    path = results_of(tmp_path, '{"tests": [], "total": 1}')
    plugin.PoolResult().render(None, a_job(tmp_path))
    found = path.read_bytes()
    assert json.loads(found)["pool"]["misses"] == 1 and json.loads(found)["total"] == 1
    assert path.stat().st_mode & 0o777 == 0o640
    plugin.PoolJob().post(a_job(tmp_path))
    assert path.read_bytes() == found
    # Avocado's own plugin came later, as its configuration may say
    results_of(tmp_path, '{"total": 1}')
    plugin.PoolJob().post(a_job(tmp_path))
    assert json.loads(path.read_text())["pool"] == json.loads(found)["pool"]
    assert sorted(os.listdir(tmp_path)) == ["1-a", "results.json"]


@pytest.mark.parametrize("text", ['{"tests": [', "[1]", ""])
def test_results_that_make_no_sense_stay_as_they_are(tmp_path, text, caplog):
    recorded(tmp_path, "1-a", event("got"))
    path = results_of(tmp_path, text)
    plugin.PoolResult().render(None, a_job(tmp_path))
    plugin.PoolJob().post(a_job(tmp_path))
    assert path.read_text() == text
    (told,) = on_terminal(caplog)
    assert told.startswith(f"what was done with states is missing in {path}: ")
    assert sorted(os.listdir(tmp_path)) == ["1-a", "results.json"]


@pytest.mark.parametrize(
    "size, text",
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (2**30, "1.0 GiB"), (2**52, "4096.0 TiB")],
)
def test_sizes_are_told_as_people_read_them(size, text):
    assert human_size(size) == text


def test_what_graph_runs_spared_is_told_too(tmp_path, caplog):
    recorded(tmp_path, "1-a", event("got"))
    for name, reused, saved in (("pool-graph", 3, 61.5), ("pool-graph-other", 0, 0)):
        (tmp_path / f"{name}.json").write_text(
            json.dumps({"reused": reused, "saved_seconds": saved})
        )
    (tmp_path / "pool-graph-cut.json").write_text('{"reused": 1')
    with caplog.at_level(logging.INFO, logger="avocado.app"):
        plugin.PoolJob().post(a_job(tmp_path))
    assert "1 got, 0.1 s, 3 reused (saves 62 s)" in caplog.text
