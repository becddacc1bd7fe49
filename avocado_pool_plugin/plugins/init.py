"""Makes the options of section ``[pool]`` known to Avocado."""

from avocado.core.plugin_interfaces import Init
from avocado.core.settings import settings

from avocado_pool_plugin.params.options import OPTIONS, SECTION
from avocado_pool_plugin.plugins.options import OFF


class PoolInit(Init):
    """Registers the options with their defaults."""

    name = "pool"
    description = "Options of VM test states"

    def initialize(self) -> None:
        """
        Register every option as text.

        Avocado would turn what it can't convert into a traceback or a default; text is read where
        file and option can be named (:mod:`avocado_pool_plugin.plugins.options`).
        """
        for option in OPTIONS:
            settings.register_option(
                section=SECTION,
                key=option.name,
                key_type=str,
                default=option.default,
                help_msg=option.help,
            )
        settings.register_option(
            section=SECTION,
            key=OFF,
            key_type=bool,
            default=False,
            help_msg="Run tests as if the plugin for VM test states was not installed",
        )
