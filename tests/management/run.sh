#!/usr/bin/env bash
# Asks the management API of a running gateway by its own OpenAPI document. Installs schemathesis under target/management.
#
#   run.sh URL        FLOW_ROUTER_KEYS names keys of administrators, with commas
# Exit code: 0 also when Python is missing (a line SKIPPED: … says so).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
url=${1:?the address of a running gateway}
out=${MANAGEMENT_TARGET:-$here/../../target/management}
mkdir -p "$out"
out=$(cd "$out" && pwd)
source "$here/../venv.sh"
python_since 10 || exit 0
venv "$out" "$here/requirements.txt"
checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance
checks=$checks,response_headers_conformance,negative_data_rejection
# Not asked: what ends the program or replaces its database; streams, which do not end; second names and methods of
# operations that are asked anyway.
cd "$out"
export SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$here PYTHONDONTWRITEBYTECODE=1
exec "$out/venv/bin/schemathesis" --config-file "$here/schemathesis.toml" run "$url/api/openapi.json" --no-color \
    --header "Authorization: Bearer ${FLOW_ROUTER_KEYS%%,*}" \
    --phases coverage,fuzzing --checks "$checks" --max-time "${MANAGEMENT_SECONDS:-75}" --request-timeout 30 \
    --continue-on-failure --warnings off --exclude-deprecated \
    --exclude-operation-id-regex '^(shutDown|restart|restoreBackup|streamLogs|streamUsage|watchEvents)|(Put|Get)$'
