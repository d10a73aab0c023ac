#!/bin/sh
# Run each script of shell/ in the stock sqlite3 shell, on a new database with the
# extension loaded, and compare all it says with the .out file beside it. And put what README.md
# shows as SQL into the shell as it is, a database for each piece: none of it may fail.
#
#     tests/sql/run_shell.sh path/to/kevo.so            compare
#     tests/sql/run_shell.sh path/to/kevo.so --accept   write the .out files anew
set -u
module=$(realpath "$1") accept=${2-}
cd "$(dirname "$0")/shell" || exit
scripts=$PWD
# For scripts that start programs.
KEVO_MODULE=$module EXAMPLES=$(realpath ../../../examples) SCRIPTS=$scripts
export KEVO_MODULE EXAMPLES SCRIPTS
work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT

passed=0 failed=0
for script in *.sql; do
    name=${script%.sql}
    mkdir "$work/$name"
    (cd "$work/$name" && sqlite3 -cmd ".load $module" "$work/$name/app.db" <"$scripts/$script") \
        >"$work/$name.out" 2>&1
    # The numbers that the planner packs a plan into mean nothing to a reader.
    sed -i -e 's/INDEX [0-9]*:/INDEX n:/' -e 's/ *$//' -e "s|$work|DIR|g" "$work/$name.out"
    if [ "$accept" ]; then
        cp "$work/$name.out" "$name.out"
    elif diff -u "$name.out" "$work/$name.out"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
    fi
done
# In README-1.sql and so on.
awk -v to="$work/README" '
    /^```$/ { in_piece = 0 }
    in_piece { print >(to "-" count ".sql") }
    /^```sql$/ { in_piece = 1; count++ }' ../../../README.md
for script in "$work"/README-*.sql; do
    name=$(basename "$script" .sql)
    load=".load $module"
    if grep -q '^\.load ' "$script"; then load='.bail on'; fi
    mkdir "$work/$name"
    if (cd "$work/$name" && LD_LIBRARY_PATH=$(dirname "$module") sqlite3 -bail -cmd "$load" app.db \
        <"$script") >"$work/$name.out" 2>&1; then
        passed=$((passed + 1))
    else
        printf '%s:\n' "$name"
        cat "$script" "$work/$name.out"
        failed=$((failed + 1))
    fi
done
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
