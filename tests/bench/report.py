#!/usr/bin/env python3
"""Turn the results of bench_sql and bench_engine into tables and charts.

    report.py [--results DIR] [--charts DIR] [--readme FILE] [--print]

Each sql-*.csv, engine-*.csv and series-*.csv in DIR, tests/bench/results/ if not said, gives a
chart NAME.svg; in FILE, the project's README.md, what stands between `<!-- bench NAME -->` and
`<!-- /bench -->` is written anew when there is such a file, and left alone when there is none.
With --print nothing is changed but the charts, and all tables are printed.

A figure is the median of the runs. A ratio is that of the best alternative to kevo within one
run, the median of the runs: above 1 kevo is better, below 1 worse. Goals are what the project set
out to reach. Exits non-zero, with a message, for a file that is not what the programs write.
"""

import argparse
import csv
import os
import re
import statistics
import sys

from charts import ratio_chart, series_chart

HERE = os.path.dirname(os.path.abspath(__file__))

# What is shown: workload, column, divisor, text, goal (times faster than the best alternative).
SQL_SPEED = [
    ('fillrandom', 'REPLACE in random order', 25),
    ('insertrandom', 'INSERT in random order', 20),
    ('overwrite', 'REPLACE of rows that are there', 20),
    ('update', 'UPDATE by key in random order', 8),
    ('onetxn', 'REPLACE, all in one transaction', 3),
    ('fillseq', 'REPLACE in key order', 1.5),
    ('single_normal', 'one REPLACE a transaction, NORMAL', 1.5),
    ('single_full', 'one REPLACE a transaction, FULL', 0.9),
    ('delete', 'DELETE of a key range, a row', 2),
    ('deleterange', 'a key range at once, all of it', None),
    ('readrandom', 'SELECT by key, each on its own', 2),
    ('readrandom_txn', 'SELECT by key, in a transaction', 2),
    ('readhot', 'of 1 % of the keys, in a transaction', 1),
    ('readmissing', 'absent keys, each on its own', 2),
    ('readmissing_txn', 'absent keys, in a transaction', 4),
    ('range100', 'range of 100 rows', 1),
    ('scan', 'full scan, a row', 0.9),
    ('reverse', 'full scan backward, a row', 0.8),
    ('count', 'count(*), a row', 1),
    ('inlist', 'IN list of 100 keys, a key', 2.5),
    ('join', 'join from an ordinary table, a row', 2.5),
]
ENGINE_SPEED = [
    ('fillseq', 'put in key order', 2),
    ('fillseq_batch', 'the same, 1,000 a batch', 1.5),
    ('fillrandom', 'put in random order', 2.5),
    ('fillrandom_batch', 'the same, 1,000 a batch', 2.5),
    ('overwrite', 'put of keys that are there', 2.5),
    ('fillsync', 'put, each synced', 1.3),
    ('readrandom', 'get', 3),
    ('readhot', 'get of 1 % of the keys', None),
    ('readmissing', 'get of absent keys', 3),
    ('readseq', 'scan, a row', 3),
    ('readreverse', 'scan backward, a row', 3),
    ('seekrandom', 'seek with a new iterator', 2),
    ('seekrandom_reused', 'seek with one iterator', None),
    ('seekrandom_next100', 'seek and 100 next', 4),
    ('readwrite95', '95 % get, 5 % put, zipfian', None),
    ('readwrite50', '50 % get, 50 % put, zipfian', None),
    ('readseq_writing', 'scan beside 20,000 put/s, a row', None),
    ('compact', 'compact everything, a row', None),
    ('deleterange', 'delete ranges, a row less', None),
    ('readseq_deleted', 'scan after that, a row of before', None),
]
SQL_TIMED = [
    ('fillrandom', 'REPLACE of 1,000 rows in random order'),
    ('insertrandom', 'INSERT of 1,000 rows in random order'),
    ('overwrite', 'REPLACE of 1,000 rows that are there'),
    ('update', 'UPDATE of 1,000 rows'),
    ('fillseq', 'REPLACE of 1,000 rows in key order'),
    ('single_normal', 'one REPLACE, NORMAL'),
    ('single_full', 'one REPLACE, FULL'),
    ('readrandom', 'SELECT by key, on its own'),
    ('readrandom_txn', 'SELECT by key, in a transaction'),
    ('readhot', 'of 1 % of the keys, in a transaction'),
    ('readmissing', 'absent key, on its own'),
    ('readmissing_txn', 'absent key, in a transaction'),
    ('range100', 'range of 100 rows'),
    ('open_first', 'open, load and first row'),
]
ENGINE_TIMED = [
    ('fillsteady', 'put in random order'),
    ('readwrite95', '95 % get, 5 % put, zipfian'),
    ('readwrite50', '50 % get, 50 % put, zipfian'),
    ('readseq_writing', 'put, beside scans'),
]
SIDE_NAMES = {'sqlite': 'SQLite', 'kevo': 'kevo', 'leveldb': 'LevelDB', 'rocksdb': 'RocksDB',
              'lmdb': 'LMDB'}
