import configparser
import subprocess
import sys
from types import SimpleNamespace

import pytest
from avocado.core.parser import ArgumentParser
from avocado.core.settings import Settings

from avocado_pool_plugin.core.errors import SettingRefused
from avocado_pool_plugin.params import cache_limit, pool_limit
from avocado_pool_plugin.params.options import OPTIONS, job_params
from avocado_pool_plugin.params.values import size
from avocado_pool_plugin.plugins import cli, cmd, init, options
from avocado_pool_plugin.plugins.settings import POOL_CONF, PoolSettings


@pytest.fixture
def configured(tmp_path, monkeypatch):
    """Return a function that gives Avocado a configuration file and returns its settings."""
    file = tmp_path / "etc" / "avocado" / "avocado.conf"
    file.parent.mkdir(parents=True)
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))

    def read(text):
        file.write_text(text)
        settings = Settings()
        for module in (init, options, cli):
            monkeypatch.setattr(module, "settings", settings)
        init.PoolInit().initialize()
        settings.merge_with_configs()
        return SimpleNamespace(settings=settings, path=str(file))

    return read


def test_the_shipped_file_has_every_option_at_its_default():
    parser = configparser.ConfigParser()
    parser.read(POOL_CONF)
    expected = {option.name: option.default for option in OPTIONS}
    assert dict(parser["pool"]) == {**expected, "off": "no"}


def test_the_shipped_file_explains_every_option_in_one_line():
    with open(POOL_CONF, encoding="utf-8") as file:
        lines = file.read().splitlines()
    for number, line in enumerate(lines):
        if "=" in line and not line.startswith("#"):
            assert lines[number - 1].startswith("# ")


def test_the_shipped_file_is_overridden_by_all_others():
    paths = ["/etc/avocado/avocado.conf", "/etc/avocado/conf.d/pool.conf"]
    PoolSettings().adjust_settings_paths(paths)
    assert paths == [POOL_CONF, "/etc/avocado/avocado.conf", "/etc/avocado/conf.d/pool.conf"]


def test_options_are_known_with_default_and_help(configured):
    known = configured("").settings.as_full_dict()
    for option in OPTIONS:
        assert known[f"pool.{option.name}"]["default"] == option.default
        assert known[f"pool.{option.name}"]["help"] == option.help
    assert known["pool.off"]["default"] is False


def test_options_of_a_file_become_the_params_of_the_same_meaning(configured):
    got = configured("[pool]\nshared_pool = :/a b;\nlock_timeout = 7\n")
    values = got.settings.as_dict()
    params = job_params(values)
    assert params["shared_pool"] == ":/a b;"
    assert params["update_pool_timeout"] == "7"
    # what is empty is left to its default
    assert "swarm_pool" not in params
    options.check_files()
    options.check_values(values)


def test_an_unknown_option_names_the_file_and_the_option(configured):
    got = configured("[pool]\nverrify = always\n")
    with pytest.raises(SettingRefused, match=r"'verrify'.*unknown") as caught:
        options.check_files()
    assert str(caught.value).startswith(got.path + ": ")


@pytest.mark.parametrize(
    "line",
    [
        "verify = sometimes",
        "fsync = perhaps",
        "lock_timeout = -1",
        "pool_scope = mine",
        "set_mirrors = some",
        "swarm_pool = here",
        "shared_pool = a/b",
        "cache_limit = much",
        "pool_limit = 0",
    ],
)
def test_a_nonsensical_value_names_the_file_and_the_option(configured, line):
    got = configured(f"[pool]\n{line}\n")
    name, _, value = line.partition(" = ")
    with pytest.raises(SettingRefused, match=f"{name!r}.*{value!r}, expected") as caught:
        options.check_values(got.settings.as_dict())
    assert str(caught.value).startswith(got.path + ": ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("4096", 4096),
        ("1B", 1),
        ("2k", 2000),
        ("500GiB", 500 << 30),
        ("500 gib", 500 << 30),
        ("200 GB", 200 * 10**9),
        ("1.5TiB", 3 << 39),
        ("0.1MB", 100_000),
    ],
)
def test_a_size(text, expected):
    assert size(text) == expected
    assert cache_limit({"cache_limit": text}) == pool_limit({"pool_limit": text}) == expected


@pytest.mark.parametrize("text", ["0", "0.0001B", "-1", "iB", "1iB", "5 XiB", "1e3", "1 2", "GiB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="500GiB"):
        size(text)
    with pytest.raises(SettingRefused, match="cache_limit"):
        cache_limit({"cache_limit": text})


def test_a_value_from_elsewhere_is_not_blamed_on_a_file(configured):
    got = configured("[pool]\nverify = always\n")
    values = {**got.settings.as_dict(), "pool.verify": "sometimes"}
    with pytest.raises(SettingRefused, match=r"^command line or job: option 'verify'"):
        options.check_values(values)


def test_an_unknown_option_of_a_job_is_refused(configured):
    values = {**configured("").settings.as_dict(), "pool.cache": "/x"}
    with pytest.raises(SettingRefused, match=r"^job configuration: option 'cache'"):
        options.check_values(values)


def test_the_switch_is_yes_or_no(configured):
    assert options.is_off(configured("[pool]\noff = yes\n").settings.as_dict())
    configured("[pool]\noff = maybe\n")
    with pytest.raises(SettingRefused, match=r"'off'.*'maybe', expected yes or no"):
        options.check_files()


def test_defaults_for_all_sections_are_no_unknown_options(configured):
    configured("[DEFAULT]\nbase = /x\n[pool]\nverify = always\n")
    options.check_files()


def test_a_remote_location_is_a_legal_value(configured):
    got = configured("[pool]\nshared_pool = backup:/states :/near\n")
    options.check_values(got.settings.as_dict())


def test_the_command_line_wins_over_files(configured):
    got = configured("[pool]\nshared_pool = :/file\npool_scope = own\n")
    parser = ArgumentParser()
    subcommands = parser.add_subparsers(dest="subcommand")
    run = subcommands.add_parser("run")
    # Avocado configures commands first; this one has two of the same arguments
    cmd.Pool().configure(SimpleNamespace(subcommands=subcommands))
    cli.PoolRun().configure(SimpleNamespace(subcommands=subcommands))
    arguments = ["run", "--pool-location", ":/line", "--pool-lock-timeout", "9", "--pool-off"]
    got.settings.merge_with_arguments(vars(parser.parse_args(arguments)))
    values = got.settings.as_dict()
    assert values["pool.shared_pool"] == ":/line"
    assert values["pool.pool_scope"] == "own"
    assert values["pool.lock_timeout"] == "9"
    assert values["pool.off"] is True
    assert "--pool-cache" in run.format_help()


def test_what_avocado_imports_at_its_start_is_cheap():
    modules = ("init", "settings", "cli", "cmd", "test", "job")
    heavy = ("virttest", "rich", "blake3", "filelock", "aexpect")
    heavy += tuple(f"avocado_pool_plugin.{part}" for part in ("states", "upkeep", "ssh", "qemu"))
    code = (
        "import sys\n"
        # what Avocado itself and other plugins load is not ours
        "import avocado.core.job, avocado.core.plugin_interfaces\n"
        "before = set(sys.modules)\n"
        f"for name in {modules}: __import__('avocado_pool_plugin.plugins.' + name)\n"
        "after = set(sys.modules) - before\n"
        f"print([name for name in {heavy} if name in after])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
