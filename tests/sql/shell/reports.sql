-- kevo_tables, kevo_levels, kevo_files: what there is, in readable words
SELECT count(*) FROM kevo_tables;
CREATE VIRTUAL TABLE kv USING kevo(settle_ms = 0); -- files stay where they are
CREATE VIRTUAL TABLE reading USING kevo(device TEXT, ts INTEGER, temp REAL, PRIMARY KEY (device, ts), INDEX by_temp (temp));
ATTACH 'other.db' AS other;
CREATE VIRTUAL TABLE other.kv USING kevo('its.store');
CREATE VIRTUAL TABLE temp.passing USING kevo;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO reading SELECT 'd' || (i % 7), i, i FROM n;
INSERT INTO kv VALUES('a', 1), ('b', 2);
SELECT kevo_flush('kv');
DELETE FROM kv WHERE key = 'a';
SELECT kevo_flush('kv');
SELECT schema, name, store, indexes, approximate_rows > 0, approximate_bytes > 1000 FROM kevo_tables;
.mode column
SELECT level, files, bytes > 0, entries, tombstones, compaction_read_bytes, written_bytes > 0 FROM kevo_levels('kv');
SELECT level, file, entries, tombstones, range_tombstones, first_batch <= last_batch AS batches, hex(smallest_key), hex(largest_key) FROM kevo_files('kv');
SELECT count(*) FROM kevo_files('other.kv');
SELECT t.name, sum(f.bytes) > 0 AS big FROM kevo_tables t, kevo_files(t.schema || '.' || t.name) f GROUP BY 1;
SELECT l.bytes = (SELECT sum(bytes) FROM kevo_files('kv') f WHERE f.level = l.level) AS same FROM kevo_levels('kv') l;
.mode list
SELECT * FROM kevo_levels(NULL);
SELECT * FROM kevo_levels;
SELECT * FROM kevo_files('nothing');
SELECT * FROM kevo_files('sqlite_schema');
CREATE VIEW v AS SELECT * FROM kevo_levels('kv');
SELECT * FROM v;
