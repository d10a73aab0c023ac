#!/bin/sh
# Kevo in two minutes: build it, load this machine's package index into a kevo table and
# its list of installed packages into an ordinary one, and use both together from the
# stock sqlite3 shell. Each answer is compared with one computed without SQLite; the
# script stops with an error at the first that differs.
#
#     examples/quickstart.sh
#
# For Debian and its relatives. What it makes stays in build/quickstart/ to play with.
set -eu
export LC_ALL=C
cd "$(dirname "$0")/.."

# ---- telling what happens ----

say() {
    printf '\n== %s\n' "$*"
}

wrong() {
    printf 'WRONG: %s\n' "$*" >&2
    exit 1
}

# ---- installing and building ----

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

update_index() {
    say 'downloading the package index'
    as_root apt-get update -qq
}

install_missing() {
    set -- gcc libc6-dev meson ninja-build pkg-config liblz4-dev libxxhash-dev libsqlite3-dev sqlite3
    # shellcheck disable=SC2016 # dpkg-query's variable
    [ "$(dpkg-query -W -f '${db:Status-Status} ' "$@" 2>/dev/null |
        tr ' ' '\n' | grep -cx installed)" = $# ] && return
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >/dev/null
}

build() {
    say 'building build/ext/kevo.so'
    if [ ! -f build/build.ninja ]; then
        told=$(meson setup build -Dtests=disabled 2>&1) || wrong "meson setup build: $told"
    fi
    if [ -t 1 ]; then
        ninja -C build ext/kevo.so
    else
        ninja -C build --quiet ext/kevo.so
    fi
}

# ---- asking ----

# Run SQL in the stock shell, in a process of its own each time.
shell() {
    sqlite3 -bail -cmd ".load $root/build/ext/kevo" app.db "$@"
}

# Show a query and the first lines of its answer; compare all of it with a file.
ask() { # query, expected
    printf '\n%s\n' "$1"
    shell "$1" >answer
    head -n 3 answer | cut -c 1-100 | sed 's/^/    /'
    lines=$(wc -l <answer)
    [ "$lines" -le 3 ] || echo "    ... $lines lines"
    cmp -s answer "$2" || wrong "expected what is in $PWD/$2, see $PWD/answer"
}

ask_for() { # query, expected text
    printf '%s\n' "$2" >expected
    ask "$1" expected
}

# ---- the data, as plain files ----

US=$(printf '\037') RS=$(printf '\036')

# records: name US record RS ..., the first record of a name; sorted: the same, a line
# each, in the order of names.
write_files() {
    say "reading this machine's packages"
    apt-cache dumpavail | awk -v RS= -v ORS="$RS" -v US="$US" '
        $1 == "Package:" && !seen[$2]++ { print $2 US $0 }' >records
    tr '\n\036' '\035\n' <records | sort >sorted
    cut -d "$US" -f 1 sorted >names
    dpkg-query -W -f '${Package}|${Version}\n' | sort -u -t '|' -k 1,1 >installed
    echo "   $(wc -l <names) available, $(wc -l <installed) installed"
}

# All of the table, compared byte by byte.
check_all() {
    printf '\nSELECT * FROM kv;    -- all of it, byte by byte\n'
    shell -ascii 'SELECT * FROM kv' | tr '\n\036' '\035\n' | cmp - sorted ||
        wrong 'the table is not what went in'
    echo "    $(wc -l <sorted) rows, all as expected"
}

# ---- the tour ----

load() {
    say 'a kevo table of what is available, an ordinary one of what is installed'
    shell -echo <<END
CREATE VIRTUAL TABLE kv USING kevo;
.import --ascii records kv
CREATE TABLE installed(name TEXT PRIMARY KEY, version TEXT) WITHOUT ROWID;
.separator |
.import installed installed
END
    ask_for 'SELECT count(*) FROM kv' "$(wc -l <names)"
    check_all
}

query() {
    say 'a key, a range, a prefix'
    awk -v RS="$RS" -F "$US" '$1 == "bash" { print $2 }' records >expected
    ask "SELECT value FROM kv WHERE key = 'bash'" expected
    awk '$0 >= "sqlite" "" && $0 < "sqm" ""' names >expected
    ask "SELECT key FROM kv WHERE key >= 'sqlite' AND key < 'sqm'" expected
    grep '^python3-' names | sort -r >expected
    ask "SELECT key FROM kv WHERE key GLOB 'python3-*' ORDER BY key DESC" expected
    printf '\nEXPLAIN QUERY PLAN of that:\n'
    shell "EXPLAIN QUERY PLAN SELECT key FROM kv WHERE key GLOB 'python3-*' ORDER BY key DESC" |
        sed 1d | sed 's/^/    /'

    say 'both tables in one query: installed packages and the size of their records'
    tr '\035' '\n' <sorted | awk -v RS='\n' -F "$US" '
        NF == 2 { name = $1; order[++n] = name; bytes[name] = length($2); next }
        { bytes[name] += 1 + length($0) }
        END { for (i = 1; i <= n; i++) print order[i] "|" bytes[order[i]] }' >sizes
    join -t '|' installed sizes >expected
    ask 'SELECT name, version, length(CAST(value AS BLOB))
    FROM installed JOIN kv ON key = name ORDER BY name' expected
}

transact() {
    say 'a transaction over both tables, rolled back'
    available=$(wc -l <names) installed=$(wc -l <installed)
    counts='SELECT (SELECT count(*) FROM kv), (SELECT count(*) FROM installed)'
    python=$(grep -c '^python3-' names)
    ask_for "BEGIN; DELETE FROM kv WHERE key GLOB 'python3-*'; DELETE FROM installed;
    $counts; ROLLBACK; $counts" "$((available - python))|0
$available|$installed"
    check_all

    say 'one that is committed'
    ask_for "BEGIN; INSERT INTO kv VALUES ('kevo-quickstart', 'Package: kevo-quickstart');
    INSERT INTO installed VALUES ('kevo-quickstart', '1'); COMMIT; $counts" \
        "$((available + 1))|$((installed + 1))"

    say 'closed and opened again, it is all there'
    printf 'kevo-quickstart%sPackage: kevo-quickstart\n' "$US" | sort -m - sorted >longer
    mv longer sorted
    ask_for "$counts" "$((available + 1))|$((installed + 1))"
    check_all
}

kilobytes() {
    du -sk "$@" | awk '{ sum += $1 } END { print sum }'
}

sizes() {
    say 'on disk'
    sqlite3 -bail ordinary.db <<END
CREATE TABLE kv(key TEXT PRIMARY KEY, value) WITHOUT ROWID;
.import --ascii records kv
VACUUM;
END
    ordinary=$(kilobytes ordinary.db)
    shell "SELECT kevo_flush('kv')" >/dev/null
    flushed=$(kilobytes app.db app.db-kevo)
    shell "SELECT kevo_compact('kv')" >/dev/null
    compacted=$(kilobytes app.db app.db-kevo)
    echo "   ordinary table        $ordinary KB"
    echo "   kevo table, flushed   $flushed KB, $((100 * flushed / ordinary)) %"
    echo "   kevo table, compacted $compacted KB, $((100 * compacted / ordinary)) %"
    check_all
}

install_missing || { update_index && install_missing; }
[ "$(apt-cache dumpavail | grep -c '^Package:')" -gt 10000 ] || update_index
build
root=$PWD
rm -rf build/quickstart
mkdir build/quickstart
cd build/quickstart
write_files
load
query
transact
sizes
say "all answers were right. Go on with: sqlite3 -cmd '.load build/ext/kevo' build/quickstart/app.db"
