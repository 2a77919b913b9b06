/* Effects and entries as bytes: both directions agree, and no bytes hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "lib/rng.h"
#include "store/effect.h"
#include "store/store.h"

static const enum effect_kind kinds[] = {
#define X(name, tag) name,
    EFFECT_MAP(X)
#undef X
};
#define KINDS (sizeof kinds / sizeof kinds[0])

#define PLACES_MAX 40
/* An effect with all memory it points to. */
struct made {
    struct effect f;
    struct place places[PLACES_MAX];
    struct span types[PLACES_MAX];
    char text[4096];
    size_t used;
};

static struct span random_span(struct rng *r, struct made *m)
{
    size_t len = rng_one_in(r, 4) ? 0 : rng_one_in(r, 10) ? rng_below(r, 200) : rng_below(r, 20);
    if (len == 0 || m->used + len > sizeof m->text) {
        return span_make("", 0);
    }
    char *at = m->text + m->used;
    for (size_t i = 0; i < len; i++) {
        at[i] = (char)rng_next(r);
    }
    m->used += len;
    return span_make(at, len);
}

/* Small, large and zero: each byte length of a varint comes up. */
static uint64_t random_number(struct rng *r)
{
    return rng_one_in(r, 4) ? 0 : rng_next(r) >> rng_below(r, 64);
}

static void random_places(struct rng *r, struct made *m)
{
    struct effect *f = &m->f;
    f->places_count = rng_one_in(r, 4) ? 0 : rng_below(r, PLACES_MAX);
    if (f->places_count == 0) {
        return;
    }
    bool typed = rng_one_in(r, 3), priced = rng_one_in(r, 2), numbered = rng_one_in(r, 3);
    for (uint32_t i = 0; i < f->places_count; i++) {
        bool area = rng_one_in(r, 4);
        m->places[i] = (struct place){
            .event = (uint32_t)random_number(r),
            .number = ((uint32_t)random_number(r) & ~PLACE_AREA) | (area ? PLACE_AREA : 0),
            .count = area ? (uint32_t)random_number(r) : 1,
            .type = numbered && !typed ? (uint32_t)random_number(r) : 0,
            .price = priced ? (int64_t)random_number(r) * (rng_one_in(r, 2) ? 1 : -1) : 0,
        };
        m->types[i] = random_span(r, m);
    }
    f->places = m->places;
    f->types = typed ? m->types : NULL;
}

static void random_effect(struct rng *r, enum effect_kind kind, struct made *m)
{
    memset(m, 0, sizeof *m);
    struct effect *f = &m->f;
    f->kind = kind;
    struct span *spans[] = { &f->id,       &f->id2,      &f->id3,  &f->text,    &f->ruleset,
                             &f->currency, &f->customer, &f->user, &f->request, &f->sha256 };
    for (size_t i = 0; i < sizeof spans / sizeof spans[0]; i++) {
        *spans[i] = random_span(r, m);
    }
    f->set = (unsigned)(random_number(r) & 0x7f);
    f->number = (uint32_t)random_number(r);
    f->version = (uint32_t)random_number(r);
    f->until_ms = random_number(r);
    f->time_ms = random_number(r);
    f->args_digest = random_number(r);
    f->price = (int64_t)random_number(r);
    f->code = (int)rng_below(r, ERR_COUNT_);
    f->open = rng_one_in(r, 2);
    f->unjudged = rng_one_in(r, 2);
    f->overbook = rng_one_in(r, 2);
    f->late = rng_one_in(r, 2);
    random_places(r, m);
}

#define CHECK_SPAN(member) assert_true(span_eq(a->member, b->member))

static void same_places(const struct effect *a, const struct effect *b)
{
    assert_int_equal(a->places_count, b->places_count);
    assert_int_equal(a->types != NULL, b->types != NULL);
    for (uint32_t i = 0; i < a->places_count; i++) {
        assert_memory_equal(&a->places[i], &b->places[i], sizeof a->places[i]);
        if (a->types != NULL) {
            assert_true(span_eq(a->types[i], b->types[i]));
        }
    }
}

/* Compares the members that effect.h names for the kind: written out here by hand,
 * so that a member missing in the codec's own table is noticed. */
