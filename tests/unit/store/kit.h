/* What the store's tests share: a store with a small house, and effects in one line. */
#ifndef USHER_TEST_STORE_KIT_H
#define USHER_TEST_STORE_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/limits.h"
#include "base/mem.h"
#include "store/store.h"

#define T0 1000000u /* the first group's time */

struct kit {
    struct store *s;
    uint64_t time_ms, index;
    struct error e;
};

/* Rows A, B, ... of `per_row` seats, and areas FLOOR (capacity 10) and LAWN (5). */
static inline struct buf kit_chart(uint32_t rows, uint32_t per_row)
{
    struct buf out = BUF_INIT;
    struct error e;
    struct chart_builder *b = chart_builder_new();
    int64_t category = chart_add_category(b, span_of("stalls"), &e);
    int64_t cheap = chart_add_category(b, span_of("circle"), &e);
    int64_t section = chart_add_section(b, span_of("main"), &e);
    for (uint32_t r = 0; r < rows; r++) {
        char name[16], label[32];
        (void)snprintf(name, sizeof name, rows <= 26 ? "%c" : "R%u", rows <= 26 ? 'A' + r : r);
        int64_t row = chart_add_row(b, span_of(name), (uint32_t)section, &e);
        for (uint32_t i = 1; i <= per_row; i++) {
            (void)snprintf(label, sizeof label, rows <= 26 ? "%s%u" : "%s-%u", name, i);
            struct chart_seat seat = { .label = span_of(label),
                                       .row = (uint32_t)row,
                                       .category = (uint32_t)(r == 0 ? category : cheap),
                                       .table = -1 };
            assert_true(chart_add_seat(b, &seat, &e) >= 0);
        }
    }
    struct chart_area floor = { span_of("FLOOR"), (uint32_t)category, 10 };
    struct chart_area lawn = { span_of("LAWN"), (uint32_t)cheap, 5 };
    assert_true(chart_add_area(b, &floor, &e) >= 0);
    assert_true(chart_add_area(b, &lawn, &e) >= 0);
    assert_int_equal(chart_builder_encode(b, &out, &e), 0);
    chart_builder_free(b);
    return out;
}

static inline void kit_group(struct kit *k)
{
    store_group_begin(k->s, k->time_ms, ++k->index);
    store_tx_begin(k->s);
}

static inline void kit_commit(struct kit *k)
{
    store_tx_end(k->s);
    store_group_seal(k->s);
    store_group_commit(k->s);
}

/* One effect in a group of its own, committed or undone. */
static inline int kit_do(struct kit *k, struct effect f)
{
    error_clear(&k->e);
    kit_group(k);
    int rc = store_do(k->s, &f, &k->e);
    if (rc == 0) {
        kit_commit(k);
    } else {
        store_group_cancel(k->s);
    }
    return rc;
}

static inline struct span sp(const char *text) { return span_of(text); }

static inline uint32_t kit_event(const struct kit *k, const char *id)
{
    return store_event(k->s, sp(id))->number;
}

/* "A1 B2 FLOOR*3" or, of other events, "2:A1". */
static inline uint32_t kit_places(const struct kit *k, const char *event, const char *words,
                                  struct place *out)
{
    char copy[512], *save = NULL;
    uint32_t n = 0;
    (void)snprintf(copy, sizeof copy, "%s", words);
    for (char *w = strtok_r(copy, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        char *colon = strchr(w, ':'), *star = strchr(w, '*');
        const struct event *ev = store_event(k->s, sp(event));
        if (colon != NULL) {
            *colon = 0;
            ev = store_event(k->s, sp(w));
            w = colon + 1;
        }
        assert_non_null(ev);
        struct place p = { .event = ev->number, .count = 1 };
        if (star != NULL) {
            *star = 0;
            p.number = (uint32_t)chart_find_area(ev->chart, sp(w)) | PLACE_AREA;
            p.count = (uint32_t)atoi(star + 1);
        } else {
            int64_t seat = chart_find(ev->chart, sp(w));
            assert_true(seat >= 0);
            p.number = (uint32_t)seat;
        }
        out[n++] = p;
    }
    return n;
}

/* Takes until `until` (0: booked). */
static inline int kit_take(struct kit *k, const char *id, const char *customer, const char *event,
                           const char *words, uint64_t until)
{
    struct place places[64];
    struct effect f = { .kind = EFFECT_TAKE, .id = sp(id), .customer = sp(customer) };
    f.places_count = kit_places(k, event, words, places);
    f.places = places;
    f.until_ms = until;
    f.price = 100;
    return kit_do(k, f);
}

static inline int kit_places_effect(struct kit *k, enum effect_kind kind, const char *id, int code,
                                    const char *event, const char *words)
{
    struct place places[64];
    struct effect f = { .kind = kind, .id = sp(id), .code = code };
    f.places_count = words[0] != 0 ? kit_places(k, event, words, places) : 0;
    f.places = places;
    return kit_do(k, f);
}

static inline void kit_add_event(struct kit *k, const char *id, const char *chart)
{
    struct effect f = { .kind = EFFECT_EVENT_PUT, .id = sp(id), .id2 = sp(chart), .open = true };
    f.number = store_next_event(k->s);
    assert_int_equal(kit_do(k, f), 0);
}

static inline void kit_add_chart(struct kit *k, const char *id, uint32_t rows, uint32_t per_row)
{
    struct buf c = kit_chart(rows, per_row);
    struct effect f = { .kind = EFFECT_CHART_PUT, .id = sp(id) };
    f.text = span_make((const char *)c.data, c.len);
    assert_int_equal(kit_do(k, f), 0);
    buf_free(&c);
}

/* Chart "hall" (3 rows of 6), events "1" and "2". */
static inline int kit_setup(void **state)
{
    struct kit *k = calloc(1, sizeof *k);
    k->s = store_new();
    k->time_ms = T0;
    kit_add_chart(k, "hall", 3, 6);
    kit_add_event(k, "1", "hall");
    kit_add_event(k, "2", "hall");
    *state = k;
    return 0;
}

static inline int kit_teardown(void **state)
{
    struct kit *k = *state;
    struct error e;
    int rc = k->s != NULL ? store_check(k->s, &e) : 0;
    if (rc != 0) {
        print_error("%s\n", e.message);
    }
    store_free(k->s);
    free(k);
    if (mem_test_live() != 0) {
        print_error("%lld blocks leaked\n", (long long)mem_test_live());
        rc = 1;
    }
    return rc;
}

static inline enum seat_status kit_seat(const struct kit *k, const char *event, const char *label)
{
    const struct event *ev = store_event(k->s, sp(event));
    return store_seat(k->s, ev, (uint32_t)chart_find(ev->chart, sp(label)));
}

#define assert_refused(k, call, code_, text_)                                                      \
    do {                                                                                           \
        uint64_t before_ = store_digest((k)->s);                                                   \
        assert_int_equal(call, code_);                                                             \
        assert_string_equal((k)->e.message, text_);                                                \
        assert_true(store_digest((k)->s) == before_);                                              \
    } while (0)

#endif
