#!/bin/sh
# Run the examples for clients, which assert what they say:
#
#     tests/clients.sh [build folder]          default: build-gcc, built before
#
#   examples/client.py   with /usr/bin/python3, whose sqlite3 module can load extensions
#   examples/client.js   with node and better-sqlite3, which npm builds from source in
#                        build-node/, with the system's headers of node if they are there;
#                        it takes some minutes and stays there
#
# Exit status: 0 all passed, 1 something failed, 77 all skipped.
set -u
cd "$(dirname "$0")/.." || exit
build=${1-build-gcc}
packages="build-node"
kevo=$PWD/$build/ext/kevo.so
passed=0 failed=0

skip() { # name, why
    printf '   %s: skipped, %s\n' "$1" "$2"
}

run() { # name, command...
    name=$1
    shift
    output=$("$@" 2>&1)
    case $? in
    0) passed=$((passed + 1)) && printf '   %s\n' "$output" ;;
    77) skip "$name" "$output" ;;
    *) failed=$((failed + 1)) && printf '%s\n   %s: FAILED\n' "$output" "$name" ;;
    esac
}

# ---- python ----

run_python() {
    if [ -x /usr/bin/python3 ]; then
        run client.py /usr/bin/python3 examples/client.py "$kevo"
    else
        skip client.py 'there is no /usr/bin/python3'
    fi
}

# ---- node ----

install_better_sqlite3() {
    [ ! -f "$packages/node_modules/better-sqlite3/build/Release/better_sqlite3.node" ] || return 0
    mkdir -p "$packages"
    set -- install --silent --no-save --prefix "$packages" --build-from-source better-sqlite3
    [ ! -f /usr/include/node/node_api.h ] || set -- "$@" --nodedir=/usr
    npm "$@" >"$packages/install.log" 2>&1
}

run_node() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        skip client.js 'there is no node with npm'
    elif ! install_better_sqlite3; then
        skip client.js "npm could not build better-sqlite3, see $packages/install.log"
    else
        NODE_PATH=$PWD/$packages/node_modules run client.js node examples/client.js "$kevo"
    fi
}

if [ ! -f "$kevo" ]; then
    skip clients "there is no $build/ext/kevo.so: tests/run.sh gcc"
    exit 77
fi
run_python
run_node
printf 'clients: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] || exit 1
[ "$passed" != 0 ] || exit 77
