/* Fuzzes what reaches the store as bytes: effects, entries and charts.
 *
 * The first byte picks the decoder. What is taken must encode again to no more bytes,
 * and a chart must find each of its own seats. */
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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len == 0) {
        return 0;
    }
    struct reader r;
    reader_init(&r, data + 1, len - 1);
    switch (data[0] % 3) {
    case 0: fuzz_effects(&r); break;
    case 1: fuzz_entry(data + 1, len - 1); break;
    default: fuzz_chart(data + 1, len - 1); break;
    }
    return 0;
}
