/* A chart in memory is its encoded form plus what makes it quick to read.
 *
 *   encoded bytes   titles, then arrays by seat number: length of the label, category
 *                   and flags, and, only where used, table, x, y, length of the alias;
 *                   then the texts of labels and aliases, one after the other
 *   beside them     an offset and a row for every 16th seat, the hash tables, and
 *                   small arrays of rows, sections, categories, tables, areas
 *
 * A plain seat costs 1 + 2 encoded, 0.5 for the marks, 5 for the hash table and its
 * label's text: 8.5 bytes and the label.
 *
 * The bytes come from a log entry, a snapshot or a peer, so decoding trusts nothing:
 * each count is compared with the bytes that are left before memory is asked for, and
 * all that the builder refuses is refused here too.
 *
 *   1 rows follow each other without gaps and their seats add up to all seats
 *   2 sections of the rows never go down
 *   3 labels, aliases and area names are unique; a name means one place
 *   4 every category, section and table number is below its count
 *   5 nothing follows the last byte */
#include "store/chart.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/chart_layout.h"

uint32_t chart_seats(const struct chart *c) { return c->seats; }
uint32_t chart_rows(const struct chart *c) { return c->rows_count; }
uint32_t chart_sections(const struct chart *c) { return c->sections_count; }
uint32_t chart_categories(const struct chart *c) { return c->categories_count; }
uint32_t chart_areas(const struct chart *c) { return c->areas_count; }
uint32_t chart_tables(const struct chart *c) { return c->tables_count; }

static float f32_at(const uint8_t *p, uint32_t i)
{
    uint32_t bits = chart_u32(p, i);
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

struct span chart_label(const struct chart *c, uint32_t seat)
{
    ASSERT(seat < c->seats);
    return chart_name(&c->labels, seat);
}

uint32_t chart_seat_row(const struct chart *c, uint32_t seat)
{
    ASSERT(seat < c->seats);
    uint32_t mark = seat / NAMES_STEP;
    bool last = mark == (c->seats - 1) / NAMES_STEP;
    uint32_t low = c->row_marks[mark], high = last ? c->rows_count - 1 : c->row_marks[mark + 1];
    /* The last row that starts at or before the seat; empty rows start where the
     * next one does. */
    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;
        if (c->rows[mid].first <= seat) {
            low = mid;
        } else {
            high = mid - 1;
        }
    }
    return low;
}

uint32_t chart_seat_category(const struct chart *c, uint32_t seat)
{
    ASSERT(seat < c->seats);
    return chart_u16(c->attrs, seat) >> CHART_FLAG_BITS;
}

uint8_t chart_seat_flags(const struct chart *c, uint32_t seat)
{
    ASSERT(seat < c->seats);
    return (uint8_t)(chart_u16(c->attrs, seat) & CHART_FLAG_MASK);
}

bool chart_has_xy(const struct chart *c) { return c->xs != NULL; }

void chart_seat(const struct chart *c, uint32_t seat, struct chart_seat *out)
{
    ASSERT(seat < c->seats);
    out->label = chart_name(&c->labels, seat);
    out->alias = c->aliases.count > 0 ? chart_name(&c->aliases, seat) : span_make("", 0);
    out->row = chart_seat_row(c, seat);
    out->position = seat - c->rows[out->row].first;
    out->category = chart_seat_category(c, seat);
    out->table = c->seat_table != NULL ? (int32_t)chart_u32(c->seat_table, seat) - 1 : -1;
    out->flags = chart_seat_flags(c, seat);
    out->x = c->xs != NULL ? f32_at(c->xs, seat) : 0;
    out->y = c->ys != NULL ? f32_at(c->ys, seat) : 0;
}

struct chart_row chart_row(const struct chart *c, uint32_t row)
{
    ASSERT(row < c->rows_count);
    const struct chart_row_at *r = &c->rows[row];
    return (struct chart_row){ r->name, r->section, r->first, r->count };
}

struct span chart_section_name(const struct chart *c, uint32_t section)
{
    ASSERT(section < c->sections_count);
    return c->sections[section];
}

struct span chart_category_name(const struct chart *c, uint32_t category)
{
    ASSERT(category < c->categories_count);
    return c->categories[category];
}

