#!/usr/bin/env bash
# Put a model back on its previous version, now, and see that it serves.
#
#   scripts/emergency_rollback.sh MODEL [--yes] [--endpoint URL]
#
# --yes           do not ask (needed where there is no terminal)
# --endpoint URL  what to check afterwards; else $AGENTLOOP_ENDPOINT, else http://127.0.0.1:8700
#
# $AGENTLOOP names the command line to use; else `agentloop` on the PATH, else the checkout's.
# Exit codes: 0 rolled back and healthy; 1 the rollback failed; 2 wrong arguments, or no command
# line was found; 3 rolled back, but the health check fails; 4 not confirmed, nothing was done.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

say() { printf '%s %s\n' "$(date -u +%H:%M:%SZ)" "$*" >&2; }

usage() {
  sed -n '/^# Put/,/^# line was/p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2
  exit 2
}

model='' yes='' endpoint=${AGENTLOOP_ENDPOINT:-http://127.0.0.1:8700}
while (($#)); do
  case $1 in
    --yes | -y) yes=1 ;;
    --endpoint)
      (($# > 1)) || usage
      endpoint=$2
      shift
      ;;
    -*) usage ;;
    *)
      [[ -z $model ]] || usage
      model=$1
      ;;
  esac
  shift
done
[[ -n $model ]] || usage

agentloop=${AGENTLOOP:-$(command -v agentloop || printf '%s' "$here/../agentloop")}
if ! command -v "$agentloop" >/dev/null; then
  say "no agentloop command line: set AGENTLOOP to it; nothing was done"
  exit 2
fi

if [[ -z $yes ]]; then
  if [[ ! -t 0 ]]; then
    say "no terminal to ask on: repeat with --yes; nothing was done"
    exit 4
  fi
  # What is served now is worth a look, and not worth failing for.
  "$agentloop" status >&2 || true
  read -r -p "Roll '$model' back to its previous version? [y/N] " reply
  if [[ ${reply,,} != y && ${reply,,} != yes ]]; then
    say "not confirmed; nothing was done"
    exit 4
  fi
fi

say "rolling back $model"
started=$SECONDS code=0
"$agentloop" rollback "$model" || code=$?
if ((code)); then
  say "the rollback of $model failed (exit code $code); what serves now: $agentloop status"
  say "next: docs/runbooks/rollback.md, 'When the rollback itself fails'"
  exit 1
fi
say "rolled back $model in $((SECONDS - started)) s; checking $endpoint"

if ! python3 "$here/health_check.py" --endpoint "$endpoint" --model "$model" --exit-on-failure >&2; then
  say "$model was rolled back, but $endpoint is not healthy"
  say "next: docs/runbooks/model-down.md"
  exit 3
fi
printf 'rolled back %s; %s is healthy\n' "$model" "$endpoint"
