#!/bin/sh
# Measure kevo beside others, and keep the results in tests/bench/results/ for report.py.
#
#     tests/bench/bench.sh sql       kevo tables and ordinary tables, through SQLite
#     tests/bench/bench.sh engine    the engine and LevelDB, RocksDB and LMDB, by their C interfaces
#     tests/bench/report.py          tables and charts of the README, from the results
#
# By default three runs of 1,000,000 rows, then one of 10,000,000: with LMDB and SQLite's
# random writes that takes hours in all. `bench.sh sql ROWS RUNS [WORKLOAD ...]` measures that
# alone. The machine should have nothing else to do. Builds in build-bench/, where the databases
# are as well, up to 10 GB of them; installs the Debian packages that are missing.
set -eu
cd "$(dirname "$0")/../.."

say() {
    printf '== %s\n' "$*"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" \
        >/dev/null
}

install_missing() {
    command -v apt-get >/dev/null || return 0
    missing=
    for package in gcc libc6-dev meson ninja-build pkg-config liblz4-dev libxxhash-dev \
        libsqlite3-dev libleveldb-dev librocksdb-dev liblmdb-dev python3; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing="$missing $package"
    done
    [ "$missing" ] || return 0
    say "installing$missing"
    # shellcheck disable=SC2086 # a list of names
    apt_install $missing || { as_root apt-get update -qq && apt_install $missing; }
}

build() {
    say 'building build-bench'
    [ -f build-bench/build.ninja ] ||
        meson setup build-bench -Dtests=disabled -Dbenchmarks=enabled >/dev/null
    ninja --quiet -C build-bench
}

# 1000000: 1m
size_name() {
    case $1 in
    *000000) echo "${1%000000}m" ;;
    *000) echo "${1%000}k" ;;
    *) echo "$1" ;;
    esac
}

# Results are kept when a run has come to its end.
keep() { # file
    mv "build-bench/$1" "tests/bench/results/$1"
    say "tests/bench/results/$1"
}

measure_sql() { # rows, runs, workloads...
    rows=$1 runs=$2 file=sql-$(size_name "$1").csv
    shift 2
    build-bench/tests/bench/bench_sql --rows "$rows" --runs "$runs" --dir build-bench/data \
        --csv "build-bench/$file" build-bench/ext/kevo.so "$@"
    keep "$file"
}

measure_engine() { # rows, runs, loads...
    rows=$1 runs=$2 size=$(size_name "$1")
    shift 2
    build-bench/tests/bench/bench_engine --rows "$rows" --runs "$runs" --dir build-bench/data \
        --csv "build-bench/engine-$size.csv" --series "build-bench/series-$size.csv" "$@"
    keep "engine-$size.csv"
    keep "series-$size.csv"
}

what=${1-}
case $what in
sql | engine) shift ;;
*)
    sed -n '2,/^set/s/^# \{0,1\}//p' "$0"
    exit 1
    ;;
esac
install_missing
build
mkdir -p tests/bench/results
trap 'rm -rf build-bench/data' EXIT
if [ $# -gt 0 ]; then
    rows=$1
    shift
    runs=${1-1}
    [ $# = 0 ] || shift
    "measure_$what" "$rows" "$runs" "$@"
else
    "measure_$what" 1000000 3
    "measure_$what" 10000000 1
fi
