"""What pip installs from here."""

import subprocess
import sys
import zipfile
from pathlib import Path

from avocado_pool_plugin.params.options import OPTIONS

CHECKOUT = Path(__file__).resolve().parents[2]


def test_wheel_has_configuration_types_and_entry_points(tmp_path: Path) -> None:
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    ).stdout.split(b"\0")
    for name in filter(None, map(bytes.decode, tracked)):
        if (CHECKOUT / name).is_file() and name.split("/")[0] not in ("tests", "docs"):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((CHECKOUT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        conf = wheel.read("avocado_pool_plugin/etc/avocado/conf.d/pool.conf").decode()
        points = wheel.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "avocado_pool_plugin/py.typed" in names
    assert {f"{option.name} = {option.default}".strip() for option in OPTIONS} <= {
        line.strip() for line in conf.splitlines()
    }
    for group in ("init", "settings", "cli", "cli.cmd", "test.pre", "test.post", "job.prepost"):
        assert f"[avocado.plugins.{group}]" in points
    for backend in ("qcow2", "qcow2ext", "qcow2vt"):
        assert f"\n{backend} = " in points.partition("[avocado.plugins.states]")[2]
