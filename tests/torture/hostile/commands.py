"""``avocado pool`` in this process: what the program does once Avocado has started it."""

from typing import Any

from avocado.core.parser import ArgumentParser

from avocado_pool_plugin.plugins import cmd

#: What a sub-command may end with.
STATUSES = (0, 1, 2)


class Commands:
    """The sub-commands; the configuration of the machine is of no concern."""

    def __init__(self) -> None:
        # the files of this machine are not what is at stake
        cmd.check_files = lambda: None
        self._parser: Any = ArgumentParser(prog="avocado")
        self._parser.subcommands = self._parser.add_subparsers(dest="subcommand")
        cmd.Pool().configure(self._parser)
        others = self._parser.subcommands.add_parser("run")
        others.add_argument("--vt-config", dest="vt.config")
        others.add_argument("--max-parallel-tasks", dest="run.max_parallel_tasks", type=int)
        others.add_argument("--dry-run", dest="run.dry_run.enabled", action="store_true")

    def run(self, *words: str) -> int:
        """Run a command line after ``avocado pool``; return its exit status."""
        try:
            found, unknown = self._parser.parse_known_args(["pool", *words])
            # Avocado has the parser of "pool" tell of these
            status = 2 if unknown else cmd.Pool().run(vars(found))
        except SystemExit as error:
            status = int(error.code or 0)
        assert status in STATUSES, f"avocado pool {words} ended with {status}"
        return status
