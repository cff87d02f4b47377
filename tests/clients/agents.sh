#!/usr/bin/env bash
# Real coding agents against the gateway named by FLOW_ROUTER_BIN, or with --direct without one.
# Not part of the test command: it installs 1.3 GB and takes minutes. See docs/testing-clients.md.
#
#   agents.sh [--direct] [--only AGENT[:UPSTREAM]] [--keep] [-v]
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
command -v python3 >/dev/null || { echo "SKIPPED: python3 is not installed"; exit 0; }
said=$("$here/setup.sh" agents)
[ -z "$said" ] || echo "$said"
case $said in *SKIPPED:*) exit 0 ;; esac
# what a developer has set for his own work must not steer the agents' router
for name in $(compgen -e | grep -iE '(_API_KEY|_BASE_URL|_AUTH_TOKEN|_PROXY)$' || true); do unset "$name"; done
PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/agents.py" "$@"
