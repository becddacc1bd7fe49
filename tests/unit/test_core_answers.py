import threading
import time

import pytest

from avocado_pool_plugin.core import answers
from avocado_pool_plugin.core.errors import PoolSilent
from tests.support.hosts import hung


def test_what_answers_is_not_waited_for(tmp_path):
    started = time.monotonic()
    for directory in (tmp_path, tmp_path / "nowhere", tmp_path / "name\udcff"):
        answers.require_answer(str(directory), 300)
    assert time.monotonic() - started < 5
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    answers.require_answer(str(loop), 300)


def test_what_hangs_is_left_after_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "LEAST", 0.2)
    with hung(tmp_path / "mount"):
        for timeout, waited in ((0.0, 0.2), (0.5, 0.5)):
            started = time.monotonic()
            with pytest.raises(PoolSilent, match=f"mount does not answer, waited {waited:g} s"):
                answers.require_answer(str(tmp_path / "mount"), timeout)
            assert waited <= time.monotonic() - started < waited + 5
    left = [thread for thread in threading.enumerate() if "look at" in thread.name]
    for thread in left:
        thread.join(10)
    assert not any(thread.is_alive() for thread in left)


def test_a_program_can_end_while_a_look_hangs(tmp_path):
    from tests.support.processes import python

    code = (
        "import sys; from avocado_pool_plugin.core import answers\n"
        "answers.LEAST = 0.2\n"
        "try: answers.require_answer(sys.argv[1], 0)\n"
        "except TimeoutError as error: print(error)\n"
    )
    with hung(tmp_path / "mount"):
        said, problems = python(code, tmp_path / "mount").communicate(timeout=30)
    assert "does not answer" in said and problems == ""