struct span chart_table_name(const struct chart *c, uint32_t table)
{
    ASSERT(table < c->tables_count);
    return c->tables[table];
}

struct chart_area chart_area(const struct chart *c, uint32_t area)
{
    ASSERT(area < c->areas_count);
    return c->areas[area];
}

struct span chart_encoded(const struct chart *c)
{
    return span_make((const char *)c->encoded, c->encoded_len);
}

uint64_t chart_bytes(const struct chart *c) { return c->bytes; }

void chart_free(struct chart *c)
{
    if (c == NULL) {
        return;
    }
    mem_free(c->encoded);
    mem_free(c->labels.marks);
    mem_free(c->aliases.marks);
    mem_free(c->area_names.marks);
    mem_free(c->by_label.slots);
    mem_free(c->by_alias.slots);
    mem_free(c->by_area.slots);
    mem_free(c->row_marks);
    mem_free(c->rows);
    mem_free(c->sections);
    mem_free(c->categories);
    mem_free(c->tables);
    mem_free(c->areas);
    mem_free(c);
}

/* ---- Decoding --------------------------------------------------------------- */

static int corrupt(struct error *e, const char *what)
{
    return error_set(e, ERR_CORRUPT, "chart: %s", what);
}

/* The same fault is the caller's on building and damage on reading. */
static int recode(struct error *e, int rc, int from, int to)
{
    int code = rc == from ? to : rc;
    if (e != NULL) {
        e->code = code;
    }
    return code;
}

static void *counted_alloc(struct chart *c, size_t bytes)
{
    c->bytes += bytes;
    return mem_alloc(bytes);
}

/* A count of things that take at least `least` bytes each. */
static bool read_count(struct reader *r, uint64_t max, size_t least, uint32_t *out)
{
    uint64_t n = reader_varint(r);
    if (r->failed || n > max || n > reader_left(r) / least) {
        return false;
    }
    *out = (uint32_t)n;
    return true;
}

static int read_titles(struct chart *c, struct reader *r, uint32_t count, bool may_be_empty,
                       struct span **out, struct error *e)
{
    struct span *titles = *out = counted_alloc(c, sizeof *titles * count);
    if (titles == NULL) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        titles[i] = reader_bytes(r);
        if (r->failed || !chart_title_ok(titles[i], may_be_empty)) {
            return corrupt(e, "bad title");
        }
    }
    return 0;
}

static int read_rows(struct chart *c, struct reader *r, struct error *e)
{
    c->rows = counted_alloc(c, sizeof *c->rows * c->rows_count);
    if (c->rows == NULL) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    uint64_t seats = 0, section = 0;
    for (uint32_t i = 0; i < c->rows_count; i++) {
        struct chart_row_at *row = &c->rows[i];
        row->name = reader_bytes(r);
        uint64_t step = reader_varint(r), count = reader_varint(r);
        if (r->failed || step > UINT32_MAX || count > CHART_SEATS_MAX ||
            !chart_title_ok(row->name, true)) {
            return corrupt(e, "bad row");
        }
        section += step;
        if (section >= c->sections_count || seats + count > c->seats) {
            return corrupt(e, "row out of range");
        }
        row->section = (uint32_t)section;
        row->first = (uint32_t)seats;
        row->count = (uint32_t)count;
        seats += count;
    }
    return seats == c->seats ? 0 : corrupt(e, "rows and seats differ");
}

/* Marks a run of names, each of `shortest` to `longest` bytes, whose texts follow each
 * other in the pool. *bytes: their total. */
static int mark_names(struct chart *c, struct chart_names *n, const uint8_t *lens, uint32_t count,
                      unsigned shortest, unsigned longest, uint64_t *bytes, struct error *e)
{
    n->lens = lens;
    n->count = count;
    n->marks = counted_alloc(c, sizeof *n->marks * (count / NAMES_STEP + 1));
    if (n->marks == NULL) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    uint64_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i % NAMES_STEP == 0) {
            n->marks[i / NAMES_STEP] = (uint32_t)at;
        }
        if (lens[i] < shortest || lens[i] > longest) {
            return corrupt(e, "bad length of a name");
        }
        at += lens[i];
    }
    *bytes = at;
    return 0;
}

