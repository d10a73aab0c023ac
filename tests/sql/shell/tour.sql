-- What a first hour with a kevo table looks like in the stock shell.
CREATE VIRTUAL TABLE kv USING kevo;
INSERT INTO kv VALUES ('user:17', 'Ada'), ('user:4', 'Grace'), ('zip:0815', 815), ('pi', 3.25), ('raw', x'00ff'), ('none', NULL);
.print -- types and bits
SELECT key, typeof(value), quote(value) FROM kv;
.print -- key, range, prefix, list, both directions
SELECT value FROM kv WHERE key = 'pi';
SELECT key FROM kv WHERE key BETWEEN 'n' AND 'r';
SELECT key FROM kv WHERE key GLOB 'user:*' ORDER BY key DESC;
SELECT key FROM kv WHERE key IN ('zip:0815', 'nobody', 'none', 'pi');
SELECT key FROM kv WHERE key > 'raw' ORDER BY key DESC LIMIT 2;
.print -- how
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key = 'pi';
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key > 'n' ORDER BY key DESC;
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key GLOB 'user:*';
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key IN ('a', 'b');
EXPLAIN QUERY PLAN SELECT * FROM kv;
.print -- conflict clauses
INSERT INTO kv VALUES ('pi', 4);
INSERT OR IGNORE INTO kv VALUES ('pi', 4), ('e', 2.5);
INSERT OR REPLACE INTO kv VALUES ('pi', 3.5);
INSERT INTO kv VALUES (NULL, 1);
SELECT changes(), total_changes() > 0;
.print -- changes of rows and keys
UPDATE kv SET value = value || '!' WHERE key GLOB 'user:*';
UPDATE kv SET key = 'user:5' WHERE key = 'user:4';
DELETE FROM kv WHERE key = 'none';
SELECT key, value FROM kv WHERE key GLOB 'user:*' OR key = 'pi';
.print -- joins, both ways round
CREATE TABLE person(id INTEGER PRIMARY KEY, login TEXT);
INSERT INTO person VALUES (1, 'user:5'), (2, 'user:17'), (3, 'user:99');
SELECT id, value FROM person JOIN kv ON kv.key = person.login ORDER BY id;
SELECT key, id FROM kv LEFT JOIN person ON person.login = kv.key WHERE key >= 'u' AND key < 'v';
.print -- one transaction over both
BEGIN;
INSERT INTO person VALUES (4, 'user:1');
INSERT INTO kv VALUES ('user:1', 'Edsger');
SELECT count(*) FROM kv JOIN person ON key = login;
ROLLBACK;
SELECT count(*) FROM kv JOIN person ON key = login;
BEGIN;
INSERT INTO kv VALUES ('user:1', 'Edsger');
SAVEPOINT s;
DELETE FROM kv;
SELECT count(*) FROM kv;
ROLLBACK TO s;
COMMIT;
SELECT count(*) FROM kv;
.print -- views, CTEs, windows, RETURNING, UPDATE FROM
CREATE VIEW users AS SELECT substr(key, 6) AS id, value AS name FROM kv WHERE key GLOB 'user:*';
SELECT * FROM users ORDER BY name;
WITH n(c) AS (SELECT count(*) FROM kv) SELECT c FROM n;
SELECT key, row_number() OVER (ORDER BY key DESC) FROM kv LIMIT 2;
INSERT INTO kv VALUES ('new', 1) RETURNING key, value;
UPDATE kv SET value = person.id FROM person WHERE person.login = kv.key;
SELECT * FROM kv WHERE key GLOB 'user:*';
.print -- RENAME, tools, upkeep
ALTER TABLE kv RENAME TO pairs;
SELECT count(*) FROM pairs;
.tables
SELECT kevo_flush('pairs'), kevo_compact('pairs'), kevo_check('pairs');
SELECT name, value FROM kevo_stats('pairs') WHERE name IN ('table_entries', 'flushes');
SELECT name, value > 0 FROM kevo_stats('pairs')
  WHERE name LIKE 'write!_%' ESCAPE '!' OR name LIKE 'level0!_%' ESCAPE '!' OR name = 'flush_p50_ns';
VACUUM;
PRAGMA integrity_check;
DROP TABLE pairs;
SELECT * FROM pairs;
