-- Everything a WHERE and an ORDER BY can ask, and how it is answered.
CREATE VIRTUAL TABLE kv USING kevo;
WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 25)
INSERT INTO kv SELECT char(97 + i) || char(97 + (i * 7) % 26), i FROM c;
INSERT INTO kv VALUES('', 'empty'), ('a*', 'star'), ('A', 'upper');

.print -- points and ranges
SELECT * FROM kv WHERE key = 'ca';
SELECT * FROM kv WHERE key = '';
SELECT * FROM kv WHERE key > 'wd' AND key <= 'yz';
SELECT * FROM kv WHERE key >= 'x' OR key < 'ab';
SELECT * FROM kv WHERE key BETWEEN 'c' AND 'e' ORDER BY key DESC;
SELECT * FROM kv WHERE key IN ('zt', 'aa', 'nope', 'aa', NULL);
SELECT * FROM kv WHERE key IN ('zt', 'aa', 'bh') ORDER BY key DESC LIMIT 2;
SELECT * FROM kv WHERE key IN (SELECT key FROM kv WHERE value IN (3, 4));
SELECT count(*) FROM kv WHERE key = NULL;
SELECT count(*) FROM kv WHERE key IS NULL;
SELECT count(*) FROM kv WHERE key IS NOT NULL;
SELECT * FROM kv WHERE key IS 'ca';

.print -- patterns
SELECT key FROM kv WHERE key GLOB 'a*';
SELECT key FROM kv WHERE key GLOB 'a[*]';
SELECT key FROM kv WHERE key LIKE 'a%';
PRAGMA case_sensitive_like = 1;
SELECT key FROM kv WHERE key LIKE 'a%';
PRAGMA case_sensitive_like = 0;
SELECT key FROM kv WHERE key = 'A' COLLATE NOCASE;

.print -- limits
SELECT key FROM kv LIMIT 3;
SELECT key FROM kv ORDER BY key DESC LIMIT 3 OFFSET 2;
SELECT key FROM kv WHERE key > 'w' LIMIT 2 OFFSET 1;
SELECT key FROM kv WHERE key > 'w' LIMIT 2 OFFSET 100;
SELECT key FROM kv WHERE value > 23 LIMIT 1 OFFSET 1;
SELECT min(key), max(key), count(key) FROM kv;
SELECT max(key) FROM kv WHERE key < 'm';

.print -- plans
EXPLAIN QUERY PLAN SELECT * FROM kv;
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key = 'a';
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key IN ('a', 'b');
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key > 'a' AND key < 'b';
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key > 'a' ORDER BY key DESC;
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key GLOB 'ab*';
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key LIKE 'ab%';
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE value = 3;
EXPLAIN QUERY PLAN SELECT * FROM kv ORDER BY value;
EXPLAIN QUERY PLAN SELECT DISTINCT key FROM kv;
EXPLAIN QUERY PLAN SELECT key, count(*) FROM kv GROUP BY key;
EXPLAIN QUERY PLAN SELECT * FROM kv WHERE key = 'a' OR key = 'b';
EXPLAIN QUERY PLAN SELECT max(key) FROM kv;
CREATE VIRTUAL TABLE r USING kevo(device TEXT, ts INTEGER, v REAL, PRIMARY KEY (device, ts DESC));
EXPLAIN QUERY PLAN SELECT * FROM r WHERE device = 'd' AND ts > 5 ORDER BY ts DESC;
EXPLAIN QUERY PLAN SELECT * FROM r WHERE device = 'd' ORDER BY ts;
EXPLAIN QUERY PLAN SELECT * FROM r WHERE device = 'd' ORDER BY ts DESC LIMIT 1;
EXPLAIN QUERY PLAN SELECT * FROM r ORDER BY device, ts DESC;
EXPLAIN QUERY PLAN SELECT * FROM r ORDER BY device DESC, ts;
EXPLAIN QUERY PLAN SELECT * FROM r ORDER BY device, ts;
EXPLAIN QUERY PLAN SELECT * FROM r WHERE ts = 5;
EXPLAIN QUERY PLAN SELECT * FROM r WHERE device > 'a' AND ts = 5;
EXPLAIN QUERY PLAN SELECT * FROM r WHERE device IN ('a', 'b') AND ts < 9;
