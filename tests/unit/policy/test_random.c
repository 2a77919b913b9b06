/* Order ids: the cipher gives what is published for it, and from one seed the same ids again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy/random.h"

/* ChaCha with 12 rounds, 256-bit key and nonce all zero, the first block: Internet-Draft
 * draft-strombergson-chacha-test-vectors-01, TC1. */
static void test_published(void **state)
{
    (void)state;
    static const uint64_t want[] = {
        0x53f955076a9af49b, 0xd583265f12ce1f81, 0x1474e049bbc32904, 0x5f15ae2ea589007e,
        0xc0e37ad279f86405, 0x798cfaac3428e82c, 0x1969dea02c9f623a, 0xbe2613412fe80b61,
    };
    struct random r;
    memset(&r, 0, sizeof(r));
    r.used = 16;
    for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
        assert_int_equal(random_u64(&r), want[i]);
    }
    assert_int_equal(r.counter, 1);
}

/* Two hundred ids take forty blocks: none twice, all of the alphabet, the same from the same seed.
 */
static void test_ids(void **state)
{
    (void)state;
    static char id[200][ORDER_ID_BYTES];
    const uint64_t seed[2] = { 1, 2 };
    struct random a, b;
    random_init(&a, seed);
    random_init(&b, seed);
    for (int i = 0; i < 200; i++) {
        char again[ORDER_ID_BYTES];
        random_order_id(&a, id[i]);
        random_order_id(&b, again);
        assert_memory_equal(id[i], again, ORDER_ID_BYTES);
        for (int k = 0; k < i; k++) {
            assert_memory_not_equal(id[i], id[k], ORDER_ID_BYTES);
        }
        for (int k = 0; k < ORDER_ID_BYTES; k++) {
            assert_non_null(memchr("0123456789ABCDEFGHJKMNPQRSTVWXYZ", id[i][k], 32));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
