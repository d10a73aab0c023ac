-- Several databases and stores; what tools see; what is refused.
CREATE VIRTUAL TABLE kv USING kevo;
INSERT INTO kv VALUES('a', 1);

.print -- rename and drop
ALTER TABLE kv RENAME TO pairs;
SELECT * FROM pairs;
SELECT * FROM kv;
INSERT INTO pairs VALUES('a', 2);
CREATE VIRTUAL TABLE "odd name" USING kevo("the key" TEXT PRIMARY KEY, [select] ANY);
INSERT INTO "odd name" VALUES('k', 'v');
SELECT "the key", "select" FROM "odd name";
INSERT INTO "odd name" VALUES('k', 'v');
DROP TABLE "odd name";
DROP TABLE nobody;

.print -- attach
ATTACH 'second.db' AS second;
CREATE VIRTUAL TABLE second.pairs USING kevo;
INSERT INTO second.pairs SELECT key, value + 100 FROM main.pairs;
SELECT * FROM main.pairs UNION ALL SELECT * FROM second.pairs;
BEGIN;
DELETE FROM main.pairs;
DELETE FROM second.pairs;
ROLLBACK;
SELECT * FROM main.pairs UNION ALL SELECT * FROM second.pairs;
SELECT kevo_check('second.pairs');
DETACH second;

.print -- temp and memory
CREATE VIRTUAL TABLE temp.scratch USING kevo;
INSERT INTO scratch VALUES('t', 1);
SELECT * FROM scratch;
ATTACH ':memory:' AS memory;
CREATE VIRTUAL TABLE memory.m USING kevo(a INTEGER PRIMARY KEY);
INSERT INTO m VALUES(1), (2);
SELECT count(*) FROM m;
CREATE VIRTUAL TABLE memory.kept USING kevo('kept.store');
INSERT INTO kept VALUES('kept', 1);
SELECT * FROM kept;
DETACH memory;

.print -- directories
CREATE VIRTUAL TABLE near USING kevo('near.store');
CREATE VIRTUAL TABLE near2 USING kevo('near.store');
INSERT INTO near VALUES('x', 1);
INSERT INTO near2 VALUES('x', 2);
SELECT near.value, near2.value FROM near JOIN near2 USING(key);
.shell ls -d *.db *.store *-kevo | sort
.shell touch file; mkdir full; echo hello >full/world
CREATE VIRTUAL TABLE x USING kevo('file');
CREATE VIRTUAL TABLE x USING kevo('full');
CREATE VIRTUAL TABLE x USING kevo('no/such/parent');
CREATE VIRTUAL TABLE x USING kevo('');
.shell ls -d full/*

.print -- refused arguments
CREATE VIRTUAL TABLE x USING kevo(a INTEGER DEFAULT 1);
CREATE VIRTUAL TABLE x USING kevo(a INTEGER CHECK (a > 0));
CREATE VIRTUAL TABLE x USING kevo(a INTEGER UNIQUE ON CONFLICT IGNORE);
CREATE VIRTUAL TABLE x USING kevo(a TEXT COLLATE NOCASE PRIMARY KEY);
CREATE VIRTUAL TABLE x USING kevo(a INTEGER REFERENCES y);
CREATE VIRTUAL TABLE x USING kevo(a VARCHAR(10));
CREATE VIRTUAL TABLE x USING kevo(a);
CREATE VIRTUAL TABLE x USING kevo(a ANY PRIMARY KEY);
CREATE VIRTUAL TABLE x USING kevo(a TEXT, A TEXT);
CREATE VIRTUAL TABLE x USING kevo(a TEXT, PRIMARY KEY (b));
CREATE VIRTUAL TABLE x USING kevo(sync=maybe);
CREATE VIRTUAL TABLE x USING kevo(colour=red);
CREATE VIRTUAL TABLE x USING kevo('one', 'two');
CREATE TABLE kevo_store(x);
CREATE INDEX i ON pairs(value);
CREATE TRIGGER t AFTER INSERT ON pairs BEGIN SELECT 1; END;
ALTER TABLE pairs ADD COLUMN more;

.print -- tools
VACUUM;
SELECT * FROM pairs;
PRAGMA integrity_check;
.dump pairs
SELECT name, type FROM pragma_table_info('pairs');
SELECT kevo_flush('nobody');
SELECT kevo_flush(NULL);
SELECT kevo_check('sqlite_schema');
