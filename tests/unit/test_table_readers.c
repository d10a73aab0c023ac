/* Many threads that read one table. */
#include <pthread.h>
#include <stdlib.h>

#include "tests/lib/one_table.h"

struct crowd {
    struct one_table *o;
    const struct iter_suite_set *set;
};

static void *read_all(void *arg) {
    struct crowd *c = arg;
    for (int round = 0; round < 5; round++)
        if (check_gets(c->o->table, c->o->cache, c->set, false) ||
            check_scans(c->o->table, c->set, round % 2))
            abort();
    return NULL;
}

START_TEST(many_readers) {
    struct iter_suite_set *set = one_table_set();
    struct table_writer_options options = table_options(500, _i, 10);
    struct one_table o;
    one_table_init(&o, set, &options, 40000);
    struct crowd crowd = {&o, set};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all, &crowd), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    one_table_release(&o);
    iter_suite_free(set);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("table_readers");
    TCase *tcase = tcase_create("table_readers");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, many_readers, 0, 2);
    suite_add_tcase(suite, tcase);
    return harness_run(suite);
}
