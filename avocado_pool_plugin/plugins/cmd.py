"""The command ``avocado pool``; its sub-commands are in the package ``commands``."""

import functools
import sys
from argparse import RawDescriptionHelpFormatter
from typing import Any, NoReturn

from avocado.core import exit_codes
from avocado.core.output import LOG_UI
from avocado.core.plugin_interfaces import CLICmd

from avocado_pool_plugin.core.errors import (
    LocationRefused,
    NameRefused,
    PoolError,
    SettingRefused,
)
from avocado_pool_plugin.plugins.commands import COMMANDS
from avocado_pool_plugin.plugins.commands.command import FAILED, MISUSED, Command
from avocado_pool_plugin.plugins.connections import close_connections
from avocado_pool_plugin.plugins.options import check_files, check_values
from avocado_pool_plugin.plugins.text import accept_all_names, end_output

_COMMANDS = {command.name: command for command in COMMANDS}


class Pool(CLICmd):
    """Runs the sub-command that is asked for."""

    name = "pool"
    description = "States of virtual machines in the cache and in shared pools"

    def configure(self, parser: Any) -> None:
        """Add the sub-commands."""
        own = super().configure(parser)
        own.error = functools.partial(_misused, own)
        actions = own.add_subparsers(dest="pool_subcommand", metavar="sub-command")
        actions.required = True
        for command in COMMANDS:
            sub = actions.add_parser(
                command.name,
                help=command.help,
                description=command.help,
                epilog=_examples(command),
                formatter_class=RawDescriptionHelpFormatter,
            )
            sub.error = functools.partial(_misused, sub)
            # for those that take what another command of Avocado takes
            sub.commands = parser.subcommands.choices
            command.configure(sub)

    def run(self, config: dict[str, Any]) -> int:
        """
        Run a sub-command.

        :return: 0: all is fine, 1: something was found or failed, 2: the command was used wrongly,
            8: interrupted (as of all commands of Avocado)
        """
        command = _COMMANDS[config["pool_subcommand"]]
        accept_all_names()
        try:
            if command.checked:
                check_files()
                check_values(config)
            status = command.run(config)
            sys.stdout.flush()
            return status
        except (NameRefused, LocationRefused, SettingRefused) as error:
            LOG_UI.error("%s", error)
            return MISUSED
        except PoolError as error:
            LOG_UI.error("%s", error)
            return FAILED
        except BrokenPipeError:
            end_output()  # as of '| head', which has enough
            return FAILED
        except OSError as error:
            if error.filename is not None:
                raise
            end_output()
            LOG_UI.error("output can't be written: %s; give it another place", error.strerror)
            return FAILED
        except KeyboardInterrupt:
            LOG_UI.error("interrupted; what is in place is whole, run the command again")
            return int(exit_codes.AVOCADO_JOB_INTERRUPTED)
        finally:
            close_connections()


def _examples(command: Command) -> str:
    """Return what the help of a sub-command ends with."""
    return "\n".join(("examples:", *(f"  avocado pool {line}" for line in command.examples)))


def _misused(parser: Any, message: str) -> NoReturn:
    """End the program because of wrong arguments; Avocado's own parser has another status."""
    LOG_UI.error("%s: %s; see '%s --help'", parser.prog, message, parser.prog)
    parser.exit(MISUSED)
    raise AssertionError