LSM_PEERS = ('leveldb', 'rocksdb')


class BadResults(Exception):
    """A file that bench_sql and bench_engine would not have written."""


# ---- reading -------------------------------------------------------------------------------


class Results:
    """A file of results: `about` has its head, `rows` its lines, `sides` who was measured."""

    def __init__(self, path):
        self.name = os.path.basename(path)[:-len('.csv')]
        self.kind = self.name.split('-')[0]
        self.load, self.side = ('workload', 'side') if self.kind == 'sql' else ('load', 'engine')
        self.about = {}
        with open(path, newline='', encoding='utf-8') as f:
            lines = f.read().splitlines()
        while lines and lines[0].startswith('# '):
            name, _, value = lines.pop(0)[2:].partition(': ')
            self.about[name] = value
        self.rows = list(csv.DictReader(lines))
        wanted = ['run', self.load, self.side]
        wanted += ['second', 'operations', 'max_us'] if self.kind == 'series' else ['us']
        if not self.rows or 'rows' not in self.about or any(
                r.get(c) in (None, '') for r in self.rows for c in wanted):
            raise BadResults('%s: not a file of results' % path)
        self.sides = list(dict.fromkeys(r[self.side] for r in self.rows))
        self.sides.sort(key=lambda s: (s == 'kevo') if self.kind == 'sql' else (s != 'kevo'))
        if 'kevo' not in self.sides:
            raise BadResults('%s: kevo was not measured' % path)
        self.runs = len({r['run'] for r in self.rows})

    def loads(self):
        return {r[self.load] for r in self.rows}

    def by_run(self, load, side, column, scale=1.0):
        """The figure of each run that has one."""
        return {r['run']: float(r[column]) / scale for r in self.rows
                if r[self.load] == load and r[self.side] == side and r[column]}

    def median(self, load, side, column, scale=1.0):
        values = self.by_run(load, side, column, scale).values()
        return statistics.median(values) if values else None

    def rivals(self):
        """Whom kevo is compared with: B-trees in SQL, log-structured engines without."""
        return [s for s in self.sides if (s != 'kevo' if self.kind == 'sql' else s in LSM_PEERS)]

    def ratio(self, load, column, rivals=None):
        """The best rival's figure over kevo's of the same run; None without both."""
        kevo = self.by_run(load, 'kevo', column)
        others = [self.by_run(load, s, column) for s in rivals or self.rivals()]
        ratios = []
        for run, value in kevo.items():
            theirs = [o[run] for o in others if run in o]
            if theirs and value > 0:
                ratios.append(min(theirs) / value)
        return statistics.median(ratios) if ratios else None


# ---- words ---------------------------------------------------------------------------------


def number(x):
    """With about three digits."""
    if x is None:
        return ''
    if x < 0.0005:  # there is nothing to be done
        return '-'
    for least, digits in ((100, 0), (10, 1), (1, 2)):
        if x >= least:
            return '{:,.{}f}'.format(x, digits)
    return '%.3f' % x


def times(x):
    if x is None:
        return ''
    return ('%.0f' if x >= 100 else '%.1f' if x >= 10 else '%.2f' if x >= 0.095 else '%.2g') % x


