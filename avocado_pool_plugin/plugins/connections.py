"""Connections to the hosts of remote pools, closed when their process has done its work."""

import sys

#: Not imported here: what needs no remote pool does not pay for it.
_SESSIONS = "avocado_pool_plugin.ssh.session"


def close_connections() -> None:
    """Close what this process has open; made anew if something is asked for later."""
    sessions = sys.modules.get(_SESSIONS)
    if sessions is not None:
        sessions.close_all()
