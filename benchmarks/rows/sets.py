"""A set on the same file system: of a small and of a large image, and beside what others do."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.lab import Lab, fill, tool
from benchmarks.measure import Contender, Samples, alternate, settle, start_over, sync
from benchmarks.rows.bench import Bench
from benchmarks.table import SLACK, Row, effort, versus

#: MiB of data in the image that others copy.
_SIZE = 512


def rows(bench: Bench) -> Iterator[Row]:
    """Yield both rows."""
    yield _sizes(bench)
    yield _beside(bench)


def _sizes(bench: Bench) -> Row:
    """The time does not depend on the size."""
    from avocado_pool_plugin.states import setup

    found: dict[str, Samples] = {}
    for name, size in (("100 MiB", 100), ("10 GiB", 10240)):
        lab = _with_template(Lab(bench.xfs / f"set{size}"), size)

        def before(lab: Lab = lab) -> None:
            start_over(0, lab.cache, lab.image)
            tool("cp", "--reflink=always", lab.root / "template.qcow2", lab.image)
            settle(0)

        params = lab.params(set_state_images="s", pool_scope="own")
        work = Contender(partial(setup.set_states, params), before)
        found[name] = alternate({name: work}, bench.runs)[name]
        shutil.rmtree(lab.root)
    small, large = found.values()
    return Row(
        "set, same file system, 10 GiB beside 100 MiB",
        "equal within noise, <= 0.1 s",
        str(large),
        f"100 MiB {small}",
        f"{large.median / small.median:.2f} x; {effort(large)}",
        large.median > SLACK * small.median,
        found,
    )


def _beside(bench: Bench) -> Row:
    """Others copy the image: here where no blocks can be shared."""
    from avocado_pool_plugin.states import setup

    lab = _with_template(Lab(bench.ext4 / "set"), _SIZE)
    theirs = lab.plain("peer")
    copy, template = lab.root / "copy", lab.root / "template.qcow2"

    def before(image: str) -> None:
        start_over(2, lab.cache, copy, Path(theirs["cache"]), lab.image, Path(theirs["image"]))
        tool("cp", "--sparse=always", template, image)
        settle(1)

    def cp() -> None:
        tool("cp", "--sparse=always", lab.image, copy)
        sync(copy)

    params = lab.params(set_state_images="s", pool_scope="own")
    mine = partial(before, str(lab.image))
    found = alternate(
        {
            "ours": Contender(partial(setup.set_states, params), mine),
            "cp": Contender(cp, mine),
            "avocado-i2n": Contender(
                lambda: bench.peer.ask("save", **theirs), partial(before, theirs["image"])
            ),
        },
        bench.runs,
    )
    shutil.rmtree(lab.root)
    note = f"avocado-i2n, no fsync, {found['avocado-i2n']}"
    work, aim = f"set of an image with {_SIZE} MiB, ext4, fsync", "<= 0.1 s"
    return versus(work, aim, found, 1, note=note, short="set of 512 MiB, ext4")


def _with_template(lab: Lab, size: int) -> Lab:
    """Make an image with ``size`` MiB of data, to be copied for each run."""
    lab.image.parent.mkdir(parents=True)
    template = lab.root / "template.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", template, "20G")
    fill(template, 0, 100)
    for at in range(100, size, 1014):  # QEMU takes less than 2 GiB at once
        tool("qemu-io", "-f", "qcow2", "-c", f"write -q {at}M 1014M", template)
    return lab
