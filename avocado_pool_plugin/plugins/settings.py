"""Lets Avocado find the configuration file that is installed with the package."""

import os

from avocado.core.plugin_interfaces import Settings

#: The file with every option at its default, installed as data of the package.
POOL_CONF = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "etc",
    "avocado",
    "conf.d",
    "pool.conf",
)


class PoolSettings(Settings):
    """Adds the package's ``pool.conf`` to the files Avocado reads."""

    name = "pool"
    description = "Configuration file of VM test states"

    def adjust_settings_paths(self, paths: list[str]) -> None:
        """Put the file first: later files win, and /etc and the user's file have to."""
        paths.insert(0, POOL_CONF)
