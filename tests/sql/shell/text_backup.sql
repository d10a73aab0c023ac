-- examples/dump.sh: a database with kevo tables as text, and back. What the new database is
-- asked is in text_backup.check, beside this; the old one is asked the same.
CREATE VIRTUAL TABLE kv USING kevo(key TEXT PRIMARY KEY, value ANY, memtable_size = 1000000);
CREATE VIRTUAL TABLE reading USING kevo(device TEXT, ts INTEGER, temp REAL, PRIMARY KEY (device, ts DESC), INDEX by_temp (temp));
CREATE VIRTUAL TABLE "odd kevo ""table" USING kevo("a b" TEXT PRIMARY KEY);
CREATE VIRTUAL TABLE gone USING kevo;
DROP TABLE gone;
CREATE TABLE plain(a INTEGER PRIMARY KEY, b TEXT);
CREATE TABLE "odd_name%"(x);
CREATE INDEX plain_b ON plain(b);
CREATE VIEW both AS SELECT key, b FROM kv JOIN plain ON value = a;
CREATE TRIGGER copy AFTER INSERT ON plain BEGIN INSERT OR REPLACE INTO kv VALUES(new.b, new.a); END;
CREATE VIRTUAL TABLE found USING fts5(body);
INSERT INTO found VALUES('a tree'), ('a log');
INSERT INTO kv VALUES('quote''s', 'it''s'), ('blob', x'00ff'), ('no bytes', x''), ('real', 0.1), ('tiny', -1e-300), ('whole', 3.0), ('int', -9223372036854775808), ('null', NULL), ('empty', ''), ('digits', '5'), (char(10), char(10, 9, 39)), ('é€', 'é');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO reading SELECT 'd' || (i % 7), i, i / 8.0 FROM n;
INSERT INTO plain VALUES(1, 'one'), (2, 'two');
INSERT INTO "odd_name%" VALUES(1);
INSERT INTO "odd kevo ""table" VALUES('x'), ('it''s');
-- the store has one process at a time
.open none.db
CREATE TABLE t(x);
INSERT INTO t VALUES(1);
.shell KEVO=$KEVO_MODULE $EXAMPLES/dump.sh app.db >app.sql
.print -- nothing of what kevo keeps for itself
.shell grep kevo_marker app.sql || echo none
.shell sqlite3 -cmd ".load $KEVO_MODULE" new.db <app.sql
.shell sqlite3 -cmd ".load $KEVO_MODULE" app.db <$SCRIPTS/text_backup.check >old.txt
.shell sqlite3 -cmd ".load $KEVO_MODULE" new.db <$SCRIPTS/text_backup.check >new.txt
.shell cmp old.txt new.txt && cat new.txt
.print -- a dump of what was restored is the same text
.shell KEVO=$KEVO_MODULE $EXAMPLES/dump.sh new.db | cmp - app.sql
.print -- without a kevo table it is .dump
.shell $EXAMPLES/dump.sh none.db
.print -- and without a database nothing
.shell $EXAMPLES/dump.sh nowhere.db 2>&1