static int index_names(struct chart *c, struct chart_index *ix, const struct chart_names *n,
                       const char *what, struct error *e)
{
    uint32_t present = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        present += n->lens[i] > 0;
    }
    if (!chart_index_init(ix, present)) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    c->bytes += sizeof *ix->slots * ix->size;
    for (uint32_t i = 0; i < n->count; i++) {
        int rc = n->lens[i] > 0 ? chart_index_add(ix, n, i, what, e) : 0;
        if (rc != 0) {
            error_prefix(e, "chart");
            return recode(e, rc, ERR_BADARG, ERR_CORRUPT);
        }
    }
    return 0;
}

static bool taken_elsewhere(const struct chart_index *ix, const struct chart_names *n,
                            struct span name, int64_t self)
{
    int64_t found = chart_index_find(ix, n, name, chart_hash(name)).exact;
    return found >= 0 && found != self;
}

/* Texts are well-formed and each names one place only. */
static int check_names(struct chart *c, struct error *e)
{
    int rc = index_names(c, &c->by_label, &c->labels, "seat", e);
    if (rc == 0 && c->aliases.count > 0) {
        rc = index_names(c, &c->by_alias, &c->aliases, "alias", e);
    }
    if (rc == 0) {
        rc = index_names(c, &c->by_area, &c->area_names, "area", e);
    }
    if (rc != 0) {
        return rc;
    }
    for (uint32_t i = 0; i < c->seats; i++) {
        if (!text_is_label(chart_name(&c->labels, i))) {
            return corrupt(e, "bad label");
        }
        struct span alias = c->aliases.count > 0 ? chart_name(&c->aliases, i) : span_make("", 0);
        if (alias.len > 0 &&
            (!text_is_id(alias) || taken_elsewhere(&c->by_label, &c->labels, alias, i))) {
            return corrupt(e, "bad alias");
        }
    }
    for (uint32_t i = 0; i < c->areas_count; i++) {
        struct span name = c->areas[i].name;
        if (!text_is_label(name) || taken_elsewhere(&c->by_label, &c->labels, name, -1) ||
            taken_elsewhere(&c->by_alias, &c->aliases, name, -1)) {
            return corrupt(e, "bad area name");
        }
    }
    return 0;
}

static int check_seats(struct chart *c, struct error *e)
{
    for (uint32_t i = 0; i < c->seats; i++) {
        if (chart_seat_category(c, i) >= c->categories_count ||
            (c->seat_table != NULL && chart_u32(c->seat_table, i) > c->tables_count) ||
            (c->xs != NULL && (!isfinite(f32_at(c->xs, i)) || !isfinite(f32_at(c->ys, i))))) {
            return corrupt(e, "bad seat");
        }
    }
    for (uint32_t i = 0; i < c->categories_count; i++) {
        for (uint32_t j = 0; j < i; j++) {
            if (span_eq(c->categories[i], c->categories[j])) {
                return corrupt(e, "category twice");
            }
        }
    }
    c->row_marks = counted_alloc(c, sizeof *c->row_marks * (c->seats / NAMES_STEP + 1));
    if (c->row_marks == NULL) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    uint32_t row = 0;
    for (uint32_t i = 0; i < c->seats; i += NAMES_STEP) {
        while (c->rows[row].first + c->rows[row].count <= i) {
            row++;
        }
        c->row_marks[i / NAMES_STEP] = row;
    }
    return 0;
}

static int read_areas(struct chart *c, struct reader *r, struct error *e)
{
    c->areas = counted_alloc(c, sizeof *c->areas * c->areas_count);
    const uint8_t *lens = reader_raw(r, c->areas_count);
    if (c->areas == NULL) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    if (lens == NULL) {
        return corrupt(e, "short");
    }
    for (uint32_t i = 0; i < c->areas_count; i++) {
        uint64_t category = reader_varint(r), capacity = reader_varint(r);
        if (r->failed || category >= c->categories_count || capacity == 0 ||
            capacity > CHART_AREA_CAPACITY_MAX) {
            return corrupt(e, "bad area");
        }
        c->areas[i].category = (uint32_t)category;
        c->areas[i].capacity = (uint32_t)capacity;
    }
    uint64_t bytes = 0;
    int rc =
        mark_names(c, &c->area_names, lens, c->areas_count, 1, SEAT_LABEL_BYTES_MAX, &bytes, e);
    if (rc != 0) {
        return rc;
    }
    c->area_names.pool = (const char *)reader_raw(r, (size_t)bytes);
    if (r->failed) {
        return corrupt(e, "short");
    }
    for (uint32_t i = 0; i < c->areas_count; i++) {
        c->areas[i].name = chart_name(&c->area_names, i);
    }
    return 0;
}

