#!/usr/bin/env bash
# Runs one client suite. FLOW_ROUTER_BIN names the gateway's binary; --direct goes without a gateway.
#
#   run.sh python|node [--direct] [arguments of pytest or of node --test]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${CLIENTS_TARGET:-$here/../../target/clients}
suite=${1:?python or node}; shift
direct=0
if [ "${1:-}" = "--direct" ]; then direct=1; shift; fi
if [ "$direct" = 0 ] && [ -z "${FLOW_ROUTER_BIN:-}" ]; then
    echo "run.sh: FLOW_ROUTER_BIN is not set: the path of the gateway's binary (or say --direct)" >&2; exit 2
fi
[ "$direct" = 1 ] || FLOW_ROUTER_BIN=$(realpath "$FLOW_ROUTER_BIN")   # the suites change directory
said=$("$here/setup.sh" "$suite")
[ -z "$said" ] || echo "$said"
case $said in *SKIPPED:*) exit 0 ;; esac
# what a developer has set for his own work must not steer the tests
for name in $(compgen -e | grep -iE '(_API_KEY|_BASE_URL|_AUTH_TOKEN|_PROXY)$' || true); do unset "$name"; done
case $suite in
    python)
        flag=(); [ "$direct" = 0 ] || flag=(--direct)
        run=("$out/venv/bin/python" -m pytest "$here/sdk_python.py" -q --no-header --tb=short -p no:cacheprovider "${flag[@]}")
        export PYTHONDONTWRITEBYTECODE=1
        if [ $# -gt 0 ] || [ "$direct" = 1 ]; then exec "${run[@]}" "$@"; fi
        # the whole suite: half of the pairs each, side by side
        logs=("$out/python-0.log" "$out/python-1.log") pids=() code=0
        for part in 0 1; do "${run[@]}" --part "$part/2" >"${logs[$part]}" 2>&1 & pids+=($!); done
        for pid in "${pids[@]}"; do wait "$pid" || code=$?; done
        cat "${logs[@]}"
        tail -qn 1 "${logs[@]}"   # both summaries last
        exit "$code"
        ;;
    node)
        cp "$here"/sdk_node/*.mjs "$out/node/"   # beside node_modules, where imports are looked up
        cd "$out/node"
        CLIENTS_DIR="$here" CLIENTS_DIRECT=$direct node --test --test-reporter="${CLIENTS_REPORTER:-spec}" "$@" suite.test.mjs
        ;;
    *) echo "run.sh: unknown suite: $suite" >&2; exit 2 ;;
esac
