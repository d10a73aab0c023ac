#!/usr/bin/env node
/* Kevo from Node's better-sqlite3: what to copy into a program of your own.
 *
 *     npm install better-sqlite3
 *     node examples/client.js [path of kevo.so, or kevo] [folder]
 *
 * Every part asserts what it says, so the file is a test as well. */
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const { Worker, isMainThread, workerData } = require('worker_threads');
const Database = require('better-sqlite3');

function connect(file, kevo) {
    const db = new Database(file, { timeout: 30000 });
    db.loadExtension(kevo);
    db.pragma('journal_mode = WAL');
    db.pragma('synchronous = NORMAL');
    return db;
}

/* db.transaction() makes a function of BEGIN, the work and COMMIT, or ROLLBACK when it throws. */
function manyRows(db) {
    db.exec(`CREATE VIRTUAL TABLE reading USING kevo(
        device TEXT, ts INTEGER, temp REAL, PRIMARY KEY (device, ts DESC))`);
    const insert = db.prepare('INSERT OR REPLACE INTO reading VALUES (?, ?, ?)');
    const fill = db.transaction((n) => {
        for (let i = 0; i < n; i++) insert.run('d' + (i % 10), (i * 7919) % 100003, i / 8);
    });
    fill(20000);
    assert.strictEqual(db.prepare('SELECT count(*) FROM reading').pluck().get(), 20000);
    const broken = db.transaction(() => {
        db.prepare("DELETE FROM reading WHERE device = 'd1'").run();
        throw new Error('changed my mind');
    });
    assert.throws(broken, /changed my mind/);
    assert.strictEqual(db.prepare('SELECT count(*) FROM reading').pluck().get(), 20000);
}

/* Rows as objects, as arrays, one at a time. JavaScript's numbers are reals: an integer column
 * takes those that are whole, and gives back BigInt where that is asked for. */
function rows(db) {
    const of = db.prepare('SELECT * FROM reading WHERE device = ? ORDER BY ts DESC LIMIT 2');
    const [first] = of.all('d3');
    assert.deepStrictEqual(Object.keys(first), ['device', 'ts', 'temp']);
    assert.deepStrictEqual(of.raw().get('d3'), Object.values(first));
    let last = Infinity;
    for (const ts of db.prepare("SELECT ts FROM reading WHERE device = 'd3'").pluck().iterate()) {
        assert(ts < last);
        last = ts;
    }
    db.prepare('INSERT INTO reading VALUES (?, ?, ?)').run('big', 9007199254740993n, 1);
    const big = db.prepare("SELECT ts FROM reading WHERE device = 'big'").pluck().safeIntegers();
    assert.strictEqual(big.get(), 9007199254740993n);
}

function errors(db) {
    const insert = db.prepare('INSERT INTO reading VALUES (?, ?, ?)');
    assert.throws(() => insert.run('big', 9007199254740993n, 2), {
        code: 'SQLITE_CONSTRAINT_PRIMARYKEY',
        message: 'UNIQUE constraint failed: reading.device, reading.ts',
    });
    assert.throws(() => insert.run('d0', 'noon', 2), { code: 'SQLITE_MISMATCH' });
}

/* A connection for each thread, all on one store; writers wait for each other. This runs in a
 * worker. Instead of ON CONFLICT DO UPDATE, which virtual tables do not have: */
function countWords({ file, kevo, words }) {
    const db = connect(file, kevo);
    const ignore = db.prepare('INSERT OR IGNORE INTO word VALUES (?, 0)');
    const add = db.prepare('UPDATE word SET n = n + 1 WHERE word = ?');
    const count = db.transaction((word) => {
        ignore.run(word);
        add.run(word);
    });
    for (const word of words) count.immediate(word);
    db.close();
}

function inWorker(data) {
    return new Promise((resolve, reject) => {
        const worker = new Worker(__filename, { workerData: data });
        worker.on('error', reject);
        worker.on('exit', (code) => (code ? reject(new Error('worker ' + code)) : resolve()));
    });
}

async function threads(db, file, kevo) {
    db.exec('CREATE VIRTUAL TABLE word USING kevo(word TEXT PRIMARY KEY, n INTEGER)');
    const words = [...Array(60).keys()].map((i) => 'w' + (i % 7));
    await Promise.all([1, 2, 3].map(() => inWorker({ file, kevo, words })));
    assert.strictEqual(db.prepare('SELECT sum(n) FROM word').pluck().get(), 180);
    assert.strictEqual(db.prepare("SELECT n FROM word WHERE word = 'w0'").pluck().get(), 27);
}

async function main() {
    const kevo = process.argv[2] || 'kevo';
    const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'kevo-client-'));
    const file = path.join(process.argv[3] || scratch, 'client.db');
    const db = connect(file, kevo);
    manyRows(db);
    rows(db);
    errors(db);
    await threads(db, file, kevo);
    const version = db.prepare('SELECT sqlite_version()').pluck().get();
    db.close();
    fs.rmSync(scratch, { recursive: true });
    console.log(`node ${process.version}, SQLite ${version}: ok`);
}

if (isMainThread) main();
else countWords(workerData);
