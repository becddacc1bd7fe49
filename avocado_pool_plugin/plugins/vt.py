"""
What is done for states inside the process of an Avocado-VT test.

Avocado-VT calls four hooks: before vms are created, once they run, before they are stopped, after
they are gone. States of images belong to the outer two, states of running vms to the inner two.
"""

import json
import logging
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from typing import Any

from avocado.core.exceptions import TestError
from virttest import env_process

from avocado_pool_plugin.core import since
from avocado_pool_plugin.plugins import vt_asked, vt_images, vt_machines, vt_user
from avocado_pool_plugin.plugins.connections import close_connections
from avocado_pool_plugin.plugins.test import ERROR_PARAM, USER_HOOK_PARAM
from avocado_pool_plugin.plugins.text import EVENTS_FILE

LOG = logging.getLogger("avocado." + __name__)

#: Types of objects whose states are dealt with while vms are off, and while they run.
_OFF_SKIPS = "nets vms"
_ON_SKIPS = "images"
#: Types that are left out where it is about vms that are started from files.
_OF_FILES_SKIPS = "nets images"


def install(test: Any, params: Any) -> None:
    """
    Take part in a test that asks for states; called by ``vt_hook.py`` before anything else.

    The user's own hook file is executed first and what it assigns to Avocado-VT's hooks goes on
    working: it is called before what is done here, and what it did to states is not done again.

    :raises TestError: the states could not be prepared when the test was scheduled
    """
    # four lines for each lock in a test's log help nobody
    logging.getLogger("filelock").setLevel(logging.INFO)
    since.begin()
    hooks = StateHooks()
    if params.get(ERROR_PARAM):
        with hooks.reported(test):
            raise TestError(params[ERROR_PARAM])
    if params.get(USER_HOOK_PARAM):
        vt_user.execute(params[USER_HOOK_PARAM], test, params)
    hooks.wrap()


