"""The sub-commands of ``avocado pool``, in the order of its help."""

from avocado_pool_plugin.plugins.commands.backends import BACKENDS
from avocado_pool_plugin.plugins.commands.command import Command
from avocado_pool_plugin.plugins.commands.graph import GRAPH
from avocado_pool_plugin.plugins.commands.list import LIST
from avocado_pool_plugin.plugins.commands.moves import FETCH, PUBLISH
from avocado_pool_plugin.plugins.commands.plan import PLAN
from avocado_pool_plugin.plugins.commands.run import RUN
from avocado_pool_plugin.plugins.commands.why import WHY

COMMANDS: tuple[Command, ...] = (RUN, PLAN, GRAPH, WHY, LIST, BACKENDS, FETCH, PUBLISH)
