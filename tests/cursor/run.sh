#!/usr/bin/env bash
# Runs the editor of editor.py against an address. Installs what it needs under target/cursor.
#
#   run.sh HOST:PORT
# Exit code: 0 also when Python is missing (a line SKIPPED: … says so), 1 when an answer is not what it must be.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/../../target/cursor
mkdir -p "$out"
out=$(cd "$out" && pwd)
source "$here/../venv.sh"
python_since 9 || exit 0
venv "$out" "$here/requirements.txt"
PYTHONDONTWRITEBYTECODE=1 exec "$out/venv/bin/python" "$here/editor.py" "$@"
