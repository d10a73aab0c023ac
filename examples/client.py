#!/usr/bin/python3
"""Kevo from Python's sqlite3 module: what to copy into a program of your own.

    /usr/bin/python3 examples/client.py [path of kevo.so, or kevo] [folder]

Debian's python3 can load extensions. A Python that was built without that (pyenv's, unless told
otherwise) has no Connection.enable_load_extension; then this ends with status 77. Every part
asserts what it says, so the file is a test as well.
"""

import collections
import concurrent.futures
import contextlib
import datetime
import os
import sqlite3
import sys
import tempfile
import threading

KEVO = sys.argv[1] if len(sys.argv) > 1 else "kevo"


def connect(path, **options):
    """A connection with the extension. `options` are those of sqlite3.connect()."""
    db = sqlite3.connect(path, timeout=30, **options)
    db.enable_load_extension(True)
    db.load_extension(KEVO)
    db.enable_load_extension(False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def many_rows(path):
    """executemany() takes a generator; `with db` commits all of it as one batch."""
    with contextlib.closing(connect(path)) as db:
        db.execute(
            "CREATE VIRTUAL TABLE reading USING kevo("
            " device TEXT, ts INTEGER, temp REAL, PRIMARY KEY (device, ts DESC))"
        )
        rows = (("d%d" % (i % 10), i * 7919 % 100003, i / 8) for i in range(20000))
        with db:
            db.executemany("INSERT OR REPLACE INTO reading VALUES (?, ?, ?)", rows)
        assert db.execute("SELECT count(*) FROM reading").fetchone() == (20000,)
        newest = db.execute(
            "SELECT ts FROM reading WHERE device = ? ORDER BY ts DESC LIMIT 3", ("d3",)
        ).fetchall()
        assert newest == sorted(newest, reverse=True) and len(newest) == 3


def row_factories(path):
    """Rows by name: sqlite3.Row, or a class of one's own."""
    with contextlib.closing(connect(path)) as db:
        db.row_factory = sqlite3.Row
        row = db.execute("SELECT device, ts, temp FROM reading WHERE temp = 1.5").fetchone()
        assert row["device"] == "d2" and row.keys() == ["device", "ts", "temp"]

        Reading = collections.namedtuple("Reading", "device ts temp")
        db.row_factory = lambda cursor, values: Reading(*values)
        row = db.execute("SELECT * FROM reading WHERE device = 'd2' LIMIT 1").fetchone()
        assert isinstance(row.ts, int) and isinstance(row.temp, float)


def transactions(path):
    """The module's own BEGINs, and one's own."""
    # By default a BEGIN comes by itself before INSERT, UPDATE, DELETE and REPLACE.
    with contextlib.closing(connect(path)) as db:
        db.execute("CREATE TABLE log (entry TEXT)")
        try:
            with db:
                db.execute("DELETE FROM reading WHERE device = 'd1'")
                db.execute("INSERT INTO log VALUES ('d1 is gone')")
                assert db.in_transaction
                raise RuntimeError("changed my mind")
        except RuntimeError:
            pass
        # Both kinds of tables are as they were.
        assert db.execute("SELECT count(*) FROM log").fetchone() == (0,)
        assert db.execute("SELECT count(*) FROM reading WHERE device = 'd1'").fetchone() == (2000,)

    # isolation_level=None: a statement is a transaction, unless one says BEGIN. IMMEDIATE takes the
    # write lock at once, so that what was read cannot have changed when it is written.
    with contextlib.closing(connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        (before,) = db.execute("SELECT count(*) FROM reading").fetchone()
        db.execute("SAVEPOINT trial")
        db.execute("DELETE FROM reading")
        db.execute("ROLLBACK TO trial")
        db.execute("INSERT INTO log VALUES (?)", ("%d readings" % before,))
        db.execute("COMMIT")
        assert db.execute("SELECT entry FROM log").fetchall() == [("20000 readings",)]
        # Errors are those of ordinary tables.
        row = db.execute("SELECT * FROM reading LIMIT 1").fetchone()
        try:
            db.execute("INSERT INTO reading VALUES (?, ?, ?)", row)
            raise AssertionError("a key twice")
        except sqlite3.IntegrityError as e:
            assert str(e) == "UNIQUE constraint failed: reading.device, reading.ts"


def adapters(path):
    """Python's own types: adapted on the way in, converted on the way out.

    Columns of kevo tables have the types of STRICT tables, so a converter is chosen by the
    column's name in the query, not by its declared type.
    """
    sqlite3.register_adapter(datetime.datetime, lambda t: int(t.timestamp()))
    sqlite3.register_converter(
        "moment", lambda b: datetime.datetime.fromtimestamp(int(b), datetime.timezone.utc)
    )
    with contextlib.closing(connect(path, detect_types=sqlite3.PARSE_COLNAMES)) as db:
        db.execute("CREATE VIRTUAL TABLE event USING kevo(at INTEGER PRIMARY KEY, what ANY)")
        dawn = datetime.datetime(2024, 3, 1, 6, 30, tzinfo=datetime.timezone.utc)
        with db:
            db.execute("INSERT INTO event VALUES (?, ?)", (dawn, b"\0raw"))
        got = db.execute('SELECT at AS "at [moment]", what FROM event').fetchone()
        assert got == (dawn, b"\0raw")


def threads(path):
    """A connection for each thread, all on one store; writers wait for each other."""
    local = threading.local()

    def count_words(words):
        if not hasattr(local, "db"):
            local.db = connect(path, isolation_level=None)
        for word in words:  # instead of ON CONFLICT DO UPDATE, which virtual tables do not have
            local.db.execute("BEGIN IMMEDIATE")
            local.db.execute("INSERT OR IGNORE INTO word VALUES (?, 0)", (word,))
            local.db.execute("UPDATE word SET n = n + 1 WHERE word = ?", (word,))
            local.db.execute("COMMIT")

    with contextlib.closing(connect(path)) as db:
        db.execute("CREATE VIRTUAL TABLE word USING kevo(word TEXT PRIMARY KEY, n INTEGER)")
        parts = [["w%d" % (i * k % 13) for i in range(50)] for k in range(1, 9)]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(count_words, parts))
        expected = collections.Counter(word for part in parts for word in part)
        assert dict(db.execute("SELECT word, n FROM word")) == dict(expected)


def main():
    if not hasattr(sqlite3.Connection, "enable_load_extension"):
        print("this Python's sqlite3 cannot load extensions: use /usr/bin/python3", file=sys.stderr)
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        path = os.path.join(sys.argv[2] if len(sys.argv) > 2 else scratch, "client.db")
        for part in (many_rows, row_factories, transactions, adapters, threads):
            part(path)
    print("python %s, SQLite %s: ok" % (sys.version.split()[0], sqlite3.sqlite_version))
    return 0


if __name__ == "__main__":
    sys.exit(main())
