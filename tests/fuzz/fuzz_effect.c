/* Fuzzes what reaches the store as bytes: effects, entries and charts.
 *
 * The first byte picks the target. Decoded effects must encode again to no more bytes, a
 * chart must find each of its own seats, and a store that applies an entry of arbitrary
 * effects must stay sound and be undone to where it was. */
#include <stdint.h>
#include <stdlib.h>

#include "store/effect.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void require(int ok)
{
    if (!ok) {
        abort();
    }
}

static void fuzz_effects(struct reader *r)
{
    struct buf scratch = BUF_INIT, out = BUF_INIT;
    struct effect f;
    for (size_t left = reader_left(r); left > 0 && effect_decode(r, &f, &scratch, NULL) == 0;) {
        buf_clear(&out);
        effect_encode(&f, &out);
        require(out.len <= left - reader_left(r));
        left = reader_left(r);
    }
    buf_free(&scratch);
    buf_free(&out);
}

static void fuzz_entry(const uint8_t *data, size_t len)
{
    struct reader r, effects;
    struct entry_head head;
    struct entry_tx tx;
    if (entry_open(&r, data, len, &head, NULL) != 0) {
        return;
    }
    for (uint32_t i = 0; i < head.transactions && entry_next(&r, &tx, NULL) == 0; i++) {
        reader_init(&effects, tx.effects.data, tx.effects.len);
        fuzz_effects(&effects);
    }
}

static void fuzz_chart(const uint8_t *data, size_t len)
{
    struct chart *c;
    if (chart_decode(span_make((const char *)data, len), &c, NULL) != 0) {
        return;
    }
    for (uint32_t i = 0; i < chart_seats(c); i++) {
        struct chart_seat s;
        chart_seat(c, i, &s);
        require(chart_find(c, s.label) == i);
        (void)chart_nearest(c, s.label);
    }
    chart_free(c);
}

static void apply_one(struct store *s, uint64_t index, const void *effects, size_t len, int must)
{
    struct buf entry = BUF_INIT;
    struct error e = { 0 };
    entry_begin(&entry, 1000 + index, store_digest(s), 1);
    entry_add(&entry, &(struct entry_tx){ .effects = span_make(effects, len) });
    entry_end(&entry, 1);
    int rc = entry_apply(s, entry.data, entry.len, index, &e);
    require(rc == 0 || (!must && rc == ERR_CORRUPT && e.message[0] != 0));
    buf_free(&entry);
}

/* An event with four seats and an area, one order held, one booked. */
static struct store *small_store(void)
{
    struct store *s = store_new();
    struct chart_builder *b = chart_builder_new();
    struct buf chart = BUF_INIT, out = BUF_INIT;
    static const char *const labels[] = { "A1", "A2", "A3", "A4" };
    require(s != NULL && b != NULL && chart_add_section(b, span_of("s"), NULL) == 0 &&
            chart_add_category(b, span_of("c"), NULL) == 0 &&
            chart_add_row(b, span_of("A"), 0, NULL) == 0);
    for (uint32_t i = 0; i < 4; i++) {
        struct chart_seat seat = { .label = span_of(labels[i]), .table = -1 };
        require(chart_add_seat(b, &seat, NULL) == i);
    }
    struct chart_area area = { span_of("f"), 0, 3 };
    require(chart_add_area(b, &area, NULL) == 0 && chart_builder_encode(b, &chart, NULL) == 0);
    struct place places[] = { { 1, 0, 1, 0, 5 }, { 1, PLACE_AREA, 2, 0, 7 }, { 1, 1, 1, 0, 5 } };
    struct effect effects[] = {
        { .kind = EFFECT_CHART_PUT,
          .id = span_of("c"),
          .text = span_make((char *)chart.data, chart.len) },
        { .kind = EFFECT_EVENT_PUT,
          .id = span_of("e"),
          .id2 = span_of("c"),
          .number = 1,
          .open = true },
        { .kind = EFFECT_TAKE,
          .id = span_of("o"),
          .customer = span_of("u"),
          .places = places,
          .places_count = 2,
          .until_ms = 5000 },
        { .kind = EFFECT_TAKE,
          .id = span_of("p"),
          .customer = span_of("v"),
          .places = places + 2,
          .places_count = 1 },
        { .kind = EFFECT_RESULT, .request = span_of("r"), .id2 = span_of("o") },
    };
    for (size_t i = 0; i < sizeof effects / sizeof effects[0]; i++) {
        effect_encode(&effects[i], &out);
    }
    apply_one(s, 1, out.data, out.len, 1);
    store_group_commit(s);
    chart_builder_free(b);
    buf_free(&chart);
    buf_free(&out);
    return s;
}

static void fuzz_apply(const uint8_t *data, size_t len)
{
    static struct store *s;
    static unsigned runs;
    if (s == NULL) {
        s = small_store();
    }
    uint64_t digest = store_digest(s);
    apply_one(s, 2, data, len, 0);
    require(runs++ % 16 != 0 || store_check(s, NULL) == 0);
    store_undo_all(s);
    require(store_digest(s) == digest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    struct reader r;
    reader_init(&r, data + 1, len - 1);
    switch (data[0] % 4) {
    case 0: fuzz_effects(&r); break;
    case 1: fuzz_entry(data + 1, len - 1); break;
    case 2: fuzz_apply(data + 1, len - 1); break;
    default: fuzz_chart(data + 1, len - 1); break;
    }
    return 0;
}
