"""What the documents say is what the code does."""

import runpy
from pathlib import Path


def test_the_page_of_exit_codes_is_current() -> None:
    page = runpy.run_path("tools/docs/exit_codes.py")["page"]()
    told = "next: .venv/bin/python tools/docs/exit_codes.py > docs/exit-codes.md"
    assert Path("docs/exit-codes.md").read_text(encoding="utf-8") == page, told