/* The arrays by seat number and the texts. */
static int read_seats(struct chart *c, struct reader *r, unsigned has, struct error *e)
{
    uint64_t labels_bytes = 0, aliases_bytes = 0;
    const uint8_t *lens = reader_raw(r, c->seats);
    c->attrs = reader_raw(r, (size_t)c->seats * 2);
    c->seat_table = has & CHART_HAS_TABLES ? reader_raw(r, (size_t)c->seats * 4) : NULL;
    c->xs = has & CHART_HAS_XY ? reader_raw(r, (size_t)c->seats * 4) : NULL;
    c->ys = has & CHART_HAS_XY ? reader_raw(r, (size_t)c->seats * 4) : NULL;
    const uint8_t *alias_lens = has & CHART_HAS_ALIASES ? reader_raw(r, c->seats) : NULL;
    if (r->failed) {
        return corrupt(e, "short");
    }
    int rc = mark_names(c, &c->labels, lens, c->seats, 1, SEAT_LABEL_BYTES_MAX, &labels_bytes, e);
    if (rc == 0 && alias_lens != NULL) {
        rc = mark_names(c, &c->aliases, alias_lens, c->seats, 0, ID_BYTES_MAX, &aliases_bytes, e);
    }
    if (rc != 0) {
        return rc;
    }
    c->labels.pool = (const char *)reader_raw(r, (size_t)labels_bytes);
    c->aliases.pool = (const char *)reader_raw(r, (size_t)aliases_bytes);
    return r->failed || reader_left(r) != 0 ? corrupt(e, "wrong length") : 0;
}

static int decode_into(struct chart *c, struct error *e)
{
    struct reader r;
    reader_init(&r, c->encoded, c->encoded_len);
    if (reader_u8(&r) != CHART_FORMAT) {
        return corrupt(e, "unknown format");
    }
    unsigned has = reader_u8(&r);
    if (has > (CHART_HAS_XY | CHART_HAS_ALIASES | CHART_HAS_TABLES) ||
        !read_count(&r, CHART_SEATS_MAX, 3, &c->seats) ||
        !read_count(&r, CHART_SEATS_MAX, 3, &c->rows_count) ||
        !read_count(&r, CHART_SEATS_MAX, 1, &c->sections_count) ||
        !read_count(&r, CHART_CATEGORIES_MAX, 1, &c->categories_count) ||
        !read_count(&r, CHART_SEATS_MAX, 1, &c->tables_count) ||
        !read_count(&r, CHART_AREAS_MAX, 3, &c->areas_count)) {
        return corrupt(e, "bad count");
    }
    int rc = read_titles(c, &r, c->sections_count, true, &c->sections, e);
    if (rc == 0) {
        rc = read_titles(c, &r, c->categories_count, false, &c->categories, e);
    }
    if (rc == 0) {
        rc = read_titles(c, &r, c->tables_count, true, &c->tables, e);
    }
    if (rc == 0) {
        rc = read_rows(c, &r, e);
    }
    if (rc == 0) {
        rc = read_areas(c, &r, e);
    }
    if (rc == 0) {
        rc = read_seats(c, &r, has, e);
    }
    if (rc == 0) {
        rc = check_seats(c, e);
    }
    return rc == 0 ? check_names(c, e) : rc;
}

int chart_decode(struct span encoded, struct chart **out, struct error *e)
{
    *out = NULL;
    struct chart *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    c->bytes = sizeof *c + encoded.len;
    c->encoded = mem_alloc(encoded.len);
    c->encoded_len = encoded.len;
    if (c->encoded == NULL) {
        chart_free(c);
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    if (encoded.len > 0) {
        memcpy(c->encoded, encoded.data, encoded.len);
    }
    int rc = decode_into(c, e);
    if (rc != 0) {
        chart_free(c);
        return rc;
    }
    *out = c;
    return 0;
}
