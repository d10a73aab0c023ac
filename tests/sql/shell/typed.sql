-- Tables with columns of their own.
CREATE VIRTUAL TABLE reading USING kevo(device TEXT, ts INTEGER, temp REAL, raw BLOB, note ANY, PRIMARY KEY (device, ts DESC));
INSERT INTO reading VALUES ('b', 1, 1, x'01', 'x'), ('a', 2, '2.5', NULL, 7), ('a', '3', 3, NULL, NULL), ('b', -5, 0.5, x'', x'00');
SELECT device, ts, temp, quote(raw), quote(note) FROM reading;
SELECT ts FROM reading WHERE device = 'a' AND ts > 1 ORDER BY ts;
SELECT ts FROM reading WHERE device IN ('a', 'b') AND ts < 3 ORDER BY device, ts DESC;
EXPLAIN QUERY PLAN SELECT * FROM reading WHERE device = 'a' AND ts BETWEEN 1 AND 2;
EXPLAIN QUERY PLAN SELECT * FROM reading ORDER BY device, ts DESC;
INSERT INTO reading VALUES ('a', 1.5, 1, NULL, 1);
INSERT INTO reading VALUES ('a', 1, 'warm', NULL, 1);
INSERT INTO reading VALUES ('a', 2, 1, NULL, 1);
UPDATE reading SET ts = ts + 10 WHERE device = 'a';
SELECT device, ts FROM reading;
CREATE VIRTUAL TABLE event USING kevo(id INTEGER PRIMARY KEY, body TEXT NOT NULL);
INSERT INTO event(body) VALUES ('one'), ('two');
SELECT last_insert_rowid();
INSERT INTO event VALUES (10, 'ten');
INSERT INTO event(body) VALUES ('eleven');
INSERT INTO event(body) VALUES (NULL);
INSERT INTO event VALUES (10, 'again');
SELECT id, rowid, body FROM event ORDER BY id DESC;
SELECT max(id), min(id) FROM event;
CREATE VIRTUAL TABLE bag USING kevo(x ANY);
INSERT INTO bag VALUES (1), ('1'), (NULL);
SELECT rowid, quote(x) FROM bag;
.mode box
SELECT * FROM event WHERE id > 1;
