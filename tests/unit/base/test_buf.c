/* The codec under every format on the wire and on disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const uint64_t values[] = {
    0,         1,          0x7f,       0x80,          0x3fff,    0x4000,
    65535,     UINT32_MAX, 1ull << 56, INT64_MAX - 1, INT64_MAX, (uint64_t)INT64_MAX + 1,
    UINT64_MAX
};

/* What is put is got back, in order, and nothing is left. */
static void test_round_trip(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < COUNT(values); i++) {
        buf_put_varint(&b, values[i]);
        buf_put_svarint(&b, (int64_t)values[i]);
        buf_put_u8(&b, (uint8_t)values[i]);
        buf_put_u16(&b, (uint16_t)values[i]);
        buf_put_u32(&b, (uint32_t)values[i]);
        buf_put_u64(&b, values[i]);
        buf_put_bytes(&b, "seat", i % 5);
    }
    struct reader r;
    reader_init(&r, b.data, b.len);
    for (size_t i = 0; i < COUNT(values); i++) {
        assert_true(reader_varint(&r) == values[i]);
        assert_true(reader_svarint(&r) == (int64_t)values[i]);
        assert_int_equal(reader_u8(&r), (uint8_t)values[i]);
        assert_int_equal(reader_u16(&r), (uint16_t)values[i]);
        assert_int_equal(reader_u32(&r), (uint32_t)values[i]);
        assert_true(reader_u64(&r) == values[i]);
        assert_true(span_eq(reader_bytes(&r), span_make("seat", i % 5)));
    }
    assert_false(r.failed);
    assert_int_equal(reader_left(&r), 0);
    buf_free(&b);
}

/* Every shorter text fails at its end, says so for good, and is never read past. */
static void test_truncated(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_put_varint(&b, UINT64_MAX);
    buf_put_bytes(&b, "abcdef", 6);
    buf_put_u32(&b, 7);
    for (size_t len = 0; len < b.len; len++) {
        uint8_t *copy = mem_must_alloc(len); /* exactly: a sanitizer sees one byte more */
        memcpy(copy, b.data, len);
        struct reader r;
        reader_init(&r, copy, len);
        (void)reader_varint(&r);
        (void)reader_bytes(&r);
        (void)reader_u32(&r);
        assert_true(r.failed);
        assert_true(reader_varint(&r) == 0 && reader_u8(&r) == 0 && reader_bytes(&r).len == 0);
        mem_free(copy);
    }
    buf_free(&b);
}

/* A varint has one meaning at most: 11 bytes, or a tenth over 64 bits, are malformed. */
static void test_varint_bounds(void **state)
{
    (void)state;
    static const uint8_t most[] = { 255, 255, 255, 255, 255, 255, 255, 255, 255, 1 };
    uint8_t bytes[11];
    struct reader r;
    reader_init(&r, most, sizeof most);
    assert_true(reader_varint(&r) == UINT64_MAX && !r.failed);
    memcpy(bytes, most, sizeof most);
    bytes[9] = 2;
    reader_init(&r, bytes, 10);
    assert_true(reader_varint(&r) == 0 && r.failed);
    bytes[9] = 0x81;
    bytes[10] = 0;
    reader_init(&r, bytes, 11);
    assert_true(reader_varint(&r) == 0 && r.failed);
}

/* A length beyond the text is refused before anything is read, also near 2^64. */
static void test_long_length(void **state)
{
    (void)state;
    for (size_t i = 1; i < COUNT(values); i++) {
        struct buf b = BUF_INIT;
        struct reader r;
        buf_put_varint(&b, values[i]);
        reader_init(&r, b.data, b.len);
        assert_int_equal(reader_bytes(&r).len, 0);
        assert_true(r.failed);
        buf_free(&b);
    }
}

/* One failed allocation is remembered: later puts do nothing, and clearing starts anew. */
static void test_no_memory(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    buf_put_str(&b, "held");
    mem_test_fail_at(1);
    for (int i = 0; i < 100; i++) {
        buf_put_u64(&b, 1);
    }
    mem_test_fail_at(0);
    assert_true(b.failed);
    size_t len = b.len;
    buf_put_u8(&b, 1);
    buf_put_varint(&b, 1);
    buf_put_str(&b, "x");
    assert_int_equal(b.len, len);
    buf_clear(&b);
    buf_put_u8(&b, 9);
    assert_true(!b.failed && b.len == 1 && b.data[0] == 9);
    buf_free(&b);
    assert_int_equal(mem_test_live(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),    cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_varint_bounds), cmocka_unit_test(test_long_length),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