static void same_effect(const struct effect *a, const struct effect *b)
{
    assert_int_equal(a->kind, b->kind);
    switch (a->kind) {
    case EFFECT_CHART_PUT:
    case EFFECT_KV_SET:
    case EFFECT_RECORD_SET:
    case EFFECT_EMIT:
        CHECK_SPAN(id);
        CHECK_SPAN(text);
        break;
    case EFFECT_EVENT_PUT: assert_int_equal(a->number, b->number); /* fall through */
    case EFFECT_EVENT_SET:
        CHECK_SPAN(id);
        CHECK_SPAN(id2);
        CHECK_SPAN(text);
        CHECK_SPAN(ruleset);
        CHECK_SPAN(currency);
        assert_int_equal(a->open, b->open);
        assert_int_equal(a->kind == EFFECT_EVENT_SET ? a->set : 0, b->set);
        break;
    case EFFECT_EVENT_REMOVE:
    case EFFECT_CONFIRM:
    case EFFECT_ORDER_DROP: CHECK_SPAN(id); break;
    case EFFECT_TAKE:
        CHECK_SPAN(customer);
        CHECK_SPAN(text);
        assert_int_equal(a->until_ms, b->until_ms);
        assert_int_equal(a->late, b->late); /* fall through */
    case EFFECT_RESEAT:
        CHECK_SPAN(id);
        assert_true(a->kind == EFFECT_TAKE || span_eq(a->id2, b->id2));
        assert_int_equal(a->price, b->price);
        assert_int_equal(a->version, b->version);
        assert_int_equal(a->unjudged, b->unjudged);
        assert_int_equal(a->overbook, b->overbook);
        same_places(a, b);
        break;
    case EFFECT_EXTEND:
        CHECK_SPAN(id);
        assert_int_equal(a->until_ms, b->until_ms);
        break;
    case EFFECT_FINISH:
        CHECK_SPAN(id);
        assert_int_equal(a->code, b->code);
        same_places(a, b);
        break;
    case EFFECT_SPLIT:
        CHECK_SPAN(id);
        CHECK_SPAN(id2);
        assert_int_equal(a->price, b->price);
        same_places(a, b);
        break;
    case EFFECT_AMEND:
        CHECK_SPAN(id);
        CHECK_SPAN(text);
        assert_int_equal(a->set, b->set);
        assert_int_equal(a->price, b->price);
        break;
    case EFFECT_BLOCK: CHECK_SPAN(text); /* fall through */
    case EFFECT_UNBLOCK: same_places(a, b); break;
    case EFFECT_RESULT:
        CHECK_SPAN(user);
        CHECK_SPAN(request);
        CHECK_SPAN(id2);
        CHECK_SPAN(id3);
        assert_int_equal(a->code, b->code);
        assert_int_equal(a->args_digest, b->args_digest);
        break;
    case EFFECT_RESULT_DROP: assert_int_equal(a->time_ms, b->time_ms); break;
    case EFFECT_FORGET:
        CHECK_SPAN(id);
        CHECK_SPAN(id2);
        break;
    case EFFECT_POLICY_PUT:
        CHECK_SPAN(user);
        CHECK_SPAN(sha256);
        CHECK_SPAN(text);
        assert_int_equal(a->version, b->version);
        break;
    }
}

/* Every kind with random contents comes back equal, and encodes to the same bytes. */
static void test_round_trip(void **state)
{
    (void)state;
    struct rng r = { rng_seed_from_env(11) };
    static struct made m;
    struct buf out = BUF_INIT, again = BUF_INIT, scratch = BUF_INIT;
    for (int round = 0; round < 40000; round++) {
        random_effect(&r, kinds[(size_t)round % KINDS], &m);
        struct reader in;
        struct effect back;
        struct error e = { 0 };
        buf_clear(&out);
        buf_clear(&again);
        effect_encode(&m.f, &out);
        reader_init(&in, out.data, out.len);
        if (effect_decode(&in, &back, &scratch, &e) != 0) {
            fail_msg("round %d: %s", round, e.message);
        }
        assert_int_equal(reader_left(&in), 0);
        same_effect(&m.f, &back);
        effect_encode(&back, &again);
        assert_int_equal(again.len, out.len);
        assert_memory_equal(again.data, out.data, out.len);
    }
    buf_free(&out);
    buf_free(&again);
    buf_free(&scratch);
}

