#!/usr/bin/env bash
# Installs what the client suites need, with exact versions, under target/clients: a venv, the Node SDKs,
# and on request the agents. Quick when nothing changed; says plainly what it skipped.
#
#   setup.sh [python] [node] [agents]        default: python node
# Exit code: 0 also when Python or Node is missing (a line SKIPPED: … says so), 1 when an installation failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${CLIENTS_TARGET:-$here/../../target/clients}
source "$here/../venv.sh"
mkdir -p "$out"
out=$(cd "$out" && pwd)
exec 9>"$out/.lock"
command -v flock >/dev/null && flock 9   # the suites may start at the same time

fresh() { # fresh STAMP FILE...: has none of the files changed since the last good installation?
    local stamp=$1; shift
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(cat "$@" | cksum)" ]
}
done_with() { local stamp=$1; shift; cat "$@" | cksum >"$stamp"; }

have_node() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then echo "SKIPPED: node or npm is not installed"; return 1; fi
    local major
    major=$(node -p 'process.versions.node.split(".")[0]')
    if [ "$major" -lt 20 ]; then echo "SKIPPED: node is older than 20 (it is $major)"; return 1; fi
}

# The agents have no lock file: npm cannot lock packages whose optional parts exist for some platforms only.
npm_into() { # npm_into DIR SOURCE: package.json and its lock come from SOURCE
    local dir=$1 files=("$2"/package*.json) how=install
    if fresh "$dir/.stamp" "${files[@]}"; then return; fi
    echo "setup: npm in $dir"
    mkdir -p "$dir"
    cp "${files[@]}" "$dir/"
    [ ! -f "$2/package-lock.json" ] || how=ci
    (cd "$dir" && npm "$how" --no-fund --no-audit --loglevel=error)
    done_with "$dir/.stamp" "${files[@]}"
}

for what in "${@:-python node}"; do
    for one in $what; do
        case $one in
            python) if python_since 9; then venv "$out" "$here/requirements.txt"; fi ;;
            node) if have_node; then npm_into "$out/node" "$here/sdk_node"; fi ;;
            agents) if have_node; then npm_into "$out/agents" "$here/agents"; fi ;;
            *) echo "setup.sh: unknown part: $one (python, node, agents)" >&2; exit 2 ;;
        esac
    done
done
