"""Checks as a JUnit report, which CI systems read: one test case for each. Pure."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from benchmarks.goals import Status
from benchmarks.reporting.checks import Check

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(checks: Sequence[Check], *, suite: str, taken_at: str, duration_s: float) -> str:
    """A missed check is a failure, a goal that was not measured is skipped."""
    missed = sum(check.status is Status.MISSED for check in checks)
    skipped = sum(check.status is Status.NOT_MEASURED for check in checks)
    facts = {
        "name": _clean(suite),
        "tests": str(len(checks)),
        "failures": str(missed),
        "errors": "0",
        "time": f"{duration_s:.3f}",
    }
    root = ET.Element("testsuites", facts)
    cases = ET.SubElement(root, "testsuite", facts | {"skipped": str(skipped), "timestamp": taken_at})
    for check in checks:
        case = ET.SubElement(
            cases, "testcase", {"classname": _clean(suite), "name": _clean(check.title), "time": "0"}
        )
        if check.status is Status.MISSED:
            ET.SubElement(case, "failure", {"type": str(check.status), "message": _clean(check.why)})
        elif check.status is Status.NOT_MEASURED:
            ET.SubElement(case, "skipped", {"message": _clean(check.why or str(check.status))})
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
