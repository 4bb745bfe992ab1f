"""Prints `N passed, N failed, N skipped`: count_tests.py TESTLOGS BAZEL_STATUS.

Sums the test cases of every report that Bazel's last run left. A target that ran and left no
readable report counts as one failure; so does a run that failed with no failed case at all, e.g.
one that could not build.
"""

import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def count_report(report: Path) -> Counter[str]:
    """The outcomes of one test.xml."""
    try:
        cases = list(ET.parse(report).iter("testcase"))
    except (OSError, ET.ParseError):
        return Counter(failed=1)
    return Counter(_outcome(case) for case in cases)


def _outcome(case: ET.Element) -> str:
    tags = {child.tag for child in case}
    if tags & {"failure", "error"}:
        return "failed"
    return "skipped" if "skipped" in tags else "passed"


def count(testlogs: Path, status: int) -> Counter[str]:
    """The outcomes of a whole run that ended with this exit status."""
    total: Counter[str] = Counter()
    for log in testlogs.rglob("test.log"):
        total += count_report(log.with_name("test.xml"))
    if status and not total["failed"]:
        total["failed"] = 1
    return total


def main(testlogs: str, status: str) -> None:
    """Prints the closing line of a run."""
    total = count(Path(testlogs), int(status))
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")


if __name__ == "__main__":
    main(*sys.argv[1:])
