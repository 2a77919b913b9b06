/* The log in memory: indices, terms, shared payloads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/log_cache.h"
#include "cluster/wire.h"

static void append(struct log_cache *l, uint64_t term, const char *text)
{
    struct buf b = BUF_INIT;
    buf_put_str(&b, text);
    const void *data = b.data;
    size_t len = b.len;
    struct log_entry e = { term, data, len, payload_of_buf(&b), 1 };
    log_cache_append(l, &e);
}

/* Growing, cutting at both ends and going round the ring keeps index, term and bytes. */
static void test_ring(void **state)
{
    (void)state;
    int64_t live = mem_test_live();
    struct log_cache l;
    char text[32];
    log_cache_init(&l);
    assert_int_equal(log_cache_last(&l), 0);
    uint64_t next = 1, first = 1;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 100; i++) {
            (void)snprintf(text, sizeof text, "%08llu", (unsigned long long)next);
            append(&l, next / 10 + 1, text);
            next++;
        }
        log_cache_truncate(&l, next - 7);
        next -= 7;
        uint64_t drop = next - 20;
        log_cache_snapshot(&l, drop + 1, log_cache_term(&l, drop + 1), drop);
        first = drop + 1;
        assert_true(l.first == first);
        assert_true(log_cache_last(&l) == next - 1);
        assert_true(l.bytes == 8 * (next - first));
        for (uint64_t i = first; i < next; i++) {
            const struct log_entry *e = log_cache_get(&l, i);
            (void)snprintf(text, sizeof text, "%08llu", (unsigned long long)i);
            assert_non_null(e);
            assert_memory_equal(e->data, text, 8);
            assert_true(log_cache_term(&l, i) == i / 10 + 1);
        }
        assert_null(log_cache_get(&l, first - 1));
        assert_null(log_cache_get(&l, next));
        assert_true(log_cache_term(&l, next) == 0);
    }
    log_cache_free(&l);
    assert_true(mem_test_live() == live);
}

/* After a snapshot replaced the log its own term is still known, and the log goes on
 * behind it. */
static void test_restart(void **state)
{
    (void)state;
    int64_t live = mem_test_live();
    struct log_cache l;
    log_cache_init(&l);
    append(&l, 1, "a");
    log_cache_restart(&l, 100, 7);
    assert_int_equal(log_cache_last(&l), 100);
    assert_int_equal(log_cache_term(&l, 100), 7);
    assert_int_equal(log_cache_term(&l, 99), 0);
    append(&l, 8, "b");
    assert_int_equal(log_cache_last(&l), 101);
    assert_int_equal(log_cache_term(&l, 101), 8);
    log_cache_free(&l);
    assert_true(mem_test_live() == live);
}

/* A payload lives until its last user is done, whichever that is. */
static void test_payloads(void **state)
{
    (void)state;
    int64_t live = mem_test_live();
    struct log_cache l;
    struct buf b = BUF_INIT;
    log_cache_init(&l);
    buf_put_str(&b, "shared");
    struct log_entry e = { 1, b.data, 3, payload_of_buf(&b), 1 };
    assert_null(b.data);
    struct payload *mine = payload_ref(e.payload);
    log_cache_append(&l, &e);
    e.payload = payload_ref(mine);
    e.data = (const char *)e.data + 3;
    log_cache_append(&l, &e);
    log_cache_truncate(&l, 2);
    log_cache_free(&l);
    assert_memory_equal(mine->base, "shared", 6);
    payload_unref(mine);
    payload_unref(NULL);
    assert_true(mem_test_live() == live);
}

/* Frames read back as written; anything shorter, longer or out of range is refused. */
static void test_wire(void **state)
{
    (void)state;
    struct wire_hello h = { .state = HELLO_PROMISED,
                            .known = HELLO_KNOWN,
                            .answer = true,
                            .cluster_id = 5,
                            .founder_id = 6,
                            .nodes_count = 2,
                            .nodes = { { "a:1", 3 }, { "b:22", 4 } } };
    struct wire_hello back;
    struct buf b = BUF_INIT;
    struct reader r;
    wire_put_hello(&b, &h);
    for (size_t len = 1; len <= b.len; len++) {
        reader_init(&r, b.data + 1, len - 1);
        assert_int_equal(wire_get_hello(&r, &back) == 0, len == b.len);
    }
    assert_int_equal(back.nodes_count, 2);
    assert_true(span_is(back.nodes[1], "b:22"));
    assert_true(back.answer && back.cluster_id == 5 && back.founder_id == 6);
    buf_put_u8(&b, 0);
    reader_init(&r, b.data + 1, b.len - 1);
    assert_int_not_equal(wire_get_hello(&r, &back), 0);
    buf_clear(&b);
    struct wire_snapshot s = { 1, 9, 100, 8, 4096, { "meta", 4 } }, sback;
    wire_put_snapshot(&b, &s);
    for (size_t len = 1; len <= b.len; len++) {
        reader_init(&r, b.data + 1, len - 1);
        assert_int_equal(wire_get_snapshot(&r, &sback) == 0, len == b.len);
    }
    assert_true(sback.index == 100 && sback.bytes == 4096 && span_is(sback.meta, "meta"));
    s.term = 10; /* beyond the leader's term */
    buf_clear(&b);
    wire_put_snapshot(&b, &s);
    reader_init(&r, b.data + 1, b.len - 1);
    assert_int_not_equal(wire_get_snapshot(&r, &sback), 0);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_payloads),
        cmocka_unit_test(test_wire),
    };
    return cmocka_run_group_tests_name("cluster_log", tests, NULL, NULL);
}
