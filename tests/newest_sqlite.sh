#!/bin/sh
# Run the tests that go through SQLite on the newest SQLite instead of the system's:
#
#     tests/newest_sqlite.sh [build folder]          default: build-gcc, built before
#
# The source is the one in the newest better-sqlite3, a package of npm's, fetched by npm
# itself from wherever it is set up to fetch; it is made into a libsqlite3.so.0 in
# build-newest/, which stays there until a newer one is out. The tests and the module were
# built against the system's headers, as users' programs are, and find the library by
# LD_LIBRARY_PATH. (The sqlite3 shell refuses a library that is not of its own build, so its
# scripts are left out.) KEVO_SEED and KEVO_OPS are passed on.
#
# Exit status: 0 all passed, 1 something failed, 77 skipped, because there is no npm or it
# gets no answer; the last line says which.
set -u
cd "$(dirname "$0")/.." || exit
build=${1-build-gcc}
newest="build-newest"

skip() {
    printf 'newest SQLite: skipped, %s\n' "$*"
    exit 77
}

# ---- the library ----

fetch_source() { # version of the package
    rm -rf "$newest"
    mkdir -p "$newest"
    (cd "$newest" && npm pack --silent "better-sqlite3@$1" >/dev/null &&
        tar xzf better-sqlite3-*.tgz package/deps/sqlite3/sqlite3.c) || return
    printf '%s\n' "$1" >"$newest/package.version"
}

# What Debian's library has and programs here may ask for.
build_library() {
    echo "   building $(sed -n 's/^#define SQLITE_VERSION  *"\(.*\)"/SQLite \1/p' \
        "$newest/package/deps/sqlite3/sqlite3.c")"
    "${CC:-cc}" -shared -fPIC -O1 -Wl,-soname,libsqlite3.so.0 -o "$newest/libsqlite3.so.0.new" \
        -DSQLITE_ENABLE_COLUMN_METADATA -DSQLITE_ENABLE_DBSTAT_VTAB -DSQLITE_ENABLE_FTS5 \
        -DSQLITE_ENABLE_MATH_FUNCTIONS -DSQLITE_ENABLE_PREUPDATE_HOOK -DSQLITE_ENABLE_RTREE \
        -DSQLITE_ENABLE_SESSION -DSQLITE_ENABLE_STMTVTAB -DSQLITE_ENABLE_UNLOCK_NOTIFY \
        -DSQLITE_USE_URI "$newest/package/deps/sqlite3/sqlite3.c" -lm || return
    mv "$newest/libsqlite3.so.0.new" "$newest/libsqlite3.so.0"
}

make_library() {
    command -v npm >/dev/null || skip 'there is no npm'
    version=$(npm view --silent --fetch-retries=0 --fetch-timeout=20000 better-sqlite3 version \
        2>/dev/null) || skip 'npm gets no answer'
    [ "$version" ] || skip 'npm gets no answer'
    [ "$(cat "$newest/package.version" 2>/dev/null)" = "$version" ] || fetch_source "$version" ||
        skip "npm does not deliver better-sqlite3 $version"
    [ -f "$newest/libsqlite3.so.0" ] || build_library
}

# ---- the tests ----

passed=0 failed=0

run() { # name, command...
    name=$1
    shift
    if output=$(LD_LIBRARY_PATH=$PWD/$newest "$@" 2>&1); then
        passed=$((passed + 1))
    else
        printf '%s\n   %s: FAILED\n' "$output" "$name"
        failed=$((failed + 1))
    fi
}

make_library || exit 1
KEVO_MODULE=$PWD/$build/ext/kevo.so
export KEVO_MODULE
[ -f "$KEVO_MODULE" ] || skip "there is no $build/ext/kevo.so: tests/run.sh gcc"

for test in "$build"/tests/sql/test_sql_* "$build"/tests/fuzz/differential; do
    [ -d "$test" ] || run "$(basename "$test")" "$test"
done
printf 'newest SQLite: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
