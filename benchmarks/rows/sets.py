"""A set on the same file system, of a small and of a large image."""

import shutil
from collections.abc import Iterator
from functools import partial

from benchmarks.lab import Lab, fill, tool
from benchmarks.measure import Contender, Samples, alternate, settle, start_over
from benchmarks.rows.bench import Bench
from benchmarks.table import SLACK, Row, effort


def rows(bench: Bench) -> Iterator[Row]:
    """Yield the row."""
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
    yield Row(
        "set, same file system, 10 GiB beside 100 MiB",
        "equal within noise, <= 0.1 s",
        str(large),
        f"100 MiB {small}",
        f"{large.median / small.median:.2f} x; {effort(large)}",
        large.median > SLACK * small.median,
    )


def _with_template(lab: Lab, size: int) -> Lab:
    """Make an image with ``size`` MiB of data, to be copied for each run."""
    lab.image.parent.mkdir(parents=True)
    template = lab.root / "template.qcow2"
    tool("qemu-img", "create", "-q", "-f", "qcow2", template, "20G")
    fill(template, 0, 100)
    for at in range(100, size, 1014):  # QEMU takes less than 2 GiB at once
        tool("qemu-io", "-f", "qcow2", "-c", f"write -q {at}M 1014M", template)
    return lab
