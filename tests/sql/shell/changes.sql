-- INSERT, UPDATE and DELETE with every conflict clause, inside transactions and out.
.changes on
CREATE VIRTUAL TABLE kv USING kevo;
CREATE TABLE src(k TEXT, v);
INSERT INTO src VALUES('a', 10), ('x', 20), ('c', 30);
INSERT INTO kv VALUES('a', 1), ('b', 2), ('c', 3);

.print -- conflicts
INSERT INTO kv VALUES('d', 4), ('a', 5);
INSERT OR ABORT INTO kv VALUES('d', 4), ('a', 5);
INSERT OR IGNORE INTO kv VALUES('d', 4), ('a', 5);
INSERT OR REPLACE INTO kv VALUES('e', 5), ('a', 6);
INSERT OR FAIL INTO kv VALUES('f', 6), ('a', 7), ('g', 8);
INSERT OR ROLLBACK INTO kv VALUES('h', 9), ('a', 7);
SELECT * FROM kv;
INSERT OR IGNORE INTO kv SELECT k, v FROM src;
REPLACE INTO kv SELECT k, v FROM src WHERE v < 25;
SELECT * FROM kv;

.print -- NULLs and types
INSERT INTO kv VALUES(NULL, 1);
INSERT OR IGNORE INTO kv VALUES(NULL, 1), ('i', 1);
INSERT OR REPLACE INTO kv VALUES(NULL, 1);
INSERT INTO kv VALUES(x'00', 1);
INSERT OR IGNORE INTO kv VALUES(x'00', 1);
INSERT INTO kv VALUES(7, 'number as text');
INSERT INTO kv(value) VALUES('no key');
INSERT INTO kv VALUES('one');
SELECT * FROM kv WHERE key IN ('7', 'i');

.print -- updates
UPDATE kv SET value = value * 2 WHERE key < 'd';
UPDATE kv SET key = 'z' || key WHERE key >= 'e' AND key < 'h';
UPDATE kv SET key = 'b' WHERE key = 'a';
UPDATE OR IGNORE kv SET key = 'b' WHERE key = 'a';
UPDATE OR REPLACE kv SET key = 'b' WHERE key = 'a';
UPDATE kv SET key = NULL WHERE key = 'b';
UPDATE kv SET key = 'c', value = 'both' WHERE key = 'c';
UPDATE kv SET value = 'nobody' WHERE key = 'nobody';
UPDATE kv SET value = v FROM src WHERE src.k = kv.key;
SELECT * FROM kv;

.print -- deletes
DELETE FROM kv WHERE key = 'c';
DELETE FROM kv WHERE key IN (SELECT k FROM src);
DELETE FROM kv WHERE value IS NULL OR key > 'zf';
SELECT * FROM kv;
DELETE FROM kv;
SELECT count(*) FROM kv;

.print -- RETURNING
INSERT INTO kv VALUES('r', 1), ('s', 2) RETURNING key, value * 10;
UPDATE kv SET value = 3 RETURNING *;
DELETE FROM kv RETURNING *;
INSERT INTO kv VALUES('r', 9) ON CONFLICT DO NOTHING;
SELECT * FROM kv;

.print -- what a transaction sees
BEGIN;
DELETE FROM kv;
INSERT INTO kv VALUES('1', 1), ('2', 2), ('3', 3);
SAVEPOINT a;
UPDATE kv SET value = 'a' WHERE key = '2';
SAVEPOINT b;
DELETE FROM kv WHERE key = '1';
INSERT INTO kv VALUES('0', 0);
SELECT * FROM kv;
ROLLBACK TO b;
SELECT * FROM kv;
INSERT INTO kv VALUES('4', 4), ('1', 1);
RELEASE b;
SELECT * FROM kv ORDER BY key DESC;
ROLLBACK TO a;
SELECT * FROM kv;
COMMIT;
SELECT * FROM kv;
SELECT kevo_check('kv');
