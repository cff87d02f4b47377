# Sourced by the suites that are written in Python: each has packages of its own, with exact versions, in a venv below
# target/.

# python_since MINOR: is there a Python 3.MINOR that can make one? Says plainly why not.
python_since() {
    if ! command -v python3 >/dev/null; then echo "SKIPPED: python3 is not installed"; return 1; fi
    python3 -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, $1))" 2>/dev/null && return
    echo "SKIPPED: python3 is older than 3.$1 or lacks venv (Debian: apt-get install python3-venv)"
    return 1
}

# venv FOLDER REQUIREMENTS: makes FOLDER/venv, quick when nothing changed. Not to be called in a condition: bash would
# go on behind an installation that failed.
venv() {
    local stamp
    exec 8>"$1/venv.lock"
    ! command -v flock >/dev/null || flock 8   # suites may start at the same time
    stamp=$(cksum <"$2")
    if [ "$(cat "$1/venv/.stamp" 2>/dev/null)" != "$stamp" ]; then
        echo "setup: venv in $1/venv"
        rm -rf "$1/venv"
        python3 -m venv "$1/venv"
        "$1/venv/bin/pip" install --quiet --disable-pip-version-check -r "$2"
        echo "$stamp" >"$1/venv/.stamp"
    fi
    exec 8>&-
}
