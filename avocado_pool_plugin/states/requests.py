"""Whether and for what a test asks; needs no virttest, so that it costs nothing for other tests."""

from collections.abc import Mapping

#: What can be asked for, as ``<verb>_state`` params, plain or with suffixes.
VERBS = ("get", "set", "unset", "push", "pop")


def asked(params: Mapping[str, str], *verbs: str) -> bool:
    """Tell whether test params ask for one of the verbs."""
    starts = tuple(f"{verb}_state" for verb in verbs)
    return any(
        value and (key in starts or key.startswith(tuple(f"{start}_" for start in starts)))
        for key, value in params.items()
        if key.startswith(starts)
    )


def asks_for_states(params: Mapping[str, str]) -> bool:
    """Tell whether test params ask for any state."""
    return asked(params, *VERBS)
