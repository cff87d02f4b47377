#!/usr/bin/env bash
# Asks intercepted calls as the programs do, with libraries that are not ours: botocore's event-stream parser for Kiro,
# google-genai's types for Antigravity, openai and anthropic for Copilot. Installs them under target/intercept.
#
#   run.sh            reads a JSON list of {ide, url, body, model} from standard input, writes a list of what was heard
# Exit code: 0 also when Python is missing (a line SKIPPED: … says so).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=${INTERCEPT_TARGET:-$here/../../target/intercept}
mkdir -p "$out"
out=$(cd "$out" && pwd)
source "$here/../venv.sh"
python_since 10 || exit 0
venv "$out" "$here/requirements.txt" >&2
export PYTHONDONTWRITEBYTECODE=1
exec "$out/venv/bin/python" "$here/programs.py"
