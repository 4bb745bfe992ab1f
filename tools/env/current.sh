# shellcheck shell=bash
# Sourced by the launchers, before every command: is .venv what this checkout asks for?
# Only bash builtins, no fork. Sets `checkout` for the caller to use.

checkout=${BASH_SOURCE[0]%/*}
checkout=$(cd -- "$checkout/../.." && pwd -P)

# Workers started from here shall find and write cached bytecode.
unset PYTHONDONTWRITEBYTECODE

_read() { IFS= read -r -d '' "$1" <"$2" || true; }

# What .venv/agentloop.paths must hold: where the checkout is, then a line per package.
env_paths() {
  local package
  REPLY=$checkout
  for package in "$checkout"/packages/*/agentloop; do
    package=${package%/agentloop}
    REPLY+=$'\n'../../../../packages/${package##*/}
  done
  REPLY+=$'\n'
}

# The packages named in requirements.lock are all there: the copy of it is written last.
env_installed() {
  local have want
  [[ -x $checkout/.venv/bin/python && -f $checkout/.venv/agentloop.lock ]] || return 1
  _read have "$checkout/.venv/agentloop.lock"
  _read want "$checkout/requirements.lock"
  [[ $have == "$want" ]]
}

# ... and packages/* of this very checkout are on its path.
env_linked() {
  local have
  [[ -f $checkout/.venv/agentloop.paths ]] || return 1
  _read have "$checkout/.venv/agentloop.paths"
  env_paths
  [[ $have == "$REPLY" ]]
}

env_current() { env_installed && env_linked; }