def side_name(side, about):
    if side == 'sqlite':
        return 'SQLite, 2 MB cache'
    if side.startswith('sqlite'):
        return 'SQLite, %s MB cache' % side[len('sqlite'):]
    return SIDE_NAMES.get(side, side)


def rows_text(about):
    return '{:,}'.format(int(about['rows']))


def measured(results):
    about = results.about
    versions = ['SQLite ' + about['sqlite'], 'kevo ' + about['kevo']] if results.kind == 'sql' else [
        '%s %s' % (SIDE_NAMES.get(s, s), about.get(s, '')) for s in results.sides]
    runs = 'one run' if results.runs == 1 else 'medians of %d runs' % results.runs
    return '**%s rows.** %s, %s, on %s, %s cores, %s GB of memory, %s. %s.' % (
        rows_text(about), runs[0].upper() + runs[1:], about.get('date', '?'), about.get('processor', 'a processor'),
        about.get('cores', '?'), about.get('memory_gb', '?'), about.get('kernel', '?'),
        '; '.join(versions))


def goal_text(goal):
    return '' if goal is None else goal if isinstance(goal, str) else '%g' % goal


def table(head, rows):
    lines = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    lines += ['| ' + ' | '.join(row) + ' |' for row in rows]
    return '\n'.join(lines)


# ---- tables --------------------------------------------------------------------------------


def speed_rows(results, speeds):
    """(text, figures by side, ratio, goal) of each workload that was measured."""
    for load, text, goal in speeds:
        if load not in results.loads():
            continue
        rivals = None
        if load == 'count' and results.kind == 'sql' and 'sqlite' in results.sides:
            rivals, text = ['sqlite'], text + ' (ratio to the 2 MB cache)'
        figures = [results.median(load, s, 'us') for s in results.sides]
        yield text, figures, results.ratio(load, 'us', rivals), goal


def peak(results, side):
    values = [results.median(load, side, 'peak_private_bytes', 1e6) for load in results.loads()]
    return max((v for v in values if v is not None), default=None)


# Besides means: workload, column, divisor, text, goal in SQL, goal of the engine.
OTHER_FIGURES = [
    ('single_normal', 'p50_us', 1, 'one REPLACE a transaction, NORMAL: median', 1, None),
    ('fillrandom', 'max_us', 1e3, 'longest transaction of the random fill, ms',
     'under 50', None),
    ('open_first', 'p50_us', 1e3, 'open, load, first row: median, ms', 'under 5', None),
    ('fillrandom', 'disk_bytes', 1e6, 'all files after the random fill, MB', 2, None),
    ('fillrandom', 'table_bytes', 1e6, 'the same without logs, MB', None, 1.1),
]


def other_rows(results):
    """The same of other figures: of single ones, of the files, of memory in all that was done."""
    for load, column, scale, words, sql_goal, engine_goal in OTHER_FIGURES:
        goal = sql_goal if results.kind == 'sql' else engine_goal
        if load in results.loads() and column in results.rows[0]:
            figures = [results.median(load, s, column, scale) for s in results.sides]
            if any(figures):
                yield words, figures, results.ratio(load, column), goal
    peaks = [peak(results, s) for s in results.sides]
    yield ('private memory at its peak, all loads, MB', peaks, None,
           'under 160' if results.kind == 'sql' else None)


def speed_table(results, speeds):
    head = ['µs'] + [side_name(s, results.about) for s in results.sides] + ['ratio', 'goal']
    rows = []
    for source in (speed_rows(results, speeds), other_rows(results)):
        for text, figures, ratio, goal in source:
            rows.append([text] + [number(x) for x in figures] + [times(ratio), goal_text(goal)])
    return table(head, rows)


