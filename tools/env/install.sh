# shellcheck shell=bash
# Sourced by ensure: makes the virtual environment and installs requirements.lock into it.

readonly log=.venv/agentloop.log

# watched WHAT CMD...: runs CMD with its output in the log and says now and then how it goes.
watched() {
  local what=$1 next=$((SECONDS + 10)) line code=0
  shift
  say "$what"
  "$@" >>"$log" 2>&1 &
  installer=$!
  while kill -0 "$installer" 2>/dev/null; do
    sleep 0.2
    ((SECONDS < next)) && continue
    next=$((SECONDS + 10))
    line=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r')
    say "$what ... ${line:0:80}"
  done
  wait "$installer" || code=$?
  installer=
  return "$code"
}

# Ends with the reason that the log shows, and its last lines.
explain() {
  tail -n 15 "$log" | sed 's/^/  | /' >&2
  if (($(free_kb) < 65536)) || grep -qiE 'no space left|os error 28|quota exceeded' "$log"; then
    fail $E_WRITE "the disk is full; the unfinished .venv was removed" \
      "next: free about 4 GB, then run the same command again"
  fi
  if grep -qiE 'dns error|resolution|error sending request|failed to fetch|connection|timed out|no matching distribution' "$log"; then
    fail $E_FETCH "packages could not be fetched; the unfinished .venv was removed" \
      "next: check the network (pip's index-url, find-links and proxy settings are used)," \
      "then run the same command again: what was fetched is kept in the cache"
  fi
  fail $E_INSTALL "installing requirements.lock failed; the unfinished .venv was removed" \
    "next: see the lines above"
}

create_venv() {
  local maker=("$python" -m venv .venv)
  if command -v uv >/dev/null; then
    maker=(uv venv --quiet --seed --allow-existing --no-project --python "$python" .venv)
  fi
  watched "creating it" "${maker[@]}" || explain
}

# Sets uv to the one on the PATH, else to one that pip puts into the environment, else to nothing.
get_uv() {
  uv=$(command -v uv) && return
  uv=.venv/bin/uv
  watched "getting uv" .venv/bin/python -m pip install --quiet --only-binary :all: 'uv>=0.8' && return
  say "uv cannot be had: pip does it alone, which takes three times as long"
  uv=
}

# pip_setting CONFIG NAME: the values it has in files and in the environment, one a line.
pip_setting() {
  sed -n "s/^.*[.]$2='\(.*\)'\$/\1/p" <<<"$1" | sed 's/\\n/ /g' | tr -s ' ' '\n' | sort -u
}

# Sets uv_options to what pip on this machine was told: uv reads none of pip's settings.
read_pip_settings() {
  local place config
  config=$(.venv/bin/python -m pip config list 2>/dev/null)
  uv_options=()
  for place in $(pip_setting "$config" find-links); do
    [[ $place == *://* || -e $place ]] && uv_options+=(--find-links "$place")
  done
  place=$(pip_setting "$config" index-url | tail -n 1)
  [[ -n $place && -z ${UV_DEFAULT_INDEX:-} ]] && uv_options+=(--default-index "$place")
  place=$(pip_setting "$config" cert | tail -n 1)
  [[ -n $place && -z ${SSL_CERT_FILE:-} ]] && export SSL_CERT_FILE=$place
  return 0
}

# torch has a build per kind of machine. Without a GPU the CPU build saves gigabytes, if its own
# index answers; if not, the ordinary index and find-links decide.
pick_torch() {
  [[ -n ${UV_TORCH_BACKEND:-} ]] && return
  if nvidia-smi -L >/dev/null 2>&1; then
    uv_options+=(--torch-backend auto)
  elif UV_HTTP_RETRIES=0 timeout 15 "$uv" pip install --python .venv/bin/python --quiet --dry-run \
    --no-deps --torch-backend cpu "$(grep '^torch==' requirements.lock)" >/dev/null 2>&1; then
    uv_options+=(--torch-backend cpu)
  else
    say "torch's index of CPU builds does not answer: taking torch from the ordinary one"
  fi
}

install_packages() {
  local what
  what="installing $(wc -l <requirements.lock) packages"
  if [[ -n $uv ]]; then
    read_pip_settings
    pick_torch
    # --no-config would lose a company's index, so uv's own settings stay in force.
    watched "$what" "$uv" pip install --python .venv/bin/python --compile-bytecode \
      "${uv_options[@]}" -r requirements.lock || explain
  else
    watched "$what" .venv/bin/python -m pip install --progress-bar off -r requirements.lock || explain
  fi
}
