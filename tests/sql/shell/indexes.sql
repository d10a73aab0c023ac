-- Secondary indexes: what is refused, what they are used for, what they keep apart.
CREATE VIRTUAL TABLE person USING kevo(
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, born INTEGER, email TEXT UNIQUE, note ANY,
    INDEX by_name (name, born DESC), INDEX by_note (note), CONSTRAINT born_name UNIQUE (born, name));
INSERT INTO person VALUES (1, 'Ada', 1815, 'ada@x', 'first'), (2, 'Grace', 1906, 'grace@x', 3),
    (3, 'Alan', 1912, NULL, 2.5), (4, 'Ada', 1950, NULL, x'00'), (5, 'Edsger', NULL, NULL, NULL),
    (6, 'Edsger', NULL, 'ewd@x', 3.0);

.print -- refused
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX i (b));
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX i (a), INDEX i (a DESC));
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX i (a, a));
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX (a));
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX i (lower(a)));
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX i (a) WHERE a > 'b');
CREATE VIRTUAL TABLE t USING kevo(a TEXT, INDEX i (a COLLATE NOCASE));
CREATE VIRTUAL TABLE t USING kevo(a TEXT UNIQUE ON CONFLICT REPLACE);

.print -- conflicts
INSERT INTO person VALUES (7, 'Ada', 1999, 'ada@x', NULL);
INSERT INTO person VALUES (7, 'Ada', 1950, NULL, NULL);
INSERT OR IGNORE INTO person VALUES (7, 'Ada', 1999, 'ada@x', NULL);
SELECT changes();
UPDATE person SET email = 'ada@x' WHERE id = 2;
UPDATE person SET email = 'ada@x' WHERE id = 1;
INSERT INTO person VALUES (8, 'Edsger', NULL, NULL, NULL);
BEGIN;
INSERT OR REPLACE INTO person VALUES (9, 'Grace', 1906, 'ada@x', 'both');
SELECT id, name, email FROM person;
SELECT changes();
ROLLBACK;
SELECT id, name, email FROM person WHERE name IN ('Ada', 'Grace');

.print -- answers
SELECT id, born FROM person WHERE name = 'Ada';
SELECT id FROM person WHERE email IS NULL ORDER BY id;
SELECT id, note FROM person WHERE note = 3;
SELECT id, typeof(note) FROM person ORDER BY note, id;
SELECT id, typeof(note) FROM person ORDER BY note DESC, id DESC;
SELECT id FROM person WHERE born BETWEEN 1900 AND 1950 ORDER BY born DESC;
SELECT min(name), max(name) FROM person;
SELECT max(born) FROM person;
SELECT name, count(*) FROM person GROUP BY name;

.print -- plans
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name = 'Ada';
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name = 'Ada' AND born > 1900;
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name = 'Ada' ORDER BY born;
EXPLAIN QUERY PLAN SELECT id, born FROM person WHERE name = 'Ada';
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name > 'A' AND name <= 'B';
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name GLOB 'A*';
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name IN ('Ada', 'Alan');
EXPLAIN QUERY PLAN SELECT * FROM person WHERE email = 'ada@x';
EXPLAIN QUERY PLAN SELECT * FROM person WHERE email IS NULL AND id > 3;
EXPLAIN QUERY PLAN SELECT * FROM person WHERE email IS NOT NULL;
EXPLAIN QUERY PLAN SELECT * FROM person WHERE id = 3 AND name = 'Alan';
EXPLAIN QUERY PLAN SELECT * FROM person ORDER BY name, born DESC;
EXPLAIN QUERY PLAN SELECT * FROM person ORDER BY name DESC, born LIMIT 3;
EXPLAIN QUERY PLAN SELECT min(name) FROM person;
EXPLAIN QUERY PLAN SELECT max(born) FROM person;
EXPLAIN QUERY PLAN SELECT name, count(*) FROM person GROUP BY name;
EXPLAIN QUERY PLAN SELECT DISTINCT name FROM person;
EXPLAIN QUERY PLAN SELECT * FROM person a JOIN person b ON b.email = a.name;
EXPLAIN QUERY PLAN SELECT * FROM person WHERE name = 'Ada' OR email = 'ewd@x';
EXPLAIN QUERY PLAN DELETE FROM person WHERE name = 'Ada';

.print -- kept
SELECT kevo_check('person');
SELECT kevo_reindex('person');
ALTER TABLE person RENAME TO people;
UPDATE people SET name = upper(name) WHERE name < 'B';
SELECT id FROM people WHERE name = 'ADA' ORDER BY born;
SELECT kevo_check('people');
DELETE FROM people WHERE name = 'ADA';
SELECT count(*) FROM people WHERE name = 'ADA';
SELECT kevo_check('people');
CREATE VIEW v AS SELECT kevo_reindex('people');
SELECT * FROM v;
DROP TABLE people;
