import json
import logging
from types import SimpleNamespace

import pytest
from avocado.core.exceptions import JobBaseException

from avocado_pool_plugin.plugins import job as plugin
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


def event(verb, size=0):
    return json.dumps(Event(verb, "s", "vm1/image1", size, 0.1, "/x").as_dict())


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
    assert caplog.messages == [
        "POOL       : 2 got, 1 fetched (48.0 MiB), 1 set, 1 published (1.0 KiB), 1 error"
    ]


def test_there_is_no_summary_where_nothing_was_done(tmp_path, caplog):
    (tmp_path / "1-a").mkdir()
    with caplog.at_level(logging.INFO, logger="avocado.app"):
        plugin.PoolJob().post(a_job(tmp_path))
        plugin.PoolJob().post(a_job(tmp_path / "absent"))
    assert caplog.messages == []


def test_output_that_others_claim_is_left_to_them(tmp_path, caplog):
    recorded(tmp_path, "1-a", event("got"))
    with caplog.at_level(logging.INFO, logger="avocado.app"):
        plugin.PoolJob().post(a_job(tmp_path, stdout_claimed_by="--json"))
    assert caplog.messages == []


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
    assert "1 got, 3 reused (saves 62 s)" in caplog.text
