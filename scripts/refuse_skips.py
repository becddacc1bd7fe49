#!/usr/bin/env python3
"""Fail when a JUnit XML report lists skipped tests, or no tests at all."""

import sys
from pathlib import Path
from xml.etree import ElementTree


def skipped(report: Path) -> list[str]:
    """
    Names of the skipped tests, each with its reason.

    An expected failure is reported as a skip by pytest, and proves as little.

    :raise ValueError: if the report has no tests
    """
    cases = list(ElementTree.parse(report).iter("testcase"))
    if not cases:
        raise ValueError(f"{report} lists no tests")
    return [
        f"{case.get('classname')}::{case.get('name')}: {skip.get('message')}"
        for case in cases
        if (skip := case.find("skipped")) is not None
    ]


def main() -> int:
    names = skipped(Path(sys.argv[1]))
    for name in names:
        print(f"skipped: {name}", file=sys.stderr)
    if names:
        print(f"{len(names)} skipped: every test has to run here.", file=sys.stderr)
    return 1 if names else 0


if __name__ == "__main__":
    sys.exit(main())
