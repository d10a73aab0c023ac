#!/bin/sh
# A database with kevo tables as SQL text: a backup that can be read, compared, and taken
# elsewhere. The shell's .dump writes the definitions of virtual tables but not their rows;
# this writes both, and everything else as .dump does, all as of one moment.
#
#     examples/dump.sh app.db >app.sql                    back up
#     sqlite3 -cmd '.load kevo' new.db <app.sql           restore, into a new file
#
# KEVO names the extension when it is not installed: KEVO=build/ext/kevo examples/dump.sh ...
# Like .dump it does not keep hidden rowids, and of a text with a zero byte only what is in
# front of it. Tables with directories of their own are restored into the same directories,
# relative to the new file.
set -eu

if [ $# != 1 ] || ! [ -f "$1" ]; then
    echo 'usage: examples/dump.sh database >text' >&2
    exit 2
fi
database=$1 kevo=${KEVO-kevo}

ask() {
    sqlite3 -batch -bail -readonly "$database" "$1"
}

# The names of all other tables, indexes, views and triggers, as patterns for .dump.
others() {
    ask "SELECT '''' || replace(replace(replace(replace(name, '\\', '\\\\'), '_', '\\_'), '%', '\\%'),
             '''', '_') || ''''
         FROM sqlite_schema
         WHERE name NOT IN ('kevo_store', 'kevo_marker', 'kevo_table') AND sql NOT NULL AND
             NOT (type = 'table' AND
                  name COLLATE NOCASE IN (SELECT name FROM kevo_table WHERE name NOT NULL))" |
        tr '\n' ' '
}

# For each kevo table, in the order they were made: its definition, then its rows.
tables() {
    ask "SELECT '.mode list' || char(10) || 'SELECT sql || '';'' FROM sqlite_schema WHERE name = ' ||
             quote(name) || ';' || char(10) || '.mode insert ' ||
             '\"' || replace(replace(name, '\\', '\\\\'), '\"', '\\\"') || '\"' || char(10) ||
             'SELECT * FROM \"' || replace(name, '\"', '\"\"') || '\";'
         FROM sqlite_schema
         WHERE type = 'table' AND
             name COLLATE NOCASE IN (SELECT name FROM kevo_table WHERE name NOT NULL)
         ORDER BY rowid"
}

commands() {
    printf '%s\n' '.bail on' 'BEGIN;' '.print BEGIN;'
    printf '%s\n' "$tables" '.print COMMIT;'
    [ -z "$others" ] || printf '.dump %s\n' "$others"
    echo 'COMMIT;'
}

if [ "$(ask "SELECT count(*) FROM sqlite_schema WHERE name = 'kevo_table'")" = 0 ]; then
    exec sqlite3 -batch -bail -readonly "$database" .dump
fi
tables=$(tables)
others=$(others)
commands | sqlite3 -batch -bail -readonly -cmd ".load $kevo" "$database"
