-- Texts in a UTF-16 database, ordered as UTF-8.
PRAGMA encoding = 'UTF-16le';
CREATE VIRTUAL TABLE kv USING kevo;
INSERT INTO kv VALUES('é', 'e acute'), ('z', 'z'), ('€', 'euro'), ('😀', 'grin'), ('', 'empty'),
  (char(0xfffd), 'replacement'), ('a' || char(0) || 'b', 'nul');
SELECT hex(CAST(key AS BLOB)), value, length(key) FROM kv;
SELECT value FROM kv WHERE key = '€';
SELECT value FROM kv WHERE key > 'z' ORDER BY key DESC;
SELECT value FROM kv WHERE key GLOB 'a*';
SELECT count(*) FROM kv WHERE key = 'a' || char(0) || 'b';
UPDATE kv SET value = value || ' ☺' WHERE key = 'z';
SELECT value FROM kv WHERE key IN ('z', '😀');
INSERT INTO kv VALUES('€', 'again');
SELECT kevo_check('kv');
