/* Charts: the immutable layout of a house, shared by all its events.
 *
 * Seats are numbered 0..n-1 in chart order: section by section, row by row, in
 * physical order within the row. Adjacency is this order, never the label.
 * A run never crosses a row's end; `aisle_after` breaks it too. */
#ifndef USHER_STORE_CHART_H
#define USHER_STORE_CHART_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

enum seat_flags {
    CHART_ACCESSIBLE = 1,
    CHART_COMPANION = 2,
    CHART_RESTRICTED = 4,
    CHART_AISLE_AFTER = 8, /* an aisle lies between this seat and the next */
};

struct chart;

struct chart_seat {
    struct span label, alias; /* alias may be empty */
    uint32_t row;             /* row number */
    uint32_t position;        /* 0-based in the row */
    uint32_t category;        /* category number */
    int32_t table;            /* table number or -1 */
    uint8_t flags;
    float x, y;
};

struct chart_row {
    struct span name;
    uint32_t section;
    uint32_t first, count; /* seats */
};

struct chart_area {
    struct span name; /* a label: unique among seats and areas */
    uint32_t category, capacity;
};

/* Sizes and lookups. Numbers out of range are our own mistake (asserted). */
uint32_t chart_seats(const struct chart *c);
uint32_t chart_rows(const struct chart *c);
uint32_t chart_sections(const struct chart *c);
uint32_t chart_categories(const struct chart *c);
uint32_t chart_areas(const struct chart *c);
uint32_t chart_tables(const struct chart *c);
void chart_seat(const struct chart *c, uint32_t seat, struct chart_seat *out);
struct chart_row chart_row(const struct chart *c, uint32_t row);
struct span chart_section_name(const struct chart *c, uint32_t section);
struct span chart_category_name(const struct chart *c, uint32_t category);
struct span chart_table_name(const struct chart *c, uint32_t table);
struct chart_area chart_area(const struct chart *c, uint32_t area);
/* Cheap parts of chart_seat, for searches. */
struct span chart_label(const struct chart *c, uint32_t seat);
uint32_t chart_seat_row(const struct chart *c, uint32_t seat);
uint32_t chart_seat_category(const struct chart *c, uint32_t seat);
uint8_t chart_seat_flags(const struct chart *c, uint32_t seat);
/* Whether seats have coordinates: then those of each count, also a seat's at the origin. */
bool chart_has_xy(const struct chart *c);
/* Label or alias, exact; else ignoring case when that is unique. -1: none. */
int64_t chart_find(const struct chart *c, struct span label);
int64_t chart_find_area(const struct chart *c, struct span name);
int64_t chart_find_category(const struct chart *c, struct span name);
/* Nearest existing label (one edit away), for "did you mean"; empty when none is near. */
struct span chart_nearest(const struct chart *c, struct span label);
uint64_t chart_bytes(const struct chart *c);

/* Building: the add-chart command parses JSON in Lua and calls these in order: rows
 * section by section, seats row by row in physical order. Strings are copied; a seat's
 * `position` is ignored (it follows from the order), when all have x = y = 0 the chart has no
 * coordinates, and its category and row must have been added before. Every add returns the new
 * number or -1 with e set (BADARG: duplicate label, bad label, too many) and nothing added. */
struct chart_builder;
struct chart_builder *chart_builder_new(void);
void chart_builder_free(struct chart_builder *b);
int64_t chart_add_section(struct chart_builder *b, struct span name, struct error *e);
int64_t chart_add_category(struct chart_builder *b, struct span name,
                           struct error *e); /* or the existing */
int64_t chart_add_row(struct chart_builder *b, struct span name, uint32_t section, struct error *e);
int64_t chart_add_table(struct chart_builder *b, struct span name, struct error *e);
int64_t chart_add_seat(struct chart_builder *b, const struct chart_seat *seat, struct error *e);
int64_t chart_add_area(struct chart_builder *b, const struct chart_area *area, struct error *e);
/* Encodes what was built: the payload of EFFECT_CHART_PUT. */
int chart_builder_encode(struct chart_builder *b, struct buf *out, struct error *e);

/* Decoding validates everything (bytes may come from disk or a peer). */
int chart_decode(struct span encoded, struct chart **out, struct error *e);
struct span chart_encoded(const struct chart *c);
void chart_free(struct chart *c);

#endif
