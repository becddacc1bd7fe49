"""``avocado pool show``: all that is known of one state."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from avocado.core.output import LOG_UI

from avocado_pool_plugin.plugins.commands.command import (
    FAILED,
    FINE,
    Command,
    add_json,
    add_state,
    named,
    read_state,
    warnings_shown,
)
from avocado_pool_plugin.plugins.commands.places import (
    ALL,
    add_places,
    each,
    look_at,
    nobody_has,
    sites,
)
from avocado_pool_plugin.plugins.text import ago, human_size, print_fields, print_json, when

if TYPE_CHECKING:
    from avocado_pool_plugin.core.names import State
    from avocado_pool_plugin.core.records import FileInfo
    from avocado_pool_plugin.upkeep.card import Card
    from avocado_pool_plugin.upkeep.comparing import Verdict
    from avocado_pool_plugin.upkeep.site import Site

#: How it is said what was found out about two copies.
_COMPARED = {"equal": "equal to", "different": "different from", "unknown": "not compared with"}
#: Lines to print: how far each is indented, its name, its value.
Fields = Iterator[tuple[int, str, str]]


def _configure(parser: Any) -> None:
    add_state(parser)
    parser.add_argument(
        "--recipe",
        dest="pool_recipe",
        action="store_true",
        help="Also show all parts of the recipe that it was made by",
    )
    add_places(parser, ALL)
    add_json(parser)


def _run(config: Mapping[str, Any]) -> int:
    state = read_state(config["pool_state"])
    found = sites(config)
    with warnings_shown():
        cards, fine = _cards(config, found, state)
    verdicts = _verdicts(cards)
    whole = bool(config.get("pool_recipe"))
    if config.get("pool_json"):
        print_json(_as_dict(state, cards, verdicts, whole))
    elif cards:
        print_fields(list(_fields(state, cards, verdicts, whole)))
    if not cards and fine:
        LOG_UI.error("%s", nobody_has(state.title, found))
    return FINE if cards and fine else FAILED


def _cards(
    config: Mapping[str, Any], found: "list[Site]", state: "State"
) -> "tuple[list[Card], bool]":
    """Return the copies of a state, and whether all places could be looked at."""
    from avocado_pool_plugin.upkeep import card

    cards: list[Card] = []

    def look(site: "Site") -> None:
        stock = look_at(config, site, state.owner)
        item = stock.find(state)
        if item is not None:
            cards.append(card.look(site, stock, item))

    fine = each(found, look)
    return cards, fine


def _verdicts(cards: "list[Card]") -> "list[Verdict]":
    """Compare all copies but the first with that."""
    from avocado_pool_plugin.upkeep.comparing import compare

    return [
        compare(cards[0].item, card.item, cards[0].stock.host == card.stock.host)
        for card in cards[1:]
    ]


# -- for people --------------------------------------------------------------------------------


def _fields(state: "State", cards: "list[Card]", verdicts: "list[Verdict]", whole: bool) -> Fields:
    yield 0, state.title, ""
    for number, card in enumerate(cards):
        yield 1, f"in {card.stock.where}{' (cache)' if card.stock.cache else ''}", ""
        if number:
            yield 2, "copy", _compared(verdicts[number - 1], cards[0].stock.where)
        fields = (*_file(card), *_record(card, whole), *_around(card))
        yield from ((2, name, value) for name, value in fields if value)


def _compared(verdict: "Verdict", other: str) -> str:
    return f"{_COMPARED[verdict.kind]} the one in {other}: {verdict.reason}"


def _file(card: "Card") -> Iterator[tuple[str, str]]:
    item, entry = card.item, card.item.entry
    yield "problem", card.stock.problem(item)
    yield "file", item.path
    yield "link to", entry.link
    if entry.stamp is not None:
        length = human_size(entry.stamp.size)
        yield "size", f"{human_size(entry.allocated)} on disk, {length} long"


def _record(card: "Card", whole: bool) -> Iterator[tuple[str, str]]:
    from avocado_pool_plugin.upkeep.stock import info_of

    info, peek = info_of(card.item), card.item.peek
    yield "digest", f"{info.digest or 'not known'}{_belief(card)}"
    yield "generation", info.generation
    if peek is None or not peek.recorded:
        yield "record", "none; it is adopted when its content is read"
    yield "made", _made(card.item.made, info)
    yield "stands on", _parent(card.item.parent, info)
    if info.recipe is not None:
        yield "recipe", f"{info.recipe.key}, {len(info.recipe.parts)} parts"
        if whole:
            yield from ((f"  {name}", value or "''") for name, value in info.recipe.parts)
    if info.passport is not None:
        yield from (("machine", f"{name}: {value}") for name, value in info.passport.machine)
        yield from (("image", f"{name}: {told}") for name, told in card.images)


def _belief(card: "Card") -> str:
    """Return what is to be said of a digest."""
    peek = card.item.peek
    if peek is None or not peek.recorded or peek.fresh or peek.untouched:
        return ""
    return " (recorded; the file is read again before it is used)"


def _made(made: float, info: "FileInfo") -> str:
    told = f"{when(made)}, {ago(made)} ago" if made else ""
    if info.made_by:
        told += f", by {info.made_by}"
    return told + (f", in {info.seconds:.1f} s" if info.seconds else "")


def _parent(parent: str, info: "FileInfo") -> str:
    if not parent:
        return ""
    known = info.parent_digest or info.parent_generation
    return f"{parent}, {known}" if known else parent


def _around(card: "Card") -> Iterator[tuple[str, str]]:
    from avocado_pool_plugin.upkeep.stock import allocated

    needed = card.stock.needed(card.item)
    if len(needed) > 1:
        names = " <- ".join(item.title for item in needed)
        yield "chain", f"{names}: {len(needed)} files, {human_size(allocated(needed))} on disk"
    tops = card.dependents
    yield "states on top", ", ".join(tops.states)
    yield "vm states on it", ", ".join(tops.vm_states)
    for user, opened in tops.overlays:
        yield "used by", f"{user}, since {when(user.since)}{', open in QEMU' if opened else ''}"
    yield "open", "in a running QEMU" if tops.open else ""
    used = card.stock.used_at(card.item)
    yield "used", f"{when(used)}, {ago(used)} ago" if used else ""
    if card.lock is not None and card.lock.held is not False:
        unsure = "" if card.lock.held else " (or was: its host does not tell)"
        yield "locked", f"by {card.lock.holder or 'an unknown process'}{unsure}"


# -- for programs ------------------------------------------------------------------------------


def _as_dict(
    state: "State", cards: "list[Card]", verdicts: "list[Verdict]", whole: bool
) -> dict[str, Any]:
    told = [None, *({"kind": one.kind, "reason": one.reason} for one in verdicts)]
    copies = [
        {**_copy(card, whole), "compared": same}
        for card, same in zip(cards, told[: len(cards)], strict=True)
    ]
    return {
        **named(state),
        "copies": copies,
    }


def _copy(card: "Card", whole: bool) -> dict[str, Any]:
    from avocado_pool_plugin.upkeep.stock import allocated, info_of

    item, info, peek = card.item, info_of(card.item), card.item.peek
    needed, tops = card.stock.needed(item), card.dependents
    recipe = info.recipe.dump() if info.recipe else None
    if recipe is not None and not whole:
        del recipe["parts"]
    return {
        "where": card.stock.where,
        "cache": card.stock.cache,
        "path": item.path,
        "link": item.entry.link,
        "problem": card.stock.problem(item),
        "size": item.entry.allocated,
        "length": item.entry.stamp.size if item.entry.stamp else 0,
        "digest": info.digest,
        "also": list(info.also),
        "source_digest": info.source_digest,
        "recorded": peek is not None and peek.recorded,
        "sure": peek is not None and (peek.fresh or peek.untouched),
        "generation": info.generation,
        "made": item.made,
        "made_by": info.made_by,
        "seconds": info.seconds,
        "parent": item.parent,
        "parent_digest": info.parent_digest,
        "parent_generation": info.parent_generation,
        "recipe": recipe,
        "chain": [one.title for one in needed],
        "chain_size": allocated(needed),
        "states_on_top": list(tops.states),
        "vm_states_on_it": list(tops.vm_states),
        "overlays": [{**_overlay(user), "open": opened} for user, opened in tops.overlays],
        "open": tops.open,
        "passport": info.passport.dump() if info.passport else None,
        "images": dict(card.images),
        "used": card.stock.used_at(item),
        "lock": {"holder": card.lock.holder, "held": card.lock.held} if card.lock else None,
    }


def _overlay(user: Any) -> dict[str, Any]:
    return {key: getattr(user, key) for key in ("path", "host", "pid", "since", "generation")}


SHOW = Command(
    name="show",
    help="Show all that is known of a state",
    examples=(
        "show vm1/image1/install",
        "show vm1/image1/install --recipe --pool-location :/srv/pool",
        "show vm1/running --at store:/srv/pool --json",
    ),
    configure=_configure,
    run=_run,
)
