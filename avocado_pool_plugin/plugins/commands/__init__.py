"""The sub-commands of ``avocado pool``, in the order of its help."""

from avocado_pool_plugin.plugins.commands.adopt import ADOPT
from avocado_pool_plugin.plugins.commands.backends import BACKENDS
from avocado_pool_plugin.plugins.commands.command import Command
from avocado_pool_plugin.plugins.commands.diff import DIFF
from avocado_pool_plugin.plugins.commands.doctor import DOCTOR
from avocado_pool_plugin.plugins.commands.gc import GC
from avocado_pool_plugin.plugins.commands.graph import GRAPH
from avocado_pool_plugin.plugins.commands.list import LIST
from avocado_pool_plugin.plugins.commands.locks import LOCKS
from avocado_pool_plugin.plugins.commands.moves import FETCH, PUBLISH
from avocado_pool_plugin.plugins.commands.plan import PLAN
from avocado_pool_plugin.plugins.commands.rm import RM
from avocado_pool_plugin.plugins.commands.run import RUN
from avocado_pool_plugin.plugins.commands.show import SHOW
from avocado_pool_plugin.plugins.commands.trash import TRASH
from avocado_pool_plugin.plugins.commands.tree import TREE
from avocado_pool_plugin.plugins.commands.verbs import VERBS
from avocado_pool_plugin.plugins.commands.verify import VERIFY
from avocado_pool_plugin.plugins.commands.why import WHY

COMMANDS: tuple[Command, ...] = (
    RUN,
    PLAN,
    GRAPH,
    WHY,
    *VERBS,
    LIST,
    TREE,
    SHOW,
    DIFF,
    BACKENDS,
    FETCH,
    PUBLISH,
    VERIFY,
    GC,
    LOCKS,
    ADOPT,
    DOCTOR,
    RM,
    TRASH,
)
