"""What is known of states and working images between steps."""

from collections import defaultdict
from dataclasses import dataclass, field

from tests.torture.model.disk import Content
from tests.torture.model.world import File, Image, Key

Working = tuple[int, Image]
#: Files that no image stands on.
UNKNOWN = (-1,)


@dataclass
class Known:
    """
    What is known between steps.

    :ivar made: what was ever to be a state
    :ivar wrote: what the guest has in each working image
    :ivar based: the files under each, when it was made or found right
    :ivar loose: images that nobody has registered, as their maker was killed
    :ivar pins: what live processes need
    :ivar opened: images that are open in a QEMU
    """

    made: dict[tuple[Image, str], set[Content]] = field(default_factory=lambda: defaultdict(set))
    wrote: dict[Working, Content] = field(default_factory=dict)
    based: dict[Working, tuple[int, ...]] = field(default_factory=dict)
    loose: set[Working] = field(default_factory=set)
    pins: set[Key] = field(default_factory=set)
    opened: set[Working] = field(default_factory=set)

    def whole(self, key: Key, file: File | None) -> bool:
        """Tell whether a state is what somebody set."""
        return file is not None and file.content in self.made[key.image, key.state]
