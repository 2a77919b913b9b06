/* Inside of a chart: shared by chart.c, chart_find.c and chart_build.c only. */
#ifndef USHER_STORE_CHART_LAYOUT_H
#define USHER_STORE_CHART_LAYOUT_H

#include "store/chart.h"

#define CHART_FORMAT 1

/* Bits of the encoded "which arrays follow" byte. */
enum { CHART_HAS_XY = 1, CHART_HAS_ALIASES = 2, CHART_HAS_TABLES = 4 };

/* Category and flags of a seat share 16 bits: category << 4 | flags. */
#define CHART_FLAG_BITS 4
#define CHART_FLAG_MASK 0x0fu

/* Many short strings, found by number: one byte of length each, and an offset for
 * every 16th, so a name costs 1.25 bytes beside its text. */
#define NAMES_STEP 16
struct chart_names {
    const char *pool;
    const uint8_t *lens;
    uint32_t *marks; /* offset in pool of names 0, 16, 32, ... */
    uint32_t count;
};

/* Hash table over a chart_names, keyed by the text with ASCII letters folded, so one
 * table serves exact and case-insensitive look-up. Open addressing, linear
 * probing. A slot holds 12 bits of the hash and number + 1 in 20 bits; 0 is empty. */
#define INDEX_NUMBER_BITS 20
#define INDEX_NUMBER_MASK ((1u << INDEX_NUMBER_BITS) - 1)
struct chart_index {
    uint32_t *slots;
    uint32_t size;
};

/* What a look-up found: the exact name, and how many differ only in case. */
struct chart_match {
    int64_t exact, folded; /* -1: none; folded: the last one found */
    uint32_t folded_count;
};

struct chart_row_at {
    struct span name;
    uint32_t section, first, count;
};

struct chart {
    uint8_t *encoded; /* owned; names and arrays below point into it */
    size_t encoded_len;
    uint32_t seats, rows_count, sections_count, categories_count, areas_count, tables_count;
    const uint8_t *attrs;      /* u16 each */
    const uint8_t *seat_table; /* u32 each, table + 1; NULL without tables */
    const uint8_t *xs, *ys;    /* f32 each; NULL without positions */
    struct chart_names labels, aliases, area_names;
    struct chart_index by_label, by_alias, by_area;
    uint32_t *row_marks; /* row of seats 0, 16, 32, ... */
    struct chart_row_at *rows;
    struct span *sections, *categories, *tables;
    struct chart_area *areas;
    uint64_t bytes;
};

static inline uint32_t chart_u16(const uint8_t *p, uint32_t i)
{
    p += (size_t)i * 2;
    return (uint32_t)(p[0] | (p[1] << 8));
}

static inline uint32_t chart_u32(const uint8_t *p, uint32_t i)
{
    p += (size_t)i * 4;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline struct span chart_name(const struct chart_names *n, uint32_t i)
{
    uint32_t at = n->marks[i / NAMES_STEP];
    for (uint32_t j = i & ~(uint32_t)(NAMES_STEP - 1); j < i; j++) {
        at += n->lens[j];
    }
    return (struct span){ n->pool + at, n->lens[i] };
}

/* chart_find.c */
uint64_t chart_hash(struct span name);
/* Slots for n names; false: out of memory. */
bool chart_index_init(struct chart_index *ix, uint32_t n);
/* ERR_BADARG when the name is there already, when too many names differ only in case,
 * or when a probe gets too long (crafted names); `what` goes into the message. */
int chart_index_add(struct chart_index *ix, const struct chart_names *names, uint32_t number,
                    const char *what, struct error *e);
struct chart_match chart_index_find(const struct chart_index *ix, const struct chart_names *names,
                                    struct span name, uint64_t hash);

/* chart_build.c; also used on decoding, so both accept the same texts. */
bool chart_title_ok(struct span name, bool may_be_empty);

#endif
