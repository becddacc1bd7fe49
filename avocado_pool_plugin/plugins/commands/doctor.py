"""``avocado pool doctor``: what caches, pools and this host can do, found out by trying."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from avocado_pool_plugin.core.location import Location
from avocado_pool_plugin.params import cache_dir, host, one_mirror_is_enough
from avocado_pool_plugin.params.options import OPTIONS, SECTION, job_params
from avocado_pool_plugin.plugins.commands.command import FAILED, FINE, Command, add_json
from avocado_pool_plugin.plugins.commands.places import ALL, add_places, chosen
from avocado_pool_plugin.plugins.text import print_json, print_table

if TYPE_CHECKING:
    from avocado_pool_plugin.upkeep.doctor.directory import Look
    from avocado_pool_plugin.upkeep.doctor.finding import Finding

_COLUMNS = ("check", "level", "found", "advice")


def _configure(parser: Any) -> None:
    parser.add_argument(
        "pool_places",
        nargs="*",
        metavar="LOCATION",
        help="What to look at, named as for --at",
    )
    add_places(parser, "all, QEMU and Avocado-VT")
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    params = job_params(config)
    found: list[Finding] = []
    for findings in _rounds(config, params):
        found += findings
        if not config.get("pool_json"):
            _show(findings)
    settings = _settings(found, params)
    if config.get("pool_json"):
        told = [
            {"where": one.place, **{name: getattr(one, name) for name in _COLUMNS}} for one in found
        ]
        print_json({"findings": told, "settings": settings})
    else:
        _sum_up(found, settings)
    return FAILED if any(finding.serious for finding in found) else FINE


def _rounds(config: Mapping[str, Any], params: Mapping[str, str]) -> "Iterator[list[Finding]]":
    """Yield what is found, one place after the other."""
    cache = Location(cache_dir(params))
    asked = [*(config.get("pool_places") or ()), *(config.get("pool_at") or ())]
    places = chosen({**config, "pool_at": asked or [ALL]})
    # a host that can't be one is told of before anything is probed
    hosts = {place: host(place.label, params) for place in places if place.remote}
    enough = one_mirror_is_enough(params)
    from avocado_pool_plugin.upkeep.doctor import directory

    for place in places:
        if place in hosts:
            # what is local loads nothing of it
            from avocado_pool_plugin.upkeep.doctor import remote

            yield remote.examine(place, hosts[place], enough)
        else:
            is_cache, also = place.path == cache.path, _beside(place, cache.path)
            one = directory.Directory(str(place), place.path, is_cache, enough, also)
            yield directory.examine(one)
    if not asked:
        yield from _this_host(config)


def _beside(place: Location, cache: str) -> "tuple[tuple[str, Look], ...]":
    """Return what else is to be found out about a local place."""
    from avocado_pool_plugin.upkeep.doctor import qemu, relation

    if place.path != cache:
        return (("to the cache", relation.to_cache(cache, place)),)
    images = ("VM images", relation.from_images(os.path.join(_vt_data(), "images")))
    emulator = qemu.find_emulator()
    return (images, ("image locks", qemu.image_locks(emulator))) if emulator else (images,)


def _this_host(config: Mapping[str, Any]) -> "Iterator[list[Finding]]":
    from avocado_pool_plugin.upkeep.doctor import qemu, vt
    from avocado_pool_plugin.upkeep.doctor.finding import Round

    emulator = qemu.find_emulator()
    done = Round(qemu.PLACE)
    done.do("programs", lambda: qemu.tools(emulator))
    done.do("KVM", lambda: qemu.kvm(emulator))
    yield done.findings
    facts = vt.Facts(
        _vt_data(),
        config.get("vt.common.tmp_dir") or "",
        config.get("run.spawner") or "process",
        config.get("vt.config") or "",
    )
    done = Round(vt.PLACE)
    done.do("programs", vt.programs)
    done.do("settings", lambda: vt.settings(facts))
    done.do("packages", vt.versions)
    yield done.findings


def _vt_data() -> str:
    """Return Avocado-VT's data directory without loading that."""
    from avocado.core import data_dir

    return os.path.join(data_dir.get_data_dir(), "avocado-vt")


def _settings(found: "Sequence[Finding]", params: Mapping[str, str]) -> dict[str, str]:
    """Return the options that would help, as far as they are not set so."""
    wanted: dict[str, str] = {}
    for finding in found:
        wanted.update(finding.settings)
    current = {option.name: params.get(option.param) or option.default for option in OPTIONS}
    return {name: value for name, value in wanted.items() if current[name] != value}


def _show(findings: "Sequence[Finding]") -> None:
    for place, group in groupby(findings, key=lambda one: one.place):
        sys.stdout.write(f"{place}\n")
        print_table(_COLUMNS, [[getattr(one, name) for name in _COLUMNS] for one in group])
        sys.stdout.write("\n")
        sys.stdout.flush()


def _sum_up(found: "Sequence[Finding]", settings: Mapping[str, str]) -> None:
    serious = [finding for finding in found if finding.serious]
    if settings:
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        sys.stdout.write(f"settings to use:\n[{SECTION}]\n{lines}\n")
    things = "thing" if len(serious) == 1 else "things"
    told = f"{len(serious)} {things} to look after" if serious else "all is well"
    sys.stdout.write(f"{told}, {len(found)} looked at\n")


DOCTOR = Command(
    name="doctor",
    help="Try out what the cache, the pools and this host can do",
    examples=(
        "doctor",
        "doctor :/srv/pool",
        "doctor --at pools",
        "doctor 'store:/srv/pool' --pool-ssh-timeout 10 --json",
    ),
    configure=_configure,
    run=_run,
)
