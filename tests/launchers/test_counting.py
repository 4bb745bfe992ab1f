"""The closing line of CI counts single test cases, and hides no failure."""

import subprocess
import sys

import pytest

REPORT = """<testsuites><testsuite>
<testcase name="a"/><testcase name="b"/>
<testcase name="c"><failure/></testcase>
<testcase name="d"><skipped/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def closing_line(tmp_path):
    def run(status: int, **reports: str | None) -> str:
        for target, report in reports.items():
            (tmp_path / target).mkdir()
            (tmp_path / target / "test.log").touch()
            if report is not None:
                (tmp_path / target / "test.xml").write_text(report)
        command = [sys.executable, "tools/ci/count_tests.py", str(tmp_path), str(status)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    return run


def test_cases_are_summed_over_reports(closing_line):
    assert closing_line(3, one=REPORT, two=REPORT) == "4 passed, 2 failed, 2 skipped"


@pytest.mark.parametrize("report", [None, "<testsuites>"])
def test_a_target_without_a_report_failed(closing_line, report):
    assert closing_line(3, crashed=report) == "0 passed, 1 failed, 0 skipped"


def test_a_run_that_could_not_build_failed(closing_line):
    assert closing_line(1) == "0 passed, 1 failed, 0 skipped"
