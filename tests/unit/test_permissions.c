/* A store on a real disk, opened by who may only read it, by several processes, and by root for
 * somebody else. */
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/child.h"
#include "tests/lib/kv.h"

static struct kevo_options options, reading;

static void set_options(void) {
    options = kv_options(NULL);
    reading = options;
    reading.read_only = reading.use_kept = true;
}

static void teardown(void) {
    ck_assert_uint_eq(fault_alloc_live(), 0);
}

static char posix_dir[600];

static void make_posix_store(unsigned file_mode) {
    kevo_store *s;
    set_options();
    options.file_mode = file_mode;
    const char *scratch = scratch_dir();
    snprintf(posix_dir, sizeof posix_dir, "%s/..", scratch);
    ck_assert_int_eq(chmod(posix_dir, 0755) | chmod(scratch, 0755), 0);
    snprintf(posix_dir, sizeof posix_dir, "%s/store", scratch);
    ck_ok(kevo_open(posix_dir, &options, &s, &test_err));
    kv_put(s, "a", "1");
    ck_ok(kevo_flush(s, &test_err));
    kv_put(s, "b", "2");
    kevo_close(s);
}

static void read_without_permission(void) {
    kevo_store *s;
    CHILD_EXPECTS(kevo_open(posix_dir, &options, &s, &test_err) == KEVO_CANTOPEN);
    CHILD_EXPECTS(kevo_open(posix_dir, &reading, &s, &test_err) == 0);
    CHILD_EXPECTS(strcmp(kv_dump(s, NULL), "a=1 b=2") == 0);
    CHILD_EXPECTS(kevo_open(posix_dir, &options, &s, &test_err) == KEVO_CANTOPEN ||
                  kevo_open(posix_dir, &options, &s, &test_err) == KEVO_IOERR);
    CHILD_EXPECTS(strstr(test_err.msg, "LOCK"));
}

START_TEST(reading_needs_no_permission_to_write) {
    static const char *const names[] = {"LOCK", "MANIFEST", "000001.sst", "000002.wal"};
    char path[700];
    make_posix_store(0644);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", posix_dir, names[i]);
        ck_assert_int_eq(chmod(path, 0444), 0);
    }
    ck_assert_int_eq(chmod(posix_dir, 0555), 0);
    as_somebody(read_without_permission);
    ck_assert_int_eq(chmod(posix_dir, 0755), 0);
}
END_TEST

static void write_beside_a_reader(void) {
    kevo_store *s;
    CHILD_EXPECTS(kevo_open(posix_dir, &reading, &s, &test_err) == 0);
    kevo_close(s);
    CHILD_EXPECTS(kevo_open(posix_dir, &options, &s, &test_err) == KEVO_BUSY);
    CHILD_EXPECTS(strstr(test_err.msg, "open for reading elsewhere"));
}

static void read_beside_a_writer(void) {
    kevo_store *s;
    char holder[64];
    snprintf(holder, sizeof holder, "in use by process %ld", (long)getppid());
    CHILD_EXPECTS(kevo_open(posix_dir, &reading, &s, &test_err) == KEVO_BUSY);
    CHILD_EXPECTS(strstr(test_err.msg, holder));
}

START_TEST(readers_of_several_processes) {
    kevo_store *s;
    make_posix_store(0666);
    char path[700];
    snprintf(path, sizeof path, "%s/LOCK", posix_dir);
    ck_assert_int_eq(chmod(path, 0666), 0);
    ck_ok(kevo_open(posix_dir, &reading, &s, &test_err));
    as_somebody(write_beside_a_reader);
    ck_assert_str_eq(kv_dump(s, NULL), "a=1 b=2");
    kevo_close(s);
    ck_ok(kevo_open(posix_dir, &options, &s, &test_err));
    as_somebody(read_beside_a_writer);
    kevo_close(s);
}
END_TEST

/* Of a directory's files, all that differ from that owner. */
static unsigned strangers(const char *dir, unsigned user, unsigned group) {
    static const char *const names[] = {"", "LOCK", "MANIFEST", "000001.sst", "000002.wal"};
    unsigned count = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[700];
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        ck_assert_msg(stat(path, &st) == 0, "%s", path);
        count += st.st_uid != user || st.st_gid != group;
    }
    return count;
}

START_TEST(what_root_makes_is_the_users) {
    if (geteuid() != 0) return; /* only root can give files away */
    make_posix_store(0644);
    ck_assert_uint_eq(strangers(posix_dir, 0, 0), 0);
    options.set_owner = true;
    options.owner_user = 12345;
    options.owner_group = 54321;
    kevo_store *s;
    snprintf(posix_dir, sizeof posix_dir, "%s/theirs", scratch_dir());
    ck_ok(kevo_open(posix_dir, &options, &s, &test_err));
    kv_put(s, "a", "1");
    ck_ok(kevo_flush(s, &test_err));
    kevo_close(s);
    ck_assert_uint_eq(strangers(posix_dir, 12345, 54321), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("permissions");
    TCase *tcase = tcase_create("permissions");
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, reading_needs_no_permission_to_write);
    tcase_add_test(tcase, readers_of_several_processes);
    tcase_add_test(tcase, what_root_makes_is_the_users);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
