-- Typed tables: rowids, composite keys, every column type.
.print -- the rowid
CREATE VIRTUAL TABLE item USING kevo(id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL);
INSERT INTO item(name, price) VALUES('pen', 1), ('ink', 2.5);
SELECT last_insert_rowid();
INSERT INTO item VALUES(10, 'pad', 3), (NULL, 'cap', 4);
SELECT last_insert_rowid();
INSERT INTO item VALUES('12', 'lid', '5');
SELECT id, rowid, name, price, typeof(id), typeof(price) FROM item;
UPDATE item SET id = 100 WHERE name = 'pen';
DELETE FROM item WHERE rowid = 100;
SELECT rowid, name FROM item WHERE rowid > 2 ORDER BY rowid DESC;
INSERT INTO item VALUES('x', 'bad', 1);
INSERT INTO item VALUES(1, NULL, 1);
INSERT INTO item VALUES(1, 'name', 'cheap');
INSERT INTO item VALUES(2, 'again', 1);

.print -- no key at all
CREATE VIRTUAL TABLE log USING kevo(line TEXT, n ANY);
INSERT INTO log VALUES('one', 1), ('two', 2.0), ('three', NULL);
DELETE FROM log WHERE line = 'two';
INSERT INTO log(rowid, line) VALUES(7, 'seven');
INSERT INTO log VALUES('eight', x'08');
SELECT rowid, * FROM log;
INSERT INTO log(rowid, line) VALUES(7, 'seven');

.print -- composite keys
CREATE VIRTUAL TABLE c USING kevo(a INTEGER, b TEXT, v ANY, c REAL, PRIMARY KEY (b DESC, a, c));
INSERT INTO c VALUES(1, 'x', 'v1', 0.5), (2, 'x', 'v2', 0.5), (1, 'y', 'v3', -1), (-1, 'x', 'v4', 0.5);
SELECT * FROM c;
SELECT * FROM c WHERE b = 'x' AND a > 0;
SELECT * FROM c ORDER BY b, a DESC, c DESC;
UPDATE c SET a = 5 WHERE v = 'v4';
INSERT INTO c VALUES(2, 'x', 'again', 0.5);
INSERT INTO c VALUES(NULL, 'x', 'null', 0.5);
DELETE FROM c WHERE b = 'y';
SELECT a, v FROM c WHERE (b, a) = ('x', 5);
SELECT rowid FROM c;

.print -- INT is no rowid, DESC neither
CREATE VIRTUAL TABLE i USING kevo(a INT PRIMARY KEY, b TEXT);
INSERT INTO i VALUES(3, 'three'), (-3, 'minus'), (9223372036854775807, 'max');
SELECT * FROM i;
INSERT INTO i(b) VALUES('none');
CREATE VIRTUAL TABLE d USING kevo(a INTEGER PRIMARY KEY DESC);
INSERT INTO d VALUES(1), (3), (2);
SELECT * FROM d;

.print -- all types in and out
CREATE VIRTUAL TABLE t USING kevo(k INTEGER PRIMARY KEY, i INTEGER, r REAL, x TEXT, b BLOB, a ANY);
INSERT INTO t VALUES(1, 9223372036854775807, 1e308, 'text', x'0001ff', '1'),
  (2, 5.0, 3, 4, NULL, 1), (3, '6', '7', 8.5, x'', 1.0), (4, NULL, NULL, NULL, NULL, NULL),
  (5, -0, -0.0, '', zeroblob(3), x'');
SELECT k, quote(i), quote(r), quote(x), quote(b), quote(a) FROM t;
INSERT INTO t(i) VALUES(5.5);
INSERT INTO t(i) VALUES('5x');
INSERT INTO t(r) VALUES(x'00');
INSERT INTO t(x) VALUES(x'00');
INSERT INTO t(b) VALUES('text');
SELECT count(*) FROM t;

.print -- with ordinary tables
CREATE TABLE shop(id INTEGER PRIMARY KEY, item INTEGER, label TEXT);
INSERT INTO shop VALUES(1, 2, 'pen'), (2, 10, 'none'), (3, 99, 'one');
SELECT shop.id, name FROM shop JOIN item ON item.id = shop.item;
SELECT shop.id, name FROM shop LEFT JOIN item ON item.id = shop.item ORDER BY 1;
SELECT shop.id, log.n FROM shop, log WHERE shop.label = log.line;
SELECT name, (SELECT count(*) FROM shop WHERE item = item.id) FROM item;
INSERT INTO shop SELECT id + 100, id, name FROM item WHERE price > 3;
SELECT count(*) FROM shop;
CREATE VIEW cheap AS SELECT name FROM item WHERE price < 4;
SELECT * FROM cheap ORDER BY 1;
WITH w AS (SELECT * FROM item WHERE id > 5) SELECT count(*) FROM w;
SELECT name FROM item EXCEPT SELECT label FROM shop ORDER BY 1;