/* An effect cut short anywhere is damage, never a shorter effect. */
static void test_truncations_are_refused(void **state)
{
    (void)state;
    struct rng r = { rng_seed_from_env(12) };
    static struct made m;
    struct buf out = BUF_INIT, scratch = BUF_INIT;
    for (size_t round = 0; round < KINDS * 30; round++) {
        random_effect(&r, kinds[round % KINDS], &m);
        buf_clear(&out);
        effect_encode(&m.f, &out);
        for (size_t len = 0; len < out.len; len++) {
            uint8_t *exact = mem_must_alloc(len); /* ASan sees a read past the end */
            memcpy(exact, out.data, len);
            struct reader in;
            struct effect back;
            reader_init(&in, exact, len);
            assert_int_equal(effect_decode(&in, &back, &scratch, NULL), ERR_CORRUPT);
            mem_free(exact);
        }
    }
    buf_free(&out);
    buf_free(&scratch);
}

/* Flipped bits are refused or give another well-formed effect with the same bytes. */
static void test_any_bytes_are_safe(void **state)
{
    (void)state;
    struct rng r = { rng_seed_from_env(13) };
    static struct made m;
    struct buf out = BUF_INIT, again = BUF_INIT, scratch = BUF_INIT;
    int refused = 0, taken = 0;
    for (size_t round = 0; round < 20000; round++) {
        random_effect(&r, kinds[round % KINDS], &m);
        buf_clear(&out);
        effect_encode(&m.f, &out);
        for (uint32_t flips = 1 + rng_below(&r, 3); flips > 0; flips--) {
            out.data[rng_below(&r, (uint32_t)out.len)] ^= (uint8_t)(1u << rng_below(&r, 8));
        }
        struct reader in;
        struct effect back;
        reader_init(&in, out.data, out.len);
        if (effect_decode(&in, &back, &scratch, NULL) != 0) {
            refused++;
            continue;
        }
        taken++;
        buf_clear(&again);
        effect_encode(&back, &again);
        assert_true(again.len <= out.len - reader_left(&in));
    }
    assert_true(refused > 1000 && taken > 1000);
    buf_free(&out);
    buf_free(&again);
    buf_free(&scratch);
}

