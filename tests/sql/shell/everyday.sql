-- What people do with the sqlite3 shell, with kevo tables: each as with ordinary ones.
CREATE VIRTUAL TABLE reading USING kevo(device TEXT, ts INTEGER, temp REAL, note ANY, PRIMARY KEY (device, ts), INDEX by_temp (temp));
CREATE VIRTUAL TABLE kv USING kevo;
CREATE TABLE plain(a INTEGER PRIMARY KEY, b TEXT DEFAULT 'it''s', c REAL);
.print -- .import of a CSV with a header, and without one
.output a.csv
.print device,ts,temp,note
.print a,1,20.5,x
.print "a,2,21,\"y, z\""
.print "b,1,-3.25,\"two\nlines\""
.output b.txt
.print k1|v1
.print k2|
.output c.csv
.print c,1,warm,x
.print c,2,22,y
.output
.import --csv --skip 1 a.csv reading
.import b.txt kv
SELECT device, ts, temp, typeof(temp), quote(note) FROM reading;
SELECT key, quote(value) FROM kv;
.print -- a field that a column does not take is told with its line, the others go in
.import --csv c.csv reading
SELECT count(*) FROM reading WHERE device = 'c';
.print -- .tables, .schema, .indexes
.tables
.schema reading
.schema kv
.print -- output modes
.mode box
SELECT * FROM reading WHERE device = 'a';
.mode markdown
SELECT * FROM kv;
.mode csv
.separator , "\n"
.headers on
SELECT * FROM reading WHERE device = 'b';
.headers off
.mode list
.print -- views, common table expressions, window functions
CREATE VIEW warm AS SELECT device, ts FROM reading WHERE temp > 20;
SELECT * FROM warm;
WITH last(device, ts) AS (SELECT device, max(ts) FROM reading GROUP BY device) SELECT r.device, r.temp FROM reading r JOIN last USING (device, ts);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) INSERT INTO reading SELECT 'w', i, i * i, NULL FROM n;
SELECT ts, temp, lag(temp) OVER w, sum(temp) OVER w, rank() OVER (ORDER BY temp DESC) FROM reading WHERE device = 'w' WINDOW w AS (ORDER BY ts) ORDER BY ts;
.print -- triggers of ordinary tables that write to kevo tables
CREATE TRIGGER copy AFTER INSERT ON plain BEGIN INSERT OR REPLACE INTO kv VALUES(new.b, new.a); END;
INSERT INTO plain(a) VALUES(7);
SELECT * FROM kv WHERE value = 7;
.print -- full-text search over a kevo table as external content
CREATE VIRTUAL TABLE doc USING kevo(id INTEGER PRIMARY KEY, body TEXT);
CREATE VIRTUAL TABLE found USING fts5(body, content='doc', content_rowid='id');
INSERT INTO doc VALUES(1, 'log structured merge tree'), (2, 'a tree of blocks'), (3, 'write ahead log');
-- FTS5 does not do 'rebuild' with virtual tables as content
INSERT INTO found(rowid, body) SELECT id, body FROM doc;
SELECT rowid, highlight(found, 0, '[', ']') FROM found WHERE found MATCH 'tree' ORDER BY rowid;
INSERT INTO doc VALUES(4, 'merge sort');
INSERT INTO found(rowid, body) VALUES(4, 'merge sort');
SELECT rowid FROM found WHERE found MATCH 'merge' ORDER BY rowid;
INSERT INTO found(found, rowid, body) VALUES('delete', 1, 'log structured merge tree');
DELETE FROM doc WHERE id = 1;
SELECT rowid, body FROM found WHERE found MATCH 'merge OR tree' ORDER BY rowid;
.print -- ATTACH, and one statement over both
ATTACH 'other.db' AS other;
CREATE VIRTUAL TABLE other.kv USING kevo;
INSERT INTO other.kv SELECT device || ts, temp FROM reading WHERE device < 'c';
SELECT main.kv.key, o.key, o.value FROM main.kv JOIN other.kv o ON substr(o.key, 2) = substr(main.kv.key, 2) ORDER BY 1, 2;
DETACH other;
.print -- VACUUM, ANALYZE, the checks
VACUUM;
ANALYZE;
PRAGMA integrity_check;
PRAGMA foreign_key_check;
SELECT count(*) FROM reading;
