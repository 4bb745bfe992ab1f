"""The Python environment as a repository: .venv, brought into line with requirements.lock."""

_DEFS = '''"""Where the environment lies. Written by //tools/python:env.bzl."""

CHECKOUT = {checkout}
PYTHON = {python}
'''

def _python_env_impl(ctx):
    lock = ctx.path(ctx.attr.lock)
    checkout = lock.dirname

    # Watched: this rule runs again when one of them changes.
    for script in ctx.attr.scripts:
        ctx.path(script)

    # Ten minutes are enough for a fast network, an hour for a slow one.
    made = ctx.execute(
        ["bash", str(checkout) + "/tools/env/ensure"],
        timeout = 3600,
        quiet = False,
    )
    if made.return_code:
        fail("the Python environment could not be made (see above); exit code %d" % made.return_code)

    ctx.file("defs.bzl", _DEFS.format(
        checkout = repr(str(checkout)),
        python = repr(str(checkout) + "/.venv/bin/python"),
    ))

    # Part of every test's inputs, so that a new environment runs all tests again.
    ctx.file("requirements.lock", ctx.read(lock))
    ctx.file("BUILD.bazel", 'exports_files(["defs.bzl", "requirements.lock"])\n')

python_env = repository_rule(
    implementation = _python_env_impl,
    doc = "Makes the .venv that ./agentloop uses too, and tells where it is.",
    attrs = {
        "lock": attr.label(default = "//:requirements.lock", allow_single_file = True),
        "scripts": attr.label_list(
            default = [
                "//tools/env:ensure",
                "//tools/env:install.sh",
                "//tools/env:python.sh",
            ],
            allow_files = True,
        ),
    },
    environ = ["AGENTLOOP_PYTHON"],
    # .venv may be removed at any time: look again whenever Bazel starts.
    local = True,
)
