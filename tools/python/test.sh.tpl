#!/usr/bin/env bash
# Written by //tools/python:defs.bzl: runs pytest on the tests of one target.
set -euo pipefail

[[ -x '%{python}' ]] || { echo "there is no %{python}: run ./bazelw, or bazel shutdown" >&2; exit 1; }
unset PYTHONDONTWRITEBYTECODE PYTHONPATH

runfiles=${RUNFILES_DIR:-${TEST_SRCDIR:-$0.runfiles}}
IFS=: read -ra imports <<<'%{imports}'
for folder in "${imports[@]}"; do
  PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$runfiles/$folder
done
export PYTHONPATH AGENTLOOP_CHECKOUT='%{checkout}'

cd "$runfiles/%{workspace}"
exec '%{python}' '%{runner}' %{tests} -- "$@"
