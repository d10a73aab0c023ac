-- What the README shows first.
SELECT kevo_version() GLOB '[0-9]*.[0-9]*.[0-9]*';
CREATE VIRTUAL TABLE kv USING kevo;
INSERT INTO kv VALUES('apple', 1), ('banana', 2.5), ('cherry', 'red'), ('date', NULL);
SELECT * FROM kv;
SELECT value FROM kv WHERE key = 'banana';
UPDATE kv SET value = value + 1 WHERE key = 'apple';
DELETE FROM kv WHERE key = 'date';
REPLACE INTO kv VALUES('banana', 'yellow');
SELECT key, value, typeof(value) FROM kv ORDER BY key DESC;
SELECT count(*) FROM kv WHERE key BETWEEN 'a' AND 'c';
SELECT key FROM kv WHERE key GLOB 'b*';

CREATE VIRTUAL TABLE reading USING kevo(
    device TEXT, ts INTEGER, temp REAL, note ANY,
    PRIMARY KEY (device, ts DESC)
);
INSERT INTO reading VALUES('d1', 100, 20.5, NULL), ('d1', 200, 21, 'warm'), ('d2', 150, 18, x'00');
SELECT * FROM reading;
SELECT ts, temp FROM reading WHERE device = 'd1' LIMIT 1;

-- One transaction over ordinary and kevo tables.
CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER);
INSERT INTO account VALUES(1, 100);
BEGIN;
UPDATE account SET balance = balance - 30;
INSERT INTO kv VALUES('paid', 30);
ROLLBACK;
SELECT balance, (SELECT count(*) FROM kv WHERE key = 'paid') FROM account;
BEGIN;
UPDATE account SET balance = balance - 30;
INSERT INTO kv VALUES('paid', 30);
COMMIT;
SELECT balance, (SELECT count(*) FROM kv WHERE key = 'paid') FROM account;

SELECT kevo_flush('kv'), kevo_check('kv');
.tables
.schema kv
.schema reading