def latency_table(results, timed):
    parts = [('p50_us', 'p50'), ('p99_us', 'p99'), ('p999_us', 'p99.9'), ('max_us', 'longest')]
    parts = [p for p in parts if p[0] in results.rows[0]]
    what = ' / '.join(name for _, name in parts)
    head = ['µs: ' + what] + [side_name(s, results.about) for s in results.sides]
    rows = []
    for load, text in timed:
        if load not in results.loads():
            continue
        cells = []
        for side in results.sides:
            figures = [results.median(load, side, column) for column, _ in parts]
            cells.append(' / '.join(number(x) for x in figures) if None not in figures else '')
        rows.append([text] + cells)
    if not rows:
        return ''
    return '<details><summary>Percentiles</summary>\n\n%s\n\n</details>' % table(head, rows)


def embed(results, charts, readme, what):
    """An image, by its path from the README."""
    path = os.path.relpath(os.path.join(charts, results.name + '.svg'),
                           os.path.dirname(os.path.abspath(readme)))
    return '![%s](%s)' % (what, path)


def section(results, charts, readme):
    if results.kind == 'series':
        return measured(results) + '\n\n' + embed(
            results, charts, readme, 'puts a second and the longest put of each second')
    speeds, timed = (SQL_SPEED, SQL_TIMED) if results.kind == 'sql' else (ENGINE_SPEED, ENGINE_TIMED)
    parts = [measured(results), embed(results, charts, readme, 'kevo against the best alternative'),
             speed_table(results, speeds), latency_table(results, timed)]
    return '\n\n'.join(p for p in parts if p)


# ---- charts --------------------------------------------------------------------------------


def draw(results):
    if results.kind == 'series':
        points = {}
        first = min(r['run'] for r in results.rows)
        for r in results.rows:
            if r['run'] == first:
                points.setdefault(side_name(r['engine'], results.about), []).append(
                    (int(r['second']), float(r['operations']), float(r['max_us'])))
        return series_chart('Puts in random order, %s rows, one each' % rows_text(results.about),
                            points)
    speeds = SQL_SPEED if results.kind == 'sql' else ENGINE_SPEED
    bars = [(text, ratio, goal if isinstance(goal, (int, float)) else None) for source in (speed_rows(results, speeds), other_rows(results))
            for text, _, ratio, goal in source if ratio]
    rival = ('the better ordinary table' if results.kind == 'sql'
             else 'the better of LevelDB and RocksDB')
    return ratio_chart('kevo against %s, %s rows' % (rival, rows_text(results.about)), bars)


# ---- all of it -----------------------------------------------------------------------------


def update(text, sections):
    """The text with new sections between their marks, and the names that have no results."""
    left = []

    def put(match):
        name = match.group(2)
        if name not in sections:
            left.append(name)
            return match.group(0)
        return '%s\n%s\n%s' % (match.group(1), sections[name], match.group(3))

    marks = re.compile(r'(<!-- bench ([a-z0-9-]+) -->)\n.*?(<!-- /bench -->)', re.S)
    return marks.sub(put, text), left


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', 1)[0])
    parser.add_argument('--results', default=os.path.join(HERE, 'results'))
    parser.add_argument('--charts', default=os.path.join(HERE, 'charts'))
    parser.add_argument('--readme', default=os.path.join(HERE, '..', '..', 'README.md'))
    parser.add_argument('--print', action='store_true')
    args = parser.parse_args()
    files = sorted(f for f in os.listdir(args.results)
                   if re.fullmatch(r'(sql|engine|series)-[a-z0-9]+\.csv', f))
    if not files:
        raise BadResults('%s: no results' % args.results)
    os.makedirs(args.charts, exist_ok=True)
    sections = {}
    for f in files:
        results = Results(os.path.join(args.results, f))
        sections[results.name] = section(results, args.charts, args.readme)
        with open(os.path.join(args.charts, results.name + '.svg'), 'w', encoding='utf-8') as svg:
            svg.write(draw(results))
    if args.print:
        for name, text in sections.items():
            print('## %s\n\n%s\n' % (name, text))
        return
    with open(args.readme, encoding='utf-8') as readme:
        text, left = update(readme.read(), sections)
    with open(args.readme, 'w', encoding='utf-8') as readme:
        readme.write(text)
    for name in left:
        print('%s: no results, left as it was' % name)


if __name__ == '__main__':
    try:
        main()
    except (BadResults, OSError) as error:
        sys.exit('report.py: %s' % error)
