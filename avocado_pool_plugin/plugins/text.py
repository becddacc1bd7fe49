"""Words and names that more than one plugin uses."""

#: File in the directory of a test: what it did with states, one JSON object a line.
EVENTS_FILE = "pool-states.jsonl"


def human_size(size: int) -> str:
    """Return a number of bytes as people read it: ``48.0 MiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"
