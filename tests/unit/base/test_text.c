/* What people type: which ids, durations and numbers are taken, and which are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/text.h"

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

/* All 256 bytes: exactly the printable ones that mean nothing else may stand in an id. */
static void test_id_bytes(void **state)
{
    (void)state;
    for (int c = 0; c < 256; c++) {
        char id[2] = { 'a', (char)c };
        bool want = c > ' ' && c < 0x7f && strchr(":*=/,", c) == NULL;
        assert_int_equal(text_is_id(span_make(id, 2)), want);
        bool first = want && c != '-'; /* an option begins with it */
        assert_int_equal(text_is_id(span_make(id + 1, 1)), first);
    }
}

/* A text that is cut for a line stays text: no character is cut in two. */
static void test_beginning(void **state)
{
    (void)state;
    assert_int_equal(3, text_beginning(span_of("abc"), 3).len);
    assert_int_equal(2, text_beginning(span_of("abc"), 2).len);
    assert_int_equal(0, text_beginning(span_of("abc"), 0).len);
    assert_int_equal(2, text_beginning(span_of("\u00e4\u00e4"), 3).len);
    assert_int_equal(4, text_beginning(span_of("\u00e4\u00e4"), 4).len);
    assert_int_equal(1, text_beginning(span_of("a\U0001F3AD"), 4).len);
    assert_int_equal(5, text_beginning(span_of("a\U0001F3AD"), 5).len);
}

/* Other scripts are welcome; what hides in print, or is no UTF-8, is not. */
static void test_id_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {
        "Zo\xc3\xab", "\xe6\x9d\xb1\xe4\xba\xac", "\xf0\x9f\x8e\xad", "A1", "a-b", "#7", "~"
    };
    static const char *const bad[] = {
        "",
        "a b",
        "a\xc2\xa0"
        "b", /* no-break space */
        "\xc0\xaf",
        "\xed\xa0\x80",
        "a\xe2\x80\x8b"
        "b", /* overlong, surrogate, zero width space */
        "\xf4\x90\x80\x80",
        "\xff",
        "a\xc3",
        "\xe2\x80\xae"
        "x", /* right-to-left override */
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(text_is_id(span_of(good[i])));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(text_is_id(span_of(bad[i])));
    }
}

/* The limits are counted in bytes and are exact. */
static void test_id_length(void **state)
{
    (void)state;
    char text[ID_BYTES_MAX + 1];
    memset(text, 'x', sizeof text);
    assert_true(text_is_id(span_make(text, ID_BYTES_MAX)));
    assert_false(text_is_id(span_make(text, ID_BYTES_MAX + 1)));
    assert_true(text_is_label(span_make(text, SEAT_LABEL_BYTES_MAX)));
    assert_false(text_is_label(span_make(text, SEAT_LABEL_BYTES_MAX + 1)));
}

/* Durations: units, plain seconds, ten years at most. */
static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = { { "90", 90000 }, { "90s", 90000 }, { "15m", 900000 },  { "2h", 7200000 },
                 { "0", 0 },      { "250ms", 250 }, { "1d", 86400000 }, { "3650d", 315360000000 } };
    static const char *const bad[] = { "",      "-1",  "1.5h", "m",   "10 m",
                                       "1w",    "5mm", "+5m",  "0x5", "9223372036854775807h",
                                       "99999d" };
    uint64_t ms;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(text_duration_ms(span_of(good[i].text), &ms));
        assert_true(ms == good[i].ms);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(text_duration_ms(span_of(bad[i]), &ms));
    }
}

/* Whole numbers to both ends of 64 bits, and not one further. */
static void test_int64(void **state)
{
    (void)state;
    int64_t v;
    assert_true(text_int64(span_of("9223372036854775807"), &v) && v == INT64_MAX);
    assert_true(text_int64(span_of("-9223372036854775808"), &v) && v == INT64_MIN);
    static const char *const bad[] = {
        "", "-", "9223372036854775808", "-9223372036854775809", "1 ", "+1", "1e3", "0x1", "--1"
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(text_int64(span_of(bad[i]), &v));
    }
}

/* "Did you mean": slips of the finger are found, other words are not offered. */
static void test_nearest(void **state)
{
    (void)state;
    static const char *const names[] = { "confirm", "cancel", "cancel-seat", "book", NULL };
    assert_string_equal(text_nearest(span_of("confrim"), names), "confirm");
    assert_string_equal(text_nearest(span_of("bok"), names), "book");
    assert_string_equal(text_nearest(span_of("cancle"), names), "cancel");
    assert_null(text_nearest(span_of("zebra"), names));
    assert_int_equal(text_distance(span_of("ab"), span_of("ba"), 3), 1);
    assert_int_equal(text_distance(span_of(""), span_of("abc"), 3), 3);
    assert_true(text_distance(span_of(""), span_of("abc"), 2) > 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beginning), cmocka_unit_test(test_id_bytes),
        cmocka_unit_test(test_id_utf8),   cmocka_unit_test(test_id_length),
        cmocka_unit_test(test_duration),  cmocka_unit_test(test_int64),
        cmocka_unit_test(test_nearest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
