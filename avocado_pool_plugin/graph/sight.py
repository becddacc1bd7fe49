"""What one place holds of a state: its files, each looked at once and read only if it must be."""

import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from avocado_pool_plugin.core import chain
from avocado_pool_plugin.core.errors import ChainBroken, FileCorrupt, ImageRefused, ParentChanged
from avocado_pool_plugin.core.names import IMAGE_SUFFIX, State
from avocado_pool_plugin.core.records import FileInfo
from avocado_pool_plugin.graph.readers import Reader


@dataclass(frozen=True)
class File:
    """
    A file of a state.

    :param path: relative to the cache or pool
    :param info: what it is; None if it is absent or can't be used
    :param size: bytes on disk of one that can be used
    :param parent: state that it stands on, empty for none
    :param problem: why it can't be used, such as ``is corrupt``; empty if it is good or absent
    :param stray: it names its parent by a path that is not the state beside it
    :param corrupt: the error of a corrupt one
    """

    path: str
    info: FileInfo | None = None
    size: int = 0
    parent: str = ""
    problem: str = ""
    stray: bool = False
    corrupt: FileCorrupt | None = None


@dataclass(frozen=True)
class Sight:
    """
    A state in one place.

    :param root: what tells the place from all others
    :param files: the state's own file, then all others that it needs
    :param parent: the file of the state that it stands on, None for none
    :param problem: why it can't be used, such as ``is corrupt``; empty if it is good
    """

    root: str
    files: tuple[File, ...]
    parent: File | None = None
    problem: str = ""

    @property
    def info(self) -> FileInfo | None:
        """What the state's own file is."""
        return self.files[0].info

    @property
    def corrupt(self) -> list[FileCorrupt]:
        """The errors of all corrupt files."""
        return [file.corrupt for file in self.files if file.corrupt]


class Eyes:
    """
    Looks at the states in one place and remembers each file.

    :param reader: of the place's files
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._files: dict[str, File] = {}

    @property
    def root(self) -> str:
        """What tells the place from all others; of a directory on this host its path."""
        return self._reader.root

    def look(self, state: State, images: Iterable[str] = ()) -> Sight | None:
        """
        Return what the place holds of a state, None if that is nothing.

        :param images: of a vm whose state it is
        :raises PoolUnreachable: something is neither there nor absent
        """
        if state.image is not None:
            return self._image(state)
        ram = self._file(state.path)
        if ram.info is None and not ram.problem:
            return None
        files, problem = [ram], ram.problem
        for image in images:
            part = self._image(replace(state, image=image))
            files += part.files if part else ()
            if part is None:
                problem = problem or f"lacks its state of image {image!r}"
            elif part.problem:
                problem = problem or f"has a state of image {image!r} that {part.problem}"
            elif not _belongs(ram.info, image, part.info):
                problem = problem or f"belongs to another state of image {image!r} than the one"
        return Sight(self.root, tuple(files), problem=problem)

    def lacking(self, sight: Sight) -> tuple[File, ...]:
        """Return the files of a state elsewhere that are not here, or in another version."""
        return tuple(file for file in sight.files if not _same(self._file(file.path), file))

    def _image(self, state: State) -> Sight | None:
        files: list[File] = []
        try:
            files += self._chain(state)
        except ChainBroken:
            return Sight(self.root, tuple(files), problem="stands on itself")
        top = files[0]
        if top.info is None and not top.problem:
            return None
        below = (_problem(*pair) for pair in itertools.pairwise(files))
        problem = top.problem or next(filter(None, below), "")
        return Sight(self.root, tuple(files), files[1] if len(files) > 1 else None, problem)

    def _chain(self, state: State) -> Iterator[File]:
        """Yield the files of an image state and of all states that it stands on."""
        home = os.path.dirname(state.path)

        def file(name: str) -> File:
            return self._file(chain.state_file(home, name))

        return map(file, chain.walk(state.name, lambda name: file(name).parent))

    def _file(self, path: str) -> File:
        if path not in self._files:
            self._files[path] = self._read(path)
        return self._files[path]

    def _read(self, path: str) -> File:
        parent, stray, reader = "", False, self._reader
        try:
            if path.endswith(IMAGE_SUFFIX):
                backing = reader.backing(path)
                if backing.outside:
                    return File(path, problem=f"stands on {backing.outside}, which is no state,")
                parent = backing.state
                stray = not backing.relative and reader.leads_away(path)
            info = reader.believe(path)
            if info is None:
                return File(path, stray=stray)
            return File(path, info, reader.allocated(path), parent, stray=stray)
        except FileNotFoundError:
            return File(path)
        except FileCorrupt as error:
            return File(path, parent=parent, problem="is corrupt", corrupt=error)
        except ImageRefused as error:
            return File(path, problem=f"can't be used ({error})")


def _belongs(ram: FileInfo | None, image: str, info: FileInfo | None) -> bool:
    """Tell whether an image state is the one that a RAM file needs, as far as that is known."""
    mark = dict(ram.passport.images).get(image) if ram and ram.passport else None
    if mark is None or info is None:
        return True
    return mark.is_of(info.generation, {info.digest, info.source_digest})


def _problem(above: File, file: File) -> str:
    """Return why a file can't be what another one stands on, empty if it can."""
    if file.info is None:
        return f"stands on {above.parent!r}, which {file.problem or 'is missing'}"
    try:
        if above.info:
            chain.check_parent(above.path, above.info, file.info)
    except ParentChanged:
        return f"was made on another {above.parent!r} than the one"
    return ""


def _same(mine: File, other: File) -> bool:
    """Tell whether two files have the same content, as far as that is known without reading."""
    if mine.info is None or other.info is None or mine.problem or mine.stray:
        return False
    if mine.info.same_content(other.info):
        return True
    if mine.info.generation and other.info.generation:
        return mine.info.generation == other.info.generation
    known = mine.info.digest and other.info.digest
    return not known and mine.info.size == other.info.size
