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
source "$here/../venv.sh"
python_since 9 || exit 0
venv "$out" "$here/requirements.txt"
export FLOW_ROUTER_BIN PYTHONDONTWRITEBYTECODE=1
exec "$out/venv/bin/python" "$here/$part.py" "$@"
