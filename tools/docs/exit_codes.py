"""Print docs/exit-codes.md, from the error tree.

.venv/bin/python tools/docs/exit_codes.py > docs/exit-codes.md
"""

from agentloop.contracts import errors

HEAD = """\
# Exit codes

| code | meaning |
|---|---|
| 0 | done |
| 1 | an unexpected error: `--debug` shows where |
| 2 | wrong usage of the command line |
| 69, 74, 78, 79 | `./agentloop` could not make `.venv`: packages out of reach, no room or \
permission, Python or `venv` or git missing, installation failed |
| 130 | interrupted: the same command goes on |

Everything that Agent Loop itself refuses has its own code, the number in the error tree
(`agentloop.contracts.errors`). A message says what happened, what was kept, and what to do next;
with `--json` its fields are on stdout as one object.
"""


def page() -> str:
    """The whole page, as Markdown."""
    lines = (errors.__doc__ or "").splitlines()
    first = next(n for n, line in enumerate(lines) if line.strip() == "AgentLoopError")
    last = max(n for n, line in enumerate(lines) if "──" in line)
    tree = "\n".join(line.removeprefix("    ") for line in lines[first : last + 1])
    return f"{HEAD}\n```\n{tree}\n```\n"


if __name__ == "__main__":
    print(page(), end="")
