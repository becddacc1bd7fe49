"""Which part of the states is read in one run of several."""

import hashlib
import os
import re
from dataclasses import dataclass

from avocado_pool_plugin.core.errors import SettingRefused


@dataclass(frozen=True)
class Sample:
    """
    One of several parts of all states, of about the same number each.

    :param number: from 1 on
    :param parts: how many there are; that many runs cover all
    """

    number: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> "Sample":
        """
        Read ``3/7``.

        :raises SettingRefused: it is no part of anything
        """
        found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
        if not found or int(found[1]) > int(found[2]):
            raise SettingRefused(
                f"--sample {text!r} is no part; write 3/7 for the third of seven, from 1/7 to 7/7"
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.parts}"

    def holds(self, root: str, path: str) -> bool:
        """
        Tell whether a file is in this part; it is in the same one wherever the pool is.

        :param root: of the cache or pool
        """
        name = os.fsencode(os.path.relpath(path, root))
        key = int.from_bytes(hashlib.sha256(name).digest()[:8], "big")
        return key % self.parts == self.number - 1
