# Sourced by the scripts beside it: finds Python 3.11 or newer and makes .venv with the extras
# named in $extras. Sets $root, and $python to the interpreter of .venv.
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

find_python() {
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    echo "gpufleet needs Python 3.11 or newer and found none: install it (Debian 12 and newer:" \
        "apt-get install python3 python3-venv), or name one: PYTHON=/path/to/python $0" >&2
    return 1
}

base_python=$(find_python) || exit 1
"$base_python" "$root/scripts/environment.py" "$extras" || exit 1
python=$root/.venv/bin/python
