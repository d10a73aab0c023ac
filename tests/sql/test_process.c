/* Connections, processes and files: who may open a store when, what closing leaves, and
 * what is said when files are missing, copied or damaged. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/sql.h"

static sqlite3 *db;
static const char *path;
static char store[1200];

static void setup(void) {
    path = sql_file("app.db");
    snprintf(store, sizeof store, "%s-kevo", path);
    db = sql_open(path);
    sql_exec(db, "PRAGMA journal_mode=WAL; CREATE VIRTUAL TABLE kv USING kevo;"
                 "INSERT INTO kv VALUES('a', 1)");
}

static void teardown(void) {
    sql_close(db);
    db = NULL;
}

static void reopen(void) {
    sql_close(db);
    db = sql_open(path);
}

/* ---- a second process ------------------------------------------------------------------- */

/* The program itself, with "other PATH SQL" as arguments, and as a user without privileges if
 * wanted: what the SQL gives. */
static const char *in_another_process_as(bool somebody, const char *database, const char *sql) {
    static char answer[2000];
    int ends[2], status;
    ck_assert_int_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        if (somebody && geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(126);
        execl("/proc/self/exe", "other", "other", database, sql, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    size_t n = 0;
    ssize_t got;
    while ((got = read(ends[0], answer + n, sizeof answer - 1 - n)) > 0)
        n += (size_t)got;
    answer[n] = 0;
    close(ends[0]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    return answer;
}

static const char *in_another_process(const char *sql) {
    return in_another_process_as(false, path, sql);
}

static int slept_ms;

static int count_sleep(sqlite3_vfs *vfs, int us) {
    (void)vfs;
    slept_ms += us / 1000;
    return us;
}

/* "slept()" stands for the milliseconds that the statements before it waited. */
static void show_sleep(sqlite3_context *context, int argc, sqlite3_value **argv) {
    (void)argc;
    (void)argv;
    sqlite3_result_int(context, slept_ms);
}

static int other_main(char **argv) {
    sql_outside_check = true;
    sqlite3 *mine = sql_open(argv[2]);
    sqlite3_vfs_find(NULL)->xSleep = count_sleep;
    sqlite3_create_function(mine, "slept", 0, SQLITE_UTF8, NULL, show_sleep, NULL, NULL);
    const char *part = argv[3];
    for (const char *end; (end = strstr(part, ";;")); part = end + 2)
        printf("%s;", sql_rows(mine, "%.*s", (int)(end - part), part));
    printf("%s", sql_rows(mine, "%s", part));
    sql_close(mine);
    return 0;
}

/* A query waits once for a process that has the store, not for its estimates as well. */
START_TEST(waits_once) {
    const char *said = in_another_process("PRAGMA busy_timeout = 300;;SELECT * FROM kv;;"
                                          "SELECT slept();;INSERT INTO kv VALUES('b', 2);;"
                                          "SELECT slept()");
    ck_assert_msg(strncmp(said, "300;error 5", 11) == 0, "%s", said);
    ck_assert_msg(strstr(said, ";300;error 5") != NULL, "%s", said);
    ck_assert_msg(strstr(said, ";600") != NULL, "%s", said);
}
END_TEST

START_TEST(second_process) {
    char pid[40];
    snprintf(pid, sizeof pid, "process %d", (int)getpid());
    expect_rows(db, "a|1", "SELECT * FROM kv");
    const char *answer = in_another_process("SELECT * FROM kv");
    ck_assert_msg(strstr(answer, "error 5: kevo: ") == answer && strstr(answer, pid), "%s", answer);
    answer = in_another_process("INSERT INTO kv VALUES('b', 2)");
    ck_assert_msg(strstr(answer, "error 5: kevo: ") == answer && strstr(answer, pid), "%s", answer);
    /* The rest of the database is open to it. */
    ck_assert_str_eq(in_another_process("CREATE TABLE plain(x); INSERT INTO plain VALUES(1);"
                                        "SELECT * FROM plain"),
                     "1");
    sql_close(db);
    ck_assert_str_eq(in_another_process("INSERT INTO kv VALUES('b', 2); SELECT * FROM kv"),
                     "a|1;b|2");
    db = sql_open(path);
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
}
END_TEST

/* ---- for reading only -------------------------------------------------------------------- */

static const char *uri_for_reading(void) {
    static char uri[1300];
    snprintf(uri, sizeof uri, "file:%s?mode=ro", path);
    return uri;
}

START_TEST(readers_of_two_processes) {
    sql_close(db);
    db = sql_open(uri_for_reading());
    expect_rows(db, "a|1", "SELECT * FROM kv");
    ck_assert_str_eq(in_another_process_as(false, uri_for_reading(), "SELECT * FROM kv"), "a|1");
    const char *answer = in_another_process("INSERT INTO kv VALUES('b', 2)");
    ck_assert_msg(strstr(answer, "error 5: kevo: ") == answer &&
                      strstr(answer, "open for reading elsewhere"),
                  "%s", answer);
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    sql_close(db);
    ck_assert_str_eq(in_another_process("INSERT INTO kv VALUES('b', 2); SELECT * FROM kv"),
                     "a|1;b|2");
    db = sql_open(path);
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
    const char *reader = in_another_process_as(false, uri_for_reading(), "SELECT * FROM kv");
    ck_assert_msg(strstr(reader, "error 5: kevo: ") == reader &&
                      strstr(reader, "in use by process"),
                  "%s", reader);
}
END_TEST

/* Whoever comes first, both work. */
START_TEST(a_reader_and_a_writer_of_one_process) {
    sql_close(db);
    sqlite3 *reader = sql_open(uri_for_reading());
    expect_rows(reader, "a|1", "SELECT * FROM kv");
    sqlite3_stmt *scan = sql_prepare(reader, "SELECT * FROM kv");
    ck_assert_int_eq(sqlite3_step(scan), SQLITE_ROW);
    db = sql_open(path);
    sql_exec(db, "INSERT INTO kv VALUES('b', 2)");
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    ck_assert_int_eq(sqlite3_step(scan), SQLITE_DONE); /* in its snapshot there is one row */
    sqlite3_finalize(scan);
    expect_rows(reader, "a|1;b|2", "SELECT * FROM kv");
    expect_error(reader, SQLITE_READONLY, "", "INSERT INTO kv VALUES('c', 3)");
    sql_close(db);
    db = sql_open(path);
    sql_exec(db, "INSERT INTO kv VALUES('c', 3)");
    expect_rows(reader, "a|1;b|2;c|3", "SELECT * FROM kv");
    sql_close(reader);
    reopen();
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM kv");
}
END_TEST

START_TEST(a_reader_sees_no_batch_in_doubt) {
    sqlite3_commit_hook(db, sql_veto, NULL);
    ck_assert_int_ne(sql_try(db, "INSERT INTO kv VALUES('b', 2)"), SQLITE_OK);
    sql_close(db);
    db = sql_open(uri_for_reading());
    expect_rows(db, "a|1", "SELECT * FROM kv");
    expect_rows(db, "1", "SELECT count(*) FROM kv");
    reopen();
    sql_exec(db, "INSERT INTO kv VALUES('c', 3)");
    expect_rows(db, "a|1;c|3", "SELECT * FROM kv");
}
END_TEST

/* Of database and store, or of the store alone. */
START_TEST(queries_need_no_permission_to_write) {
    char command[4000], folder[1200];
    bool database_too = _i == 0;
    sql_exec(db, "PRAGMA journal_mode=DELETE; INSERT INTO kv VALUES('b', 2)");
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    sql_exec(db, "INSERT INTO kv VALUES('c', 3)");
    sql_close(db);
    db = NULL;
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    snprintf(command, sizeof command,
             "chmod a+rx '%s/..' && chmod %s '%s' && chmod %s '%s' && chmod -R a-w,a+rX '%s'",
             folder, database_too ? "0555" : "0777", folder, database_too ? "0444" : "0666", path,
             store);
    ck_assert_int_eq(system(command), 0);
    ck_assert_str_eq(in_another_process_as(true, path, "SELECT * FROM kv"), "a|1;b|2;c|3");
    ck_assert_str_eq(in_another_process_as(true, path, "SELECT kevo_check('kv')"), "ok");
    const char *answer = in_another_process_as(true, path, "INSERT INTO kv VALUES('d', 4)");
    ck_assert_msg(strstr(answer, "error 8: ") == answer, "%s", answer);
    if (!database_too) ck_assert_msg(strstr(answer, "open for reading only"), "%s", answer);
    snprintf(command, sizeof command, "chmod -R u+w '%s'", folder);
    ck_assert_int_eq(system(command), 0);
    db = sql_open(path);
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM kv");
}
END_TEST

/* What root makes beside somebody's database is theirs. */
START_TEST(the_store_has_the_databases_owner) {
    static const char *const names[] = {"", "/LOCK", "/MANIFEST", "/000001.wal"};
    if (geteuid() != 0) return;
    sql_close(db);
    db = NULL;
    path = sql_file("theirs.db");
    db = sql_open(path);
    sql_exec(db, "CREATE TABLE t(x)");
    ck_assert_int_eq(chown(path, 12345, 54321), 0);
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo; INSERT INTO kv VALUES('a', 1)");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[1300];
        struct stat st;
        snprintf(name, sizeof name, "%s-kevo%s", path, names[i]);
        ck_assert_int_eq(stat(name, &st), 0);
        ck_assert_msg(st.st_uid == 12345 && st.st_gid == 54321, "%s", name);
    }
}
END_TEST

/* A child of fork() may not use what its parent opened, and does it no harm. */
START_TEST(forked_child) {
    int status;
    expect_rows(db, "a|1", "SELECT * FROM kv");
    pid_t pid = fork();
    if (pid == 0) {
        int rc = sql_try(db, "SELECT * FROM kv");
        int write_rc = sql_try(db, "INSERT INTO kv VALUES('child', 1)");
        _exit(rc == SQLITE_MISUSE && write_rc != SQLITE_OK ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    sql_exec(db, "INSERT INTO kv VALUES('b', 2)");
    reopen();
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
}
END_TEST

/* ---- connections -------------------------------------------------------------------------- */

START_TEST(loaded_twice) {
    sql_load(db);
    sql_load(db);
    expect_rows(db, "a|1", "SELECT * FROM kv");
    sql_exec(db, "BEGIN; INSERT INTO kv VALUES('b', 2)");
    sql_load(db);
    sql_exec(db, "COMMIT");
    expect_rows(db, "a|1;b|2", "SELECT * FROM kv");
}
END_TEST

START_TEST(first_connection_closed) {
    sqlite3 *second = sql_open(path), *third = sql_open(path);
    expect_rows(second, "a|1", "SELECT * FROM kv");
    sql_close(db);
    sql_exec(second, "INSERT INTO kv VALUES('b', 2)");
    expect_rows(third, "a|1;b|2", "SELECT * FROM kv");
    sql_close(second);
    sql_exec(third, "INSERT INTO kv VALUES('c', 3)");
    sql_close(third);
    db = sql_open(path);
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM kv");
}
END_TEST

static unsigned open_files(void) {
    unsigned n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* With a transaction, statements and cursors open, and no lock, file or memory left. */
/* Bytes of the store's files with that ending. */
static long long file_bytes(const char *ending) {
    long long sum = 0;
    DIR *d = opendir(store);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));) {
        char name[1500];
        struct stat st;
        size_t len = strlen(e->d_name), tail = strlen(ending);
        if (len < tail || strcmp(e->d_name + len - tail, ending) != 0) continue;
        snprintf(name, sizeof name, "%s/%s", store, e->d_name);
        ck_assert_int_eq(stat(name, &st), 0);
        sum += st.st_size;
    }
    closedir(d);
    return sum;
}

/* The last one to leave writes the memtable to a table, so that the next one need not read the log;
 * but not for a few rows. */
START_TEST(the_last_one_leaves_tables) {
    sqlite3 *other = sql_open(path);
    sql_exec(db, "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r LIMIT 20000)"
                 "INSERT INTO kv SELECT 'key ' || i, hex(zeroblob(30)) FROM r");
    expect_rows(other, "20001", "SELECT count(*) FROM kv");
    sql_close(db);
    ck_assert_int_eq(file_bytes(".sst"), 0);
    sql_close(other);
    ck_assert_int_gt(file_bytes(".sst"), 50000);
    ck_assert_int_lt(file_bytes(".wal"), 10000);
    db = sql_open(path);
    expect_rows(db, "20001", "SELECT count(*) FROM kv");
    expect_rows(db, "ok", "SELECT kevo_check('kv')");
    long long before = file_bytes(".sst");
    sql_exec(db, "INSERT INTO kv VALUES('b', 1)");
    reopen();
    ck_assert_int_eq(file_bytes(".sst"), before);
    expect_rows(db, "20002", "SELECT count(*) FROM kv");
}
END_TEST

START_TEST(close_with_everything_open) {
    sql_close(db);
    unsigned before = open_files();
    for (int i = 0; i < 3; i++) {
        db = sql_open(path);
        sqlite3_stmt *scan = sql_prepare(db, "SELECT * FROM kv");
        ck_assert_int_eq(sqlite3_step(scan), SQLITE_ROW);
        sql_exec(db, "BEGIN; SAVEPOINT s; INSERT INTO kv VALUES('lost', 1)");
        sqlite3_stmt *point = sql_prepare(db, "SELECT value FROM kv WHERE key = 'lost'");
        ck_assert_int_eq(sqlite3_step(point), SQLITE_ROW);
        ck_assert_int_eq(sqlite3_close(db), SQLITE_BUSY);
        ck_assert_int_eq(sqlite3_close_v2(db), SQLITE_OK);
        sqlite3_finalize(scan);
        sqlite3_finalize(point);
        ck_assert_uint_eq(open_files(), before);
        ck_assert_str_eq(in_another_process("SELECT * FROM kv"), "a|1");
    }
    db = sql_open(path);
}
END_TEST

START_TEST(read_only) {
    sql_exec(db, "PRAGMA journal_mode=DELETE");
    sql_close(db);
    char uri[1300];
    snprintf(uri, sizeof uri, "file:%s?mode=ro", path);
    db = sql_open_plain(uri);
    sql_load(db);
    expect_rows(db, "a|1", "SELECT * FROM kv");
    ck_assert_int_eq(sql_try(db, "INSERT INTO kv VALUES('b', 2)") & 0xff, SQLITE_READONLY);
    expect_rows(db, "a|1", "SELECT * FROM kv");
}
END_TEST

/* ---- files ---------------------------------------------------------------------------------- */

START_TEST(database_deleted) {
    sql_close(db);
    ck_assert_int_eq(unlink(path), 0);
    db = sql_open(path);
    expect_error(db, SQLITE_CANTOPEN, "move it away or name another directory",
                 "CREATE VIRTUAL TABLE kv USING kevo");
    expect_error(db, SQLITE_CANTOPEN, store, "CREATE VIRTUAL TABLE kv USING kevo");
    sql_exec(db, "CREATE VIRTUAL TABLE kv USING kevo('elsewhere'); INSERT INTO kv VALUES('b', 2)");
    expect_rows(db, "b|2", "SELECT * FROM kv");
}
END_TEST

START_TEST(store_deleted) {
    char command[1300];
    sql_close(db);
    snprintf(command, sizeof command, "rm -r '%s'", store);
    ck_assert_int_eq(system(command), 0);
    db = sql_open(path);
    expect_error(db, SQLITE_CANTOPEN, store, "SELECT * FROM kv");
    expect_error(db, SQLITE_CANTOPEN, store, "INSERT INTO kv VALUES('b', 2)");
    sql_exec(db, "CREATE TABLE plain(x); INSERT INTO plain VALUES(1)");
    ck_assert_int_ne(access(store, F_OK), 0);
}
END_TEST

START_TEST(vacuum) {
    const char *copy_path = sql_file("copy.db");
    sql_exec(db, "CREATE TABLE plain(x); INSERT INTO plain VALUES(1); VACUUM");
    expect_rows(db, "a|1|1", "SELECT * FROM kv, plain");
    sql_exec(db, "VACUUM INTO %Q", copy_path);
    /* The copy has no store of its own at its own place. */
    sqlite3 *copy = sql_open(copy_path);
    expect_error(copy, SQLITE_CANTOPEN, "copy.db-kevo", "SELECT * FROM kv");
    expect_rows(copy, "1", "SELECT * FROM plain");
    sql_close(copy);
}
END_TEST

/* A copy of the file that finds the same explicit directory has nothing to do there, while the
 * original has the store open and afterwards. */
START_TEST(copied_database) {
    const char *dir = sql_file("store"), *copy_path = sql_file("copy.db");
    sql_exec(db, "CREATE VIRTUAL TABLE k2 USING kevo(%Q); INSERT INTO k2 VALUES('a', 1)", dir);
    sql_exec(db, "VACUUM INTO %Q", copy_path);
    sqlite3 *copy = sql_open(copy_path);
    expect_rows(db, "a|1", "SELECT * FROM k2"); /* VACUUM had closed it */
    expect_error(copy, SQLITE_BUSY, "another database", "INSERT INTO k2 VALUES('copy', 1)");
    sql_close(db);
    expect_error(copy, SQLITE_CANTOPEN, path, "INSERT INTO k2 VALUES('copy', 1)");
    expect_error(copy, SQLITE_CANTOPEN, path, "SELECT * FROM k2");
    db = sql_open(path);
    sql_exec(db, "INSERT INTO k2 VALUES('b', 2); SELECT kevo_flush('k2')");
    sql_close(db);
    expect_error(copy, SQLITE_CANTOPEN, path, "INSERT INTO k2 VALUES('copy', 1)");
    sql_close(copy);
    db = sql_open(path);
    sql_exec(db, "INSERT INTO k2 VALUES('c', 3)");
    expect_rows(db, "a|1;b|2;c|3", "SELECT * FROM k2");
}
END_TEST

/* Overwrite some bytes of the first file with that suffix. */
static const char *damage(const char *suffix, long offset) {
    static char file[2500];
    struct dirent *entry;
    DIR *dir = opendir(store);
    file[0] = 0;
    while (dir && (entry = readdir(dir)))
        if (strstr(entry->d_name, suffix))
            snprintf(file, sizeof file, "%s/%s", store, entry->d_name);
    closedir(dir);
    ck_assert_msg(file[0], "no file *%s", suffix);
    int fd = open(file, O_RDWR);
    ck_assert_int_eq(pwrite(fd, "damage", 6, offset), 6);
    close(fd);
    return strrchr(file, '/') + 1;
}

START_TEST(damaged_table) {
    sql_exec(db, "WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000) "
                 "INSERT INTO kv SELECT printf('%%05d', i), i FROM c");
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    sql_close(db);
    const char *file = damage(".sst", 1000);
    db = sql_open(path);
    expect_error(db, SQLITE_CORRUPT, file, "SELECT * FROM kv");
    expect_error(db, SQLITE_CORRUPT, file, "SELECT sum(value) FROM kv");
    expect_rows(db, "1", "SELECT kevo_check('kv') LIKE '%%%s%%'", file);
    /* What lies elsewhere can still be read, and saved. */
    expect_rows(db, "3000", "SELECT value FROM kv WHERE key = '03000'");
}
END_TEST

START_TEST(damaged_manifest) {
    sql_close(db);
    damage("MANIFEST", 20);
    db = sql_open(path);
    expect_error(db, SQLITE_CORRUPT, "MANIFEST", "SELECT * FROM kv");
    expect_error(db, SQLITE_CORRUPT, "MANIFEST", "INSERT INTO kv VALUES('b', 2)");
}
END_TEST

/* What SQL can do about it is said in SQL. */
START_TEST(lost_files) {
    expect_rows(db, "ok", "SELECT kevo_flush('kv')");
    sql_close(db);
    sql_shell(store, "mv 000001.sst ../saved");
    db = sql_open(path);
    expect_error(db, SQLITE_CORRUPT, "kevo_repair", "SELECT * FROM kv");
    expect_rows(db, "1", "SELECT kevo_check('kv') LIKE '%%/000001.sst: %%missing%%kevo_repair%%'");
    sql_close(db);
    sql_shell(store, "mv ../saved 000001.sst && mv LOCK ..");
    db = sql_open(path);
    expect_error(db, SQLITE_CANTOPEN, "/LOCK: missing", "SELECT * FROM kv");
    sql_exec(db, "SELECT kevo_repair('%q', '%q-saved')", store, store);
    sql_shell(store, "touch LOCK");
    expect_rows(db, "a|1", "SELECT * FROM kv");
}
END_TEST

START_TEST(directory_of_something_else) {
    char file[1300];
    const char *dir = scratch_dir();
    snprintf(file, sizeof file, "%s/diary.txt", dir);
    FILE *f = fopen(file, "w");
    fputs("mine", f);
    fclose(f);
    expect_error(db, SQLITE_CANTOPEN, "something else", "CREATE VIRTUAL TABLE x USING kevo(%Q)",
                 dir);
    expect_error(db, SQLITE_CANTOPEN, dir, "CREATE VIRTUAL TABLE x USING kevo(%Q)", dir);
    snprintf(file, sizeof file, "test \"$(ls '%s')\" = diary.txt", dir);
    ck_assert_int_eq(system(file), 0);
    expect_error(db, SQLITE_CANTOPEN, "", "CREATE VIRTUAL TABLE x USING kevo('%q/diary.txt')", dir);
    expect_error(db, SQLITE_CANTOPEN, "", "CREATE VIRTUAL TABLE x USING kevo('%q/no/such')", dir);
    expect_rows(db, "kv",
                "SELECT name FROM sqlite_schema WHERE sql LIKE '%%kevo%%VIRTUAL%%' OR "
                "sql LIKE '%%VIRTUAL%%'");
}
END_TEST

START_TEST(unwritable_directory) {
    if (geteuid() == 0) return; /* root may write everywhere */
    const char *dir = scratch_dir();
    ck_assert_int_eq(chmod(dir, 0500), 0);
    expect_error(db, SQLITE_CANTOPEN, dir, "CREATE VIRTUAL TABLE x USING kevo('%q/store')", dir);
    ck_assert_int_eq(chmod(dir, 0700), 0);
}
END_TEST

/* ---- hostile databases ------------------------------------------------------------------------- */

static const char *const tamperings[] = {
    "UPDATE kevo_store SET uuid = x'00'",
    "UPDATE kevo_store SET uuid = randomblob(16)",
    "UPDATE kevo_store SET directory = '/nonexistent/directory'",
    "UPDATE kevo_store SET directory = ''",
    "UPDATE kevo_store SET directory = x'0001'",
    "DELETE FROM kevo_store",
    "DROP TABLE kevo_store",
    "DELETE FROM kevo_table",
    "DROP TABLE kevo_table",
    "UPDATE kevo_table SET id = 99999999999",
    "UPDATE kevo_table SET id = 0",
    "UPDATE kevo_table SET name = NULL",
    "DELETE FROM kevo_marker",
    "DROP TABLE kevo_marker",
    "UPDATE kevo_marker SET state = x''",
    "UPDATE kevo_marker SET state = NULL",
    "UPDATE kevo_marker SET state = 'text'",
    "UPDATE kevo_marker SET state = randomblob(500)",
    "UPDATE kevo_marker SET state = zeroblob(length(state))",
    "ALTER TABLE kevo_marker RENAME TO other",
};

/* The tables that describe the store are input like any other: an error at most, and the
 * database stays usable. */
START_TEST(tampered) {
    sql_close(db);
    sqlite3 *plain = sql_open_plain(path);
    /* Where they cannot be changed all is well. */
    if (sql_try(plain, "PRAGMA ignore_check_constraints=1; %s", tamperings[_i]) != SQLITE_OK)
        sql_exec(plain, "SELECT 1");
    sql_close(plain);
    db = sql_open(path);
    sql_rows(db, "SELECT * FROM kv");
    sql_rows(db, "INSERT INTO kv VALUES('b', 2)");
    sql_rows(db, "BEGIN; INSERT INTO kv VALUES('c', 2); COMMIT");
    sql_try(db, "ROLLBACK");
    sql_rows(db, "SELECT kevo_check('kv')");
    sql_rows(db, "SELECT kevo_flush('kv')");
    sql_exec(db, "CREATE TABLE plain(x); INSERT INTO plain VALUES(1)");
    sql_rows(db, "CREATE VIRTUAL TABLE k2 USING kevo('another')");
    sql_rows(db, "DROP TABLE kv");
    expect_rows(db, "1", "SELECT * FROM plain");
}
END_TEST

START_TEST(trusted_schema) {
    sql_exec(db, "CREATE VIEW v AS SELECT kevo_flush('kv'); CREATE VIEW w AS SELECT * FROM kv");
    expect_error(db, SQLITE_ERROR, "unsafe use of kevo_flush", "SELECT * FROM v");
    expect_rows(db, "a|1", "SELECT * FROM w");
    sql_exec(db, "PRAGMA trusted_schema=0");
    expect_error(db, SQLITE_ERROR, "unsafe use", "SELECT * FROM w");
}
END_TEST

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "other") == 0) return other_main(argv);
    Suite *suite = suite_create("process");
    TCase *tcase = tcase_create("process");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, second_process);
    tcase_add_test(tcase, waits_once);
    tcase_add_test(tcase, readers_of_two_processes);
    tcase_add_test(tcase, a_reader_and_a_writer_of_one_process);
    tcase_add_test(tcase, a_reader_sees_no_batch_in_doubt);
    tcase_add_loop_test(tcase, queries_need_no_permission_to_write, 0, 2);
    tcase_add_test(tcase, the_store_has_the_databases_owner);
    tcase_add_test(tcase, forked_child);
    tcase_add_test(tcase, loaded_twice);
    tcase_add_test(tcase, first_connection_closed);
    tcase_add_test(tcase, the_last_one_leaves_tables);
    tcase_add_test(tcase, close_with_everything_open);
    tcase_add_test(tcase, read_only);
    tcase_add_test(tcase, database_deleted);
    tcase_add_test(tcase, store_deleted);
    tcase_add_test(tcase, vacuum);
    tcase_add_test(tcase, copied_database);
    tcase_add_test(tcase, damaged_table);
    tcase_add_test(tcase, damaged_manifest);
    tcase_add_test(tcase, lost_files);
    tcase_add_test(tcase, directory_of_something_else);
    tcase_add_test(tcase, unwritable_directory);
    tcase_add_loop_test(tcase, tampered, 0, (int)(sizeof tamperings / sizeof tamperings[0]));
    tcase_add_test(tcase, trusted_schema);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
