"""What a set knows of how its state was made: noted by the job, completed with the parent."""

from collections.abc import Mapping

from avocado_pool_plugin.core import typed
from avocado_pool_plugin.core.recipe import BASE, PARENT, Recipe
from avocado_pool_plugin.core.records import FileInfo

#: Test param in which the job hands a test the parts of its recipe: a JSON object of strings.
PARTS_PARAM = "pool_recipe"
#: How the generation of a base image begins that was brought into a chain.
BASE_GENERATION = "base-"


def test_name(params: Mapping[str, str]) -> str:
    """Return the name of a test as its users know it, empty outside of tests."""
    return str(params.get("id") or params.get("shortname") or params.get("name") or "")


def noted_parts(params: Mapping[str, str]) -> dict[str, str] | None:
    """Return the parts of a test's recipe; None if nobody noted them, which is no failure."""
    try:
        found = typed.mapping(params.get(PARTS_PARAM) or "null")
    except ValueError:
        return None
    return {name: str(value) for name, value in found.items()}


def complete(
    parts: Mapping[str, str] | None, parent: str, parent_info: FileInfo | None
) -> Recipe | None:
    """
    Return the recipe of a state that is made on another one.

    :param parts: of the test that makes it, None if they are not known
    :param parent: name of the state that it stands on, empty for none
    """
    if parts is None:
        return None
    return Recipe.of({**parts, **parent_part(parent, parent_info)})


def parent_part(parent: str, info: FileInfo | None) -> dict[str, str]:
    """
    Return the part of a recipe that a parent is; none if there is no parent.

    That is the key of its own recipe, so that one which was lost and made again in the same way
    changes nothing; else its generation, else its digest. A base image is its content.
    """
    if not parent or info is None:
        return {}
    if info.generation.startswith(BASE_GENERATION):
        digest = info.source_digest or info.digest
        return {f"{BASE} image": digest} if digest else {}
    if info.recipe:
        return {f"{PARENT} {parent}": f"recipe {info.recipe.key}"}
    if info.generation:
        return {f"{PARENT} {parent}": f"generation {info.generation}"}
    return {f"{PARENT} {parent}": f"digest {info.digest}"} if info.digest else {}
