/* Checksums are XXH3's, whatever the processor has to make them with. */
#include "engine/base/checksum.h"

#include "tests/lib/harness.h"

enum { MOST = 3000, ROOM = 100000 };

static uint8_t bytes[ROOM + 64];

static void setup(void) {
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 2654435761U >> 13);
}

START_TEST(lengths) {
    for (size_t len = 0; len < MOST; len++) {
        const uint8_t *at = bytes + len % 64;
        ck_assert_uint_eq(checksum64(at, len, 0), XXH3_64bits(at, len));
        ck_assert_uint_eq(checksum64(at, len, len), XXH3_64bits_withSeed(at, len, len));
        ck_assert_uint_eq(checksum64(at, len, UINT64_MAX),
                          XXH3_64bits_withSeed(at, len, UINT64_MAX));
    }
    ck_assert_uint_eq(checksum64(bytes, ROOM, 7), XXH3_64bits_withSeed(bytes, ROOM, 7));
}
END_TEST

/* What files hold: the numbers of XXH3 0.8. */
START_TEST(known_sums) {
    static const uint8_t zeros[4096];
    ck_assert_uint_eq(checksum64(zeros, 0, 0), UINT64_C(0x2d06800538d394c2));
    ck_assert_uint_eq(checksum64(zeros, sizeof zeros, 0), UINT64_C(0x93d76fe148c689ba));
    ck_assert_uint_eq(checksum64(zeros, sizeof zeros, 1), UINT64_C(0xeca1fdafb7b0bd2a));
}
END_TEST

int main(void) {
    Suite *s = suite_create("checksum");
    TCase *t = tcase_create("checksum");
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, lengths);
    tcase_add_test(t, known_sums);
    suite_add_tcase(s, t);
    return harness_run(s);
}