static void refuse(const char *what, const uint8_t *bytes, size_t len)
{
    struct reader in;
    struct effect back;
    struct buf scratch = BUF_INIT;
    reader_init(&in, bytes, len);
    if (effect_decode(&in, &back, &scratch, NULL) != ERR_CORRUPT) {
        fail_msg("taken: %s", what);
    }
    assert_true(scratch.cap < 1024);
    buf_free(&scratch);
}
#define REFUSE(what, ...)                                                                          \
    refuse(what, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

/* Lengths and counts beyond the bytes, unknown kinds and idle members are refused. */
static void test_crafted_bytes_are_refused(void **state)
{
    (void)state;
    REFUSE("kind 0", 0, 0);
    REFUSE("kind 22", 22, 0);
    REFUSE("kind 255", 255, 0);
    REFUSE("member that confirm does not have", EFFECT_CONFIRM, 3, 1, 'a');
    REFUSE("present bits beyond 64", EFFECT_CONFIRM, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
           0xff, 0x7f);
    REFUSE("length 2^63", EFFECT_CONFIRM, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f);
    REFUSE("id present but empty", EFFECT_CONFIRM, 1, 0);
    REFUSE("until present but 0", EFFECT_EXTEND, 2, 0);
    REFUSE("code of 2^16", EFFECT_FINISH, 2, 0x80, 0x80, 4);
    REFUSE("no place", EFFECT_UNBLOCK, 1, 0);
    REFUSE("a million places", EFFECT_UNBLOCK, 1, 0x80, 0xa4, 0xe8, 3, 1, 2, 1, 2);
    REFUSE("2^60 places", EFFECT_UNBLOCK, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80,
           1, 1, 2);
    REFUSE("types 3", EFFECT_UNBLOCK, 1, 1 << 3 | 3, 1, 2, 1);
    REFUSE("prices, all 0", EFFECT_UNBLOCK, 1, 1 << 3 | 4, 1, 2, 0);
    REFUSE("type numbers, all 0", EFFECT_UNBLOCK, 1, 1 << 3 | 2, 1, 2, 0);
    REFUSE("seat number over 32 bits", EFFECT_UNBLOCK, 1, 1 << 3, 1, 0x80, 0x80, 0x80, 0x80, 0x10);
}

/* The effects of a booking are small: they travel and are written three times. */
static void test_hot_effects_are_small(void **state)
{
    (void)state;
    struct place seats[2] = { { 3, 1200, 1, 0, 6500 }, { 3, 1201, 1, 0, 6500 } };
    struct effect take = { .kind = EFFECT_TAKE,
                           .id = span_of("7H2K9QWERTYUI"),
                           .customer = span_of("customer-42"),
                           .places = seats,
                           .places_count = 2,
                           .version = 3,
                           .until_ms = 1795470000000ull,
                           .price = 13000 };
    struct effect confirm = { .kind = EFFECT_CONFIRM, .id = take.id };
    struct effect result = { .kind = EFFECT_RESULT,
                             .request = span_of("0123456789abcdef"),
                             .id2 = take.id,
                             .args_digest = 0x123456789abcdef0ull };
    struct buf out = BUF_INIT;
    effect_encode(&take, &out);
    print_message("take of two seats: %zu bytes", out.len);
    assert_true(out.len <= 60);
    buf_clear(&out);
    effect_encode(&confirm, &out);
    assert_int_equal(out.len, 16);
    buf_clear(&out);
    effect_encode(&result, &out);
    print_message(", result: %zu bytes\n", out.len);
    assert_true(out.len <= 44);
    buf_free(&out);
}

/* Entries come back as they were written; cut short or miscounted they are refused. */
static void test_entry_round_trip(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct entry_tx txs[3] = {
        { span_of("app"), span_of("hold"), span_of("\2\1a\1b"), span_of("r1"), 0, span_of("xyz") },
        { span_of(""), span_of("book"), span_of(""), span_of("r2"), ERR_TAKEN, span_of("") },
        { span_of("u"), span_of("c"), span_of("a"), span_of(""), 0, span_of("q") },
    };
    entry_begin(&out, 1234567, 0xfeedfacecafebeefull, 7);
    for (size_t i = 0; i < 3; i++) {
        entry_add(&out, &txs[i]);
    }
    entry_end(&out, 3);
    struct reader r;
    struct entry_head head;
    struct entry_tx tx;
    assert_int_equal(entry_open(&r, out.data, out.len, &head, NULL), 0);
    assert_int_equal(head.version, ENTRY_VERSION);
    assert_int_equal(head.feature_level, 7);
    assert_int_equal(head.time_ms, 1234567);
    assert_true(head.digest_before == 0xfeedfacecafebeefull);
    assert_int_equal(head.transactions, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(entry_next(&r, &tx, NULL), 0);
        assert_int_equal(tx.code, txs[i].code);
        assert_true(span_eq(tx.user, txs[i].user) && span_eq(tx.command, txs[i].command) &&
                    span_eq(tx.args, txs[i].args) && span_eq(tx.request, txs[i].request) &&
                    span_eq(tx.effects, txs[i].effects));
    }
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(entry_next(&r, &tx, NULL), ERR_CORRUPT);
    for (size_t len = 0; len < out.len; len++) {
        int rc = entry_open(&r, out.data, len, &head, NULL);
        for (size_t i = 0; i < 3 && rc == 0; i++) {
            rc = entry_next(&r, &tx, NULL);
        }
        assert_int_equal(rc, ERR_CORRUPT);
    }
    entry_end(&out, 0xffffffffu);
    assert_int_equal(entry_open(&r, out.data, out.len, &head, NULL), ERR_CORRUPT);
    out.data[0] = 2; /* a version of the future */
    assert_int_equal(entry_open(&r, out.data, out.len, &head, NULL), ERR_CORRUPT);
    buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_truncations_are_refused),
        cmocka_unit_test(test_any_bytes_are_safe),
        cmocka_unit_test(test_crafted_bytes_are_refused),
        cmocka_unit_test(test_hot_effects_are_small),
        cmocka_unit_test(test_entry_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
