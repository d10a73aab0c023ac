#!/bin/sh
# Whether the benchmarks and their report work, by a tiny run of each: smoke.sh DIR KEVO.so
# where DIR has bench_sql and bench_engine. How fast anything is does not matter here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$1 module=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/results"

fail() {
    printf 'smoke.sh: %s\n' "$*"
    exit 1
}

"$bin/bench_sql" --rows 2000 --runs 2 --reads 1000 --settle 15 --dir "$work/data" \
    --csv "$work/results/sql-2k.csv" "$module"
"$bin/bench_engine" --rows 2000 --runs 1 --settle 15 --dir "$work/data" --csv "$work/results/engine-2k.csv" \
    --series "$work/results/series-2k.csv" ${ENGINES:+--engines "$ENGINES"}

# Sections with results are written anew, others and what is around them stay.
cat >"$work/readme" <<'END'
before
<!-- bench sql-2k -->
old
<!-- /bench -->
<!-- bench engine-2k -->
<!-- /bench -->
<!-- bench series-2k -->
<!-- /bench -->
<!-- bench sql-3k -->
kept
<!-- /bench -->
after
END
python3 "$here/report.py" --results "$work/results" --charts "$work/charts" \
    --readme "$work/readme" >"$work/said"
cp "$work/readme" "$work/again"
python3 "$here/report.py" --results "$work/results" --charts "$work/charts" \
    --readme "$work/again" >/dev/null
cmp "$work/readme" "$work/again" || fail 'a second report is another one'
for text in '^before$' '^after$' '^kept$' '^| REPLACE in random order | [0-9]' \
    '^| put in random order | [0-9]' 'charts/series-2k.svg' '^| µs: p50 / p99 / longest |'; do
    grep -q "$text" "$work/readme" || fail "the report has no $text"
done
! grep -q '^old$' "$work/readme" || fail 'the old section is still there'
grep -q '^sql-3k: no results' "$work/said" || fail 'nothing said about a section without results'
python3 - "$work"/charts/*.svg <<'END' || fail 'a chart is not XML'
import sys
import xml.etree.ElementTree as tree
assert len(sys.argv) == 4
for name in sys.argv[1:]:
    tree.parse(name)
END

# Figures that belong together are in order, and nobody has been measured without being there.
python3 - "$work"/results/sql-2k.csv "$work"/results/engine-2k.csv <<'END' || fail 'figures disagree'
import csv
import sys
for name in sys.argv[1:]:
    with open(name, encoding='utf-8') as f:
        rows = list(csv.DictReader(line for line in f if not line.startswith('#')))
    assert len(rows) >= 20
    for r in rows:
        assert float(r['us']) > 0 or r.get('load') == 'compact', r
        assert int(r['operations']) > 0 and int(r['disk_bytes']) > 0, r
        assert int(r['peak_resident_bytes']) >= int(r['peak_private_bytes']) > 0, r
        if r['max_us'] and float(r['max_us']) > 0:
            assert 0 < float(r['p50_us']) <= float(r['p99_us']) <= float(r['max_us']), r
END

# What is no file of results is refused, and the text left as it was.
printf 'run,workload\n1,2\n' >"$work/results/sql-bad.csv"
if python3 "$here/report.py" --results "$work/results" --charts "$work/charts" \
    --readme "$work/again" 2>"$work/said"; then
    fail 'a bad file was taken'
fi
grep -q 'sql-bad.csv: not a file of results' "$work/said" || fail 'nothing said about a bad file'
cmp "$work/readme" "$work/again" || fail 'the text was changed by a bad file'
