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
PYTHONDONTWRITEBYTECODE=1 exec python3 "$here/agents.py" "$@"
