#!/usr/bin/env bash
# Runs one part of the HTTP/2 conformance suite against the gateway's binary. Installs what it needs under target/h2spec.
#
#   run.sh server|client|floods|downgrade [WORDS]     WORDS: only cases with one of them in their name
# FLOW_ROUTER_BIN names the binary, H2SPEC_CERTS a folder with ca.pem, cert.pem and key.pem (part client: of `localhost`).
# Exit code: 0 also when Python is missing (a line SKIPPED: … says so), 1 when a case failed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
part=${1:?server, client, floods or downgrade}; shift
out=${H2SPEC_TARGET:-$here/../../target/h2spec}
mkdir -p "$out"
out=$(cd "$out" && pwd)
FLOW_ROUTER_BIN=$(realpath "${FLOW_ROUTER_BIN:?the path of the gateway\'s binary}")
if ! command -v python3 >/dev/null; then echo "SKIPPED: python3 is not installed"; exit 0; fi
if ! python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    echo "SKIPPED: python3 is older than 3.9 or lacks venv (Debian: apt-get install python3-venv)"; exit 0
fi
exec 9>"$out/.lock"
command -v flock >/dev/null && flock 9   # the parts start at the same time
stamp=$(cksum <"$here/requirements.txt")
if [ "$(cat "$out/venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$out/venv"
    python3 -m venv "$out/venv"
    "$out/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
    echo "$stamp" >"$out/venv/.stamp"
fi
exec 9>&-
export FLOW_ROUTER_BIN PYTHONDONTWRITEBYTECODE=1
exec "$out/venv/bin/python" "$here/$part.py" "$@"