class StateHooks:
    """
    The four hooks for one test.

    :ivar failed: something went wrong on the way out, so nothing is saved any more
    """

    def __init__(self) -> None:
        from avocado_pool_plugin.states import report

        self.failed = False
        self._users: dict[str, Callable[..., None] | None] = {}
        self._held = vt_images.HeldBack()
        self._starts = Starts()
        self._done = vt_user.Done()
        self._optional: dict[tuple[str, str], vt_images.Stamp] = {}
        self._alone = ExitStack()
        self._whole: dict[str, vt_images.Stamp] = {}
        self._report = report
        self._told = len(report.events())
        self._error: Exception | None = None

    def wrap(self) -> None:
        """Put the hooks around those that are there, but never around those of another test."""
        for name, ours in (
            ("preprocess_vm_off_hook", self.pre_off),
            ("preprocess_vm_on_hook", self.pre_on),
            ("postprocess_vm_on_hook", self.post_on),
            ("postprocess_vm_off_hook", self.post_off),
        ):
            there = getattr(env_process, name)
            owner = getattr(there, "__self__", None)
            self._users[name] = owner._users[name] if isinstance(owner, StateHooks) else there
            setattr(env_process, name, ours)

    def pre_off(self, test: Any, params: Any, env: Any) -> None:
        """Get the states of images, and keep Avocado-VT from undoing it."""
        prepare = cache(partial(self._prepare, test, params, env))
        elsewhere = self._call_user("preprocess_vm_off_hook", test, params, env, prepare)
        prepare()
        with self.reported(test):
            _states(params, env, _OFF_SKIPS, "get", "pop", but=elsewhere)
            self._starts.prepare(params, env)
            vt_images.keep_got(params, self._optional)

    def _prepare(self, test: Any, params: Any, env: Any) -> None:
        """Do what comes before anything is done with states, by us or by the user's hook."""
        from avocado_pool_plugin.states import requests, setup
        from avocado_pool_plugin.states.recover import recover_states

        with self.reported(test):
            vt_images.refuse_unsavable(params)
            self._alone = vt_images.keep_for_itself(params)
            self._held.hold(params)
            vt_machines.stop_leftovers(params, env)
            # what a killed test left half done comes first: an image may seem to be missing
            recover_states(params)
            setup.check_requests(params, *requests.VERBS)
            self._optional = vt_images.stamps_of_optional(params)

    def pre_on(self, test: Any, params: Any, env: Any) -> None:
        """Get the states of running vms."""
        with self.reported(test):
            self._starts.finish(params, env)
        elsewhere = self._call_user("preprocess_vm_on_hook", test, params, env)
        if vt_asked.vm_wanted(params, "get", "pop"):
            with self.reported(test):
                own = vt_asked.but_vms(params, self._starts.vms)
                _states(own, env, _ON_SKIPS, "get", "pop", but=elsewhere)

    def post_on(self, test: Any, params: Any, env: Any) -> None:
        """Save the states of running vms, then stop those whose images are to be saved."""
        elsewhere = self._call_user("postprocess_vm_on_hook", test, params, env)
        vt_machines.abandon_none(params)
        if not self._passed(params):
            return
        with self.reported(test):
            if vt_asked.vm_wanted(params, *vt_asked.LEAVING):
                _states(params, env, _ON_SKIPS, *vt_asked.SAVING, but=elsewhere)
                later = vt_asked.started_from_files(params, "unset")
                _states(vt_asked.but_vms(params, later), env, _ON_SKIPS, "unset", but=elsewhere)
            for vm in vt_machines.to_stop(params, env):
                vt_machines.verify_guest(test, params, env.get_vm(vm))
                if vt_machines.shut_down(env.get_vm(vm), params.object_params(vm)):
                    self._note_whole(params, vm)

    def post_off(self, test: Any, params: Any, env: Any) -> None:
        """Save the states of images if the test passed; restore and remove images in any case."""
        verify = cache(partial(self._verify, test, params, env))
        try:
            elsewhere = self._call_user("postprocess_vm_off_hook", test, params, env, verify)
            verify()
            if self._passed(params):
                with self.reported(test):
                    _states(params, env, _OFF_SKIPS, *vt_asked.LEAVING, but=elsewhere)
                    gone = vt_asked.started_from_files(params, "unset")
                    own = vt_asked.only_vms(params, gone)
                    _states(own, env, _OF_FILES_SKIPS, "unset", but=elsewhere)
        finally:
            problems = self._held.release(test, params, env)
            self._alone.close()
            close_connections()
        if problems:
            with self.reported(test):
                raise TestError("; ".join(problems))

    def _passed(self, params: Any) -> bool:
        return params.get("test_passed") == "True" and not self.failed

    def _call_user(
        self,
        name: str,
        test: Any,
        params: Any,
        env: Any,
        before: Callable[[], None] = lambda: None,
    ) -> set[str]:
        """
        Call the user's hook, if there is one; if it fails, nothing of ours may be saved.

        :param before: called before our policies do anything for it
        :return: verbs that it did by other policies than ours
        """
        hook = self._users.get(name)
        if not callable(hook):
            return set()
        try:
            with self._done.by_user(before) as elsewhere:
                hook(test, params, env)
        except BaseException:
            self.failed = True
            if self._done.begun:
                with self.reported(test):
                    raise
            raise
        return elsewhere

    def _verify(self, test: Any, params: Any, env: Any) -> None:
        """Make sure that images which are about to be saved are whole, and nobody uses them."""
        if not self._passed(params):
            return
        with self.reported(test):
            # Avocado-VT starts a vm again to take back what it did to a guest's kernel parameters
            for vm in vt_machines.to_stop(params, env):
                env.get_vm(vm).destroy(gracefully=False)
            for vm, image in vt_asked.to_save(params):
                self._check(params, vm, image)

    def _note_whole(self, params: Any, vm: str) -> None:
        """Remember that images were closed cleanly, as long as nothing is written to them."""
        for name, image in vt_asked.to_save(params):
            if name == vm and vt_asked.is_ours(params, vm, image):
                path = vt_asked.path_of(params, vm, image)
                self._whole[path] = vt_images.stamp(path)

    def _check(self, params: Any, vm: str, image: str) -> None:
        """Check an image, unless its guest shut down cleanly and no check is asked for."""
        if not vt_asked.is_ours(params, vm, image):
            return
        path = vt_asked.path_of(params, vm, image)
        asked = vt_asked.params_of(params, vm, image).get("check_image") == "yes"
        now = vt_images.stamp(path)
        # one that is absent is refused in other words
        if now is not None and (asked or self._whole.get(path) != now):
            vt_machines.check_image(path, f"image {image!r} of {vm!r} ({path})")

    @contextmanager
    def reported(self, test: Any) -> Iterator[None]:
        """Note an error, and add it and all events since the last time to the test's results."""
        lines: list[dict[str, Any]] = []
        try:
            with self._done.by_us():
                yield
        except Exception as error:
            self.failed = True
            # one of ours may come by once more, from the user's hook
            if error is not self._error:
                LOG.error("%s", error)
                lines.append({"error": str(error)})
            self._error = error
            raise
        finally:
            events = self._report.events()
            lines = [event.as_dict() for event in events[self._told :]] + lines
            self._told = len(events)
            _append(os.path.join(test.logdir, EVENTS_FILE), lines)


class Starts:
    """
    Vms that Avocado-VT starts from RAM files instead of booting them.

    :ivar vms: their names
    """

    def __init__(self) -> None:
        self.vms: list[str] = []
        self._waiting: list[Any] = []

    def prepare(self, params: Any, env: Any) -> None:
        """Get the states of vms that have to be there before the vms are started."""
        self.vms = vt_asked.started_from_files(params, *vt_asked.GETTING)
        if not self.vms:
            return
        from avocado_pool_plugin.states import restoring

        own = vt_asked.only_vms(params, self.vms)
        own[restoring.LATER_PARAM] = "yes"
        _states(own, env, _OF_FILES_SKIPS, *vt_asked.GETTING)
        self._waiting = restoring.waiting()
        for start in self._waiting:
            params.update(start.params())

    def finish(self, params: Any, env: Any) -> None:
        """Let the guests go on where they were saved."""
        if not self._waiting:
            return
        from avocado_pool_plugin.states import restoring

        while self._waiting:
            start = self._waiting.pop()
            vm = env.get_vm(start.vm)
            for key, _ in start.params():
                params.pop(key, None)
            try:
                restoring.resume(vm, start)
            finally:
                os.close(start.fd)


def _append(path: str, lines: list[dict[str, Any]]) -> None:
    if lines:
        with open(path, "a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


def _states(
    params: Any, env: Any, skips: str, *verbs: str, but: Collection[str] = frozenset()
) -> None:
    """Do what the verbs stand for, but some of them, on all objects but those of some types."""
    from avocado_pool_plugin.states import requests, setup

    own = params.copy()
    own["skip_types"] = f"{params.get('skip_types', '')} {skips}".strip()
    for verb in verbs:
        if verb not in but and requests.asked(params, verb):
            getattr(setup, f"{verb}_states")(own, env)
