#!/usr/bin/env bash
# Written by //tools/python:defs.bzl: runs the checkout's own file, where the user typed the command.
set -euo pipefail

unset PYTHONDONTWRITEBYTECODE
checkout=${BUILD_WORKSPACE_DIRECTORY:-'%{checkout}'}
cd "${BUILD_WORKING_DIRECTORY:-$PWD}"
exec '%{python}' "$checkout/%{main}" "$@"
