# shellcheck shell=bash
# Sourced by bazelw: finds Bazel, or installs one.

# The release that bazelisk takes unless told otherwise. Debian's own is 4.2.3; both must work.
readonly BAZELISK_RELEASE=7.x

bazel_says() { printf 'bazelw: %s\n' "$*" >&2; }

from_path() {
  bazel=${BAZEL:-$(command -v bazel || command -v bazelisk)} || return 1
}

# bazelisk downloads Bazel itself when it first runs, which a closed network does not allow.
from_npm() {
  local cache=${XDG_CACHE_HOME:-$HOME/.cache}/agentloop
  command -v npm >/dev/null || return 1
  bazel=$cache/node_modules/.bin/bazelisk
  export USE_BAZEL_VERSION=${USE_BAZEL_VERSION:-$BAZELISK_RELEASE}
  if [[ ! -x $bazel ]]; then
    bazel_says "no Bazel on the PATH: getting bazelisk from npm"
    mkdir -p "$cache"
    npm install --silent --no-audit --no-fund --prefix "$cache" @bazel/bazelisk@1 >&2 || return 1
  fi
  timeout 300 "$bazel" --version >/dev/null 2>&1 && return
  bazel_says "bazelisk cannot download Bazel here"
  unset USE_BAZEL_VERSION
  return 1
}

from_apt() {
  local root=()
  command -v apt-get >/dev/null || return 1
  ((EUID == 0)) || root=(sudo)
  bazel_says "installing Debian's bazel-bootstrap"
  "${root[@]}" apt-get update -qq >&2 || true
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends bazel-bootstrap >/dev/null || return 1
  hash -r
  bazel=$(command -v bazel)
}

find_bazel() {
  from_path || from_npm || from_apt && return
  bazel_says "Bazel is not here and cannot be installed from npm or with apt-get"
  printf '  next: install bazelisk or bazel-bootstrap, or name a Bazel: BAZEL=/path/to/bazel\n' >&2
  exit 78
}
