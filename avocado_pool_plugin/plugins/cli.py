"""Options of ``avocado run``."""

import warnings
from typing import Any

from avocado.core.plugin_interfaces import CLI
from avocado.core.settings import settings

from avocado_pool_plugin.graph.resolve import PARALLEL_WARNING
from avocado_pool_plugin.params.options import SECTION
from avocado_pool_plugin.plugins.runner import NAME

#: Option of ``[pool]``, its name on the command line, what stands for the value in the help.
_ARGUMENTS = (
    ("shared_pool", "--pool-location", "LOCATION"),
    ("swarm_pool", "--pool-cache", "DIRECTORY"),
    ("pool_scope", "--pool-scope", "SCOPES"),
    ("lock_timeout", "--pool-lock-timeout", "SECONDS"),
    ("ssh_config", "--pool-ssh-config", "FILE"),
    ("ssh_timeout", "--pool-ssh-timeout", "SECONDS"),
    ("ssh_host_keys", "--pool-ssh-host-keys", "POLICY"),
    ("off", "--pool-off", None),
)
#: The same, of commands that name these options.
_MORE = (
    ("cache_limit", "--cache-limit", "SIZE"),
    ("pool_limit", "--pool-limit", "SIZE"),
)
#: The options about hosts of remote pools.
SSH = ("ssh_config", "ssh_timeout", "ssh_host_keys")


def add_arguments(parser: Any, *names: str) -> None:
    """
    Add command line arguments of ``[pool]`` options to an argparse parser.

    :param names: the options, those of ``avocado run`` if there is none
    """
    for option, argument, metavar in (*_ARGUMENTS, *_MORE):
        if option in names or (not names and (option, argument, metavar) in _ARGUMENTS):
            settings.add_argparser_to_option(
                namespace=f"{SECTION}.{option}",
                parser=parser,
                long_arg=argument,
                metavar=metavar,
                allow_multiple=True,
            )


class PoolRun(CLI):
    """Adds what is set for one job to ``avocado run``."""

    name = "pool"
    description = "VM test state options for 'run'"

    def configure(self, parser: Any) -> None:
        """Add the arguments, if there is a command they belong to."""
        run = parser.subcommands.choices.get("run", None)
        if run is not None:
            add_arguments(run.add_argument_group("VM test state options"))

    def run(self, config: dict[str, Any]) -> None:
        """
        Hide a warning that is wrong for graph runs.

        Values are not checked here but once, for jobs of every origin, when a job starts.
        """
        if config.get("run.suite_runner") == NAME:
            warnings.filterwarnings("ignore", message=PARALLEL_WARNING)
