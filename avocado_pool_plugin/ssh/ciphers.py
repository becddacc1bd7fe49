"""How ssh is configured, and which cipher a connection is to try first."""

import os
import re
import subprocess
from collections.abc import Sequence

#: Moves a fifth more than what OpenSSH tries first, where the processor does AES by itself.
_FAST_CIPHER = "aes128-gcm@openssh.com"
#: Seconds for ssh to tell its settings; it may run programs for that.
_PATIENCE = 10


def wanted(command: Sequence[str], address: str) -> dict[str, str]:
    """
    Return which cipher to try first: the faster one, unless somebody configured any.

    OpenSSH's own first choice is for processors that can't do AES by themselves.

    :param command: with all that finds the configuration
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            fast = re.search(r"^(flags|Features)\b.*\baes\b", file.read(), re.MULTILINE)
    except OSError:
        fast = None
    configured = configuration([*command, "--", address]).get("ciphers")
    usual = configuration(["ssh", "-F", "none", "--", address]).get("ciphers")
    if fast and configured and configured == usual:
        return {"Ciphers": f"^{_FAST_CIPHER}"}
    return {}


def configuration(command: Sequence[str]) -> dict[str, str]:
    """
    Return the settings that an ssh would log in with, by name in small letters.

    :param command: of the login
    :returns: nothing if ssh can't tell
    """
    try:
        told = subprocess.run(
            [command[0], "-G", *command[1:]],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    lines = os.fsdecode(told.stdout).splitlines() if told.returncode == 0 else []
    return dict(line.split(" ", 1) for line in lines if " " in line)
