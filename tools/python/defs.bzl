"""Rules for Python, written here because the usual ones have to be downloaded.

    py_library(name, srcs, data, imports, deps)
    py_test(name, size, srcs, data, deps, ray)      one pytest target
    py_tests(deps)                                  all tests of a package, in one line
    py_binary(name, main, srcs, deps)               for `bazelw run`

They use the interpreter of .venv (//tools/python:env.bzl). Of the code in this repository a test
sees what its deps name and nothing else; third-party packages are those of requirements.lock.
"""

load("@env//:defs.bzl", "CHECKOUT", "PYTHON")

PythonInfo = provider(
    doc = "What a Python target brings to those that depend on it.",
    fields = {"imports": "depset of folders, relative to the runfiles root, for the import path"},
)

_LIBRARY_ATTRS = {
    "srcs": attr.label_list(allow_files = [".py"], doc = "Python files."),
    "data": attr.label_list(allow_files = True, doc = "Other files, found at run time."),
    "deps": attr.label_list(providers = [PythonInfo]),
    "imports": attr.string_list(doc = "Folders, relative to this one, to put on the import path."),
}

def _import_path(ctx, folder):
    parts = [ctx.workspace_name, ctx.label.package] + ([] if folder == "." else [folder])
    return "/".join([part for part in parts if part])

def _python_info(ctx):
    return PythonInfo(imports = depset(
        [_import_path(ctx, folder) for folder in ctx.attr.imports],
        transitive = [dep[PythonInfo].imports for dep in ctx.attr.deps],
    ))

def _runfiles(ctx, extra = []):
    runfiles = ctx.runfiles(files = ctx.files.srcs + ctx.files.data + extra)
    for dep in ctx.attr.deps + ctx.attr.data:
        runfiles = runfiles.merge(dep[DefaultInfo].default_runfiles)
    return runfiles

def _py_library_impl(ctx):
    return [
        DefaultInfo(files = depset(ctx.files.srcs), runfiles = _runfiles(ctx)),
        _python_info(ctx),
    ]

py_library = rule(
    implementation = _py_library_impl,
    attrs = _LIBRARY_ATTRS,
    doc = "Python sources that others import.",
)

def _launcher(ctx, template, substitutions):
    launcher = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.expand_template(
        template = template,
        output = launcher,
        substitutions = substitutions,
        is_executable = True,
    )
    return launcher

def _py_test_impl(ctx):
    info = _python_info(ctx)
    tests = [f.short_path for f in ctx.files.srcs if f.basename.startswith("test_")]
    launcher = _launcher(ctx, ctx.file._template, {
        "%{checkout}": CHECKOUT,
        "%{imports}": ":".join(info.imports.to_list()),
        "%{python}": PYTHON,
        "%{runner}": ctx.file._runner.short_path,
        "%{tests}": " ".join(["'%s'" % test for test in tests]),
        "%{workspace}": ctx.workspace_name,
    })
    extra = [ctx.file._runner, ctx.file._lock, ctx.file._config]
    return [DefaultInfo(executable = launcher, runfiles = _runfiles(ctx, extra)), info]

_py_test = rule(
    implementation = _py_test_impl,
    attrs = dict(
        _LIBRARY_ATTRS,
        _config = attr.label(default = "//:pyproject.toml", allow_single_file = True),
        _lock = attr.label(default = "@env//:requirements.lock", allow_single_file = True),
        _runner = attr.label(default = "//tools/python:run_pytest.py", allow_single_file = True),
        _template = attr.label(default = "//tools/python:test.sh.tpl", allow_single_file = True),
    ),
    test = True,
)

def py_test(name, size = "medium", ray = False, tags = [], **kwargs):
    """A pytest target: every `test_*.py` of srcs is collected, other srcs are helpers.

    Args:
      name: name of the target, by custom ending in _test.
      size: small (60 s), medium (5 min), large (15 min) or enormous (60 min).
      ray: whether the tests start Ray or a server; such targets run alone, outside the sandbox.
      tags: as everywhere.
      **kwargs: srcs, data, deps, imports and what every test rule takes.
    """
    _py_test(
        name = name,
        size = size,
        tags = tags + (["exclusive", "no-sandbox", "ray"] if ray else []),
        **kwargs
    )

def py_tests(deps, size = "medium", ray_size = "large", data = [], **kwargs):
    """The tests of a package: `unit_test` of test_*.py, `ray_test` of ray/test_*.py.

    A target is there only if it has tests. conftest.py and other helpers in the folder, and
    those in helpers/, go with both; every other file below this folder is data.

    Args:
      deps: what the tests import.
      size: of unit_test.
      ray_size: of ray_test.
      data: more files for both.
      **kwargs: passed on to py_test.
    """
    helpers = native.glob(["*.py", "helpers/**/*.py"], exclude = ["test_*.py"], allow_empty = True)
    files = native.glob(
        ["**"],
        exclude = ["**/*.py", "**/__pycache__/**", "BUILD.bazel"],
        allow_empty = True,
    )
    targets = [
        ("unit_test", size, False, native.glob(["test_*.py"], allow_empty = True)),
        ("ray_test", ray_size, True, native.glob(["ray/test_*.py"], allow_empty = True)),
    ]
    ray_helpers = native.glob(["ray/**/*.py"], exclude = ["ray/test_*.py"], allow_empty = True)
    for name, target_size, ray, tests in targets:
        if tests:
            py_test(
                name = name,
                size = target_size,
                srcs = tests + helpers + (ray_helpers if ray else []),
                data = files + data,
                ray = ray,
                deps = deps,
                **kwargs
            )

def _py_binary_impl(ctx):
    main = ctx.file.main
    launcher = _launcher(ctx, ctx.file._template, {
        "%{checkout}": CHECKOUT,
        "%{main}": main.short_path,
        "%{python}": PYTHON,
    })
    return [
        DefaultInfo(executable = launcher, runfiles = _runfiles(ctx, [main])),
        _python_info(ctx),
    ]

py_binary = rule(
    implementation = _py_binary_impl,
    attrs = dict(
        _LIBRARY_ATTRS,
        main = attr.label(mandatory = True, allow_single_file = [".py"]),
        _template = attr.label(default = "//tools/python:binary.sh.tpl", allow_single_file = True),
    ),
    executable = True,
    doc = "A script for `bazelw run`: it runs in the folder where the command was typed.",
)
