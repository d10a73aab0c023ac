#!/bin/sh
# Build and test everything: tests/run.sh, or only some steps: tests/run.sh lint asan
#
#   lint    tests/lint.sh, shellcheck
#   format  clang-format
#   gcc     a release build and all tests
#   clang   a debug build, asserts active, and all tests
#   asan    all tests under the address, leak and undefined behaviour sanitizers
#   tsan    the tests with threads under the thread sanitizer
#   newest  the tests through SQLite on the newest SQLite, where npm can fetch it
#   clients the examples for Python and Node, where they are there
#
# Missing Debian packages are installed first. Builds stay in build-*/, so a second
# run compiles only what changed. Ends with a summary line; exits non-zero if
# anything failed. KEVO_SEED=n repeats the random tests of an earlier run.
set -u
cd "$(dirname "$0")/.." || exit

passed=0 failed=0

say() {
    printf '%s\n' "$*"
}

count() { # passed, failed
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# ---- what is needed ----

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

apt_install() {
    say "== installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" \
        >/dev/null
}

install_packages() {
    command -v apt-get >/dev/null || return 0
    missing=
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing="$missing $package"
    done
    [ "$missing" ] || return 0
    # shellcheck disable=SC2086 # a list of names
    apt_install $missing || { as_root apt-get update -qq && apt_install $missing; }
}

install_missing() {
    install_packages gcc clang libc6-dev meson ninja-build pkg-config check liblz4-dev \
        libxxhash-dev libsqlite3-dev sqlite3 clang-format shellcheck || return
    # Its name has the version in it.
    runtime=libclang_rt.asan-$(uname -m).a
    [ -f "$(clang -print-file-name="$runtime")" ] ||
        install_packages "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev"
}

# ---- steps ----

# One check that is a command: run it, show what it says if it fails.
check() { # name, command...
    name=$1
    shift
    if output=$("$@" 2>&1); then
        count 1 0
    else
        say "$output"
        say "   $name: FAILED"
        count 0 1
    fi
}

step_lint() {
    check lint tests/lint.sh
    # shellcheck disable=SC2046 # no spaces in our names
    check shellcheck shellcheck .ci/run $(find tests examples -name '*.sh')
}

step_format() {
    # shellcheck disable=SC2046
    check clang-format clang-format --dry-run -Werror $(find engine sql ext tests -name '*.[ch]')
}

# Show each test's summary and, when it failed, all it said; then count.
report() { # testlog.json
    summary=$(python3 - "$1" <<'END'
import json, re, sys

passed = failed = 0
for line in open(sys.argv[1]):
    test = json.loads(line)
    output = test.get('stdout', '') + test.get('stderr', '')
    checks = re.findall(r'^\d+%: Checks: (\d+), Failures: (\d+), Errors: (\d+)', output, re.M)
    bad = sum(int(f) + int(e) for _, f, e in checks)
    good = sum(int(n) for n, _, _ in checks) - bad
    ok = test['result'] == 'OK'
    if not checks:
        good = int(ok)
    if not ok:
        bad = max(bad, 1)
    passed += good
    failed += bad
    said = re.search(r'^\d+%: Checks:.*', output, re.M)
    print('   %-14s %s (%.1f s)%s' % (test['name'].split(' / ')[-1],
                                      said.group() if said else test['result'], test['duration'],
                                      '' if ok else '  ' + test['result']))
    if not ok:
        print(output[-20000:])
print(passed, failed)
END
    ) || summary='   no test results
0 1'
    say "${summary%?"${summary##*
}"}"
    # shellcheck disable=SC2086 # two numbers
    count ${summary##*
}
}

try_build() { # name, compiler, meson options...
    dir=build-$1 compiler=$2
    shift 2
    mkdir -p "$dir"
    if [ ! -f "$dir/build.ninja" ]; then
        CC=$compiler meson setup "$dir" -Dtests=enabled -Dwerror=true "$@" >"$dir/build.log" 2>&1 || return
    fi
    ninja --quiet -C "$dir" >"$dir/build.log" 2>&1
}

build() {
    try_build "$@" && return
    # A folder that was moved, or that another meson made, is made anew.
    if ! grep -q 'error:' "build-$1/build.log"; then
        rm -rf "build-$1"
        try_build "$@" && return
    fi
    sed -n '/FAILED\|ERROR/,$p' "build-$1/build.log"
    say "   build-$1: does not build"
    count 0 1
    return 1
}

build_and_test() { # name, compiler, meson test's selection, meson options...
    name=$1 compiler=$2 selection=$3
    shift 3
    build "$name" "$compiler" "$@" || return
    log=build-$name/meson-logs/testlog.json
    rm -f "$log"
    # shellcheck disable=SC2086 # options or nothing
    $plain_addresses meson test -C "build-$name" --no-rebuild $selection >/dev/null 2>&1
    report "$log"
}

step_gcc() {
    build_and_test gcc gcc ''
}

step_clang() {
    build_and_test clang clang '' -Dbuildtype=debug
}

# The sanitizers of older compilers fail at random where the system spreads addresses
# far; setarch -R turns that off, if the system lets us.
without_random_addresses() {
    plain_addresses=
    setarch "$(uname -m)" -R true 2>/dev/null && plain_addresses="setarch $(uname -m) -R"
}

step_asan() {
    without_random_addresses
    build_and_test asan clang '' -Dbuildtype=debug -Doptimization=1 \
        -Db_sanitize=address,undefined -Db_lundef=false
    plain_addresses=
}

step_tsan() {
    without_random_addresses
    build_and_test tsan clang '--suite threaded' -Dbuildtype=debug -Doptimization=1 \
        -Db_sanitize=thread -Db_lundef=false
    plain_addresses=
}

# A script that ends with "...: 3 passed, 1 failed", or with status 77 when all was skipped.
# It uses what the step gcc built.
run_script() { # script
    build gcc gcc || return
    output=$("$1" build-gcc 2>&1)
    status=$?
    say "$output"
    [ $status != 77 ] || return
    summary=${output##*: }
    good=${summary%% *} bad=${summary#*passed, }
    case $good${bad%% *} in
    '' | *[!0-9]*) count 0 1 ;;
    *) count "$good" "${bad%% *}" ;;
    esac
}

step_newest() {
    run_script tests/newest_sqlite.sh
}

step_clients() {
    run_script tests/clients.sh
}

# ---- all of it ----

export ASAN_OPTIONS='allow_addr2line=1:detect_leaks=1:halt_on_error=1:abort_on_error=0'
export UBSAN_OPTIONS='allow_addr2line=1:print_stacktrace=1:halt_on_error=1'
export TSAN_OPTIONS='allow_addr2line=1:halt_on_error=1:second_deadlock_stack=1'
plain_addresses=

install_missing || exit
[ $# -gt 0 ] || set -- lint format gcc clang asan tsan newest clients
for step in "$@"; do
    say "== $step"
    "step_$step"
done
say "$passed passed, $failed failed"
[ "$failed" = 0 ]
