# shellcheck shell=bash
# Sourced by ensure: finds an interpreter that can make the environment.

# Prints the real path and version of interpreter $1 if it is one of ours to use. Running it is
# the only way to know: version managers leave names on the PATH that answer with an error.
probe_python() {
  "$1" - 2>/dev/null <<'PY'
import sys
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    sys.exit(1)
print(sys.executable, "%d.%d.%d" % sys.version_info[:3])
PY
}

has_venv() { "$1" -c 'import venv, ensurepip' 2>/dev/null; }

as_root() { if ((EUID == 0)); then echo "$*"; else echo "sudo $*"; fi; }

# Sets python and python_version; names everything that is missing in one message.
find_python() {
  local candidate found missing=() without_venv=
  local candidates=(python3 python3.13 python3.12 python3.11 /usr/bin/python3)
  [[ -n ${AGENTLOOP_PYTHON:-} ]] && candidates=("$AGENTLOOP_PYTHON")
  python=
  for candidate in "${candidates[@]}"; do
    found=$(probe_python "$candidate") || continue
    if has_venv "${found% *}" || command -v uv >/dev/null; then
      python=${found% *} python_version=${found##* }
      break
    fi
    : "${without_venv:=${found##* }}"
  done
  if [[ -z $python ]]; then
    if [[ -n $without_venv ]]; then
      missing+=("python${without_venv%.*}-venv")
    elif [[ -n ${AGENTLOOP_PYTHON:-} ]]; then
      fail $E_MACHINE "AGENTLOOP_PYTHON=$AGENTLOOP_PYTHON is no Python 3.11, 3.12 or 3.13" \
        "next: name another interpreter, or unset it to have one looked for"
    else
      missing+=(python3 python3-venv)
    fi
  fi
  command -v git >/dev/null || missing+=(git)
  ((${#missing[@]} == 0)) && return
  local next=("next: $(as_root apt-get install -y "${missing[@]}")")
  [[ -n $python ]] || next+=("or name another interpreter: AGENTLOOP_PYTHON=/path/to/python3.12")
  fail $E_MACHINE "this machine lacks ${missing[*]} (needed: Python 3.11 to 3.13 with venv, and git)" \
    "${next[@]}"
}
