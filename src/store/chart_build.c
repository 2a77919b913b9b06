/* Building a chart: the add-chart command parses JSON in Lua and adds section by
 * section, row by row, seat by seat. Each add checks what it is given, so an error
 * names the seat at fault; encoding at the end decodes its own output once more, so
 * that nothing can be logged that a follower would refuse.
 *
 *   1 what the builder accepts decodes; what it refuses does not
 *   2 a failed add leaves the builder as it was */
#include "store/chart.h"

#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/text.h"
#include "store/chart_layout.h"

/* Names that grow, with their index. */
struct name_set {
    struct buf pool, lens, marks;
    struct chart_index index;
    uint32_t present; /* names in the index: those not empty */
};

struct row_made {
    uint32_t section, count;
};

struct chart_builder {
    struct buf sections, categories, tables, row_names; /* bytes each */
    uint32_t sections_count, categories_count, tables_count, rows_count, seats, areas_count;
    struct buf rows;       /* struct row_made */
    struct buf attrs;      /* u16 */
    struct buf seat_table; /* u32 */
    struct buf xs, ys;     /* f32 */
    struct buf areas;      /* struct chart_area, names empty */
    struct name_set labels, aliases, area_names;
    unsigned has;
    uint32_t seat_row; /* row of the last seat */
};

bool chart_title_ok(struct span name, bool may_be_empty)
{
    if (name.len > ID_BYTES_MAX || (name.len == 0 && !may_be_empty) || !text_is_utf8(name)) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if ((unsigned char)name.data[i] < 0x20 || name.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static int64_t no_memory(struct error *e)
{
    (void)error_set(e, ERR_NOMEM, "chart: out of memory");
    return -1;
}

static struct chart_names set_names(const struct name_set *s)
{
    return (struct chart_names){ (const char *)s->pool.data, s->lens.data,
                                 (uint32_t *)(void *)s->marks.data, (uint32_t)s->lens.len };
}

static int64_t set_find(const struct name_set *s, struct span name)
{
    if (s->present == 0) {
        return -1;
    }
    struct chart_names names = set_names(s);
    return chart_index_find(&s->index, &names, name, chart_hash(name)).exact;
}

static bool set_grow(struct name_set *s)
{
    struct chart_index bigger;
    struct chart_names names = set_names(s);
    uint64_t want = s->present < 8 ? 16 : 2ull * s->present;
    if (!chart_index_init(&bigger,
                          (uint32_t)(want < INDEX_NUMBER_MASK ? want : INDEX_NUMBER_MASK - 1))) {
        return false;
    }
    for (uint32_t i = 0; i < names.count; i++) {
        if (names.lens[i] > 0 && chart_index_add(&bigger, &names, i, "", NULL) != 0) {
            mem_free(bigger.slots);
            return false;
        }
    }
    mem_free(s->index.slots);
    s->index = bigger;
    return true;
}

/* Appends a name (empty: none) and indexes it. */
static bool set_add(struct name_set *s, struct span name, const char *what, struct error *e)
{
    /* At most 4/5 full, like a decoded chart; the next name may be the one too many. */
    if ((uint64_t)(s->present + 1) * 5 > (uint64_t)s->index.size * 4 && !set_grow(s)) {
        (void)no_memory(e);
        return false;
    }
    struct buf before[3] = { s->pool, s->lens, s->marks };
    uint32_t at = (uint32_t)s->pool.len;
    if (s->lens.len % NAMES_STEP == 0) {
        buf_put(&s->marks, &at, sizeof at);
    }
    buf_put_u8(&s->lens, (uint8_t)name.len);
    buf_put(&s->pool, name.data, name.len);
    bool ok = !s->pool.failed && !s->lens.failed && !s->marks.failed;
    if (!ok) {
        (void)no_memory(e);
    } else if (name.len > 0) {
        struct chart_names names = set_names(s);
        ok = chart_index_add(&s->index, &names, names.count - 1, what, e) == 0;
        s->present += ok;
    }
    if (!ok) {
        s->pool.len = before[0].len;
        s->lens.len = before[1].len;
        s->marks.len = before[2].len;
        s->pool.failed = s->lens.failed = s->marks.failed = false;
    }
    return ok;
}

static void set_drop_last(struct name_set *s, struct span name)
{
    s->lens.len--;
    s->pool.len -= name.len;
    if (s->lens.len % NAMES_STEP == 0) {
        s->marks.len -= sizeof(uint32_t);
    }
    /* Only ever needed when memory ran out or an alias was refused: rare, so the
     * index is simply made again. */
    if (name.len > 0) {
        s->present--;
        if (!set_grow(s)) {
            s->lens.failed = true; /* the builder is unusable; encode reports it */
        }
    }
}

static void set_free(struct name_set *s)
{
    buf_free(&s->pool);
    buf_free(&s->lens);
    buf_free(&s->marks);
    mem_free(s->index.slots);
}

struct chart_builder *chart_builder_new(void) { return mem_zalloc(sizeof(struct chart_builder)); }

void chart_builder_free(struct chart_builder *b)
{
    if (b == NULL) {
        return;
    }
    struct buf *all[] = { &b->sections, &b->categories, &b->tables, &b->row_names, &b->rows,
                          &b->attrs,    &b->seat_table, &b->xs,     &b->ys,        &b->areas };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        buf_free(all[i]);
    }
    set_free(&b->labels);
    set_free(&b->aliases);
    set_free(&b->area_names);
    mem_free(b);
}

static int64_t bad(struct error *e, const char *what, struct span name, const char *why)
{
    (void)error_set(e, ERR_BADARG, "%s %.*s: %s", what, (int)(name.len > 80 ? 80 : name.len),
                    name.data != NULL ? name.data : "", why);
    return -1;
}

static int64_t add_title(struct buf *list, uint32_t *count, uint32_t max, struct span name,
                         bool may_be_empty, const char *what, struct error *e)
{
    if (!chart_title_ok(name, may_be_empty)) {
        return bad(e, what, name, "the name must be 1 to 128 bytes of text");
    }
    if (*count >= max) {
        return bad(e, what, name, "too many");
    }
    buf_put_span(list, name);
    return list->failed ? no_memory(e) : (int64_t)(*count)++;
}

int64_t chart_add_section(struct chart_builder *b, struct span name, struct error *e)
{
    return add_title(&b->sections, &b->sections_count, CHART_SEATS_MAX, name, true, "section", e);
}

int64_t chart_add_table(struct chart_builder *b, struct span name, struct error *e)
{
    return add_title(&b->tables, &b->tables_count, CHART_SEATS_MAX, name, true, "table", e);
}

int64_t chart_add_category(struct chart_builder *b, struct span name, struct error *e)
{
    struct reader r;
    reader_init(&r, b->categories.data, b->categories.len);
    for (uint32_t i = 0; i < b->categories_count; i++) {
        if (span_eq(reader_bytes(&r), name)) {
            return i;
        }
    }
    return add_title(&b->categories, &b->categories_count, CHART_CATEGORIES_MAX, name, false,
                     "category", e);
}

static struct row_made *row_at(struct chart_builder *b, uint32_t row)
{
    return (struct row_made *)(void *)b->rows.data + row;
}

int64_t chart_add_row(struct chart_builder *b, struct span name, uint32_t section, struct error *e)
{
    if (section >= b->sections_count) {
        return bad(e, "row", name, "no such section");
    }
    if (b->rows_count > 0 && section < row_at(b, b->rows_count - 1)->section) {
        return bad(e, "row", name, "rows must come section by section");
    }
    struct row_made row = { section, 0 };
    if (!buf_reserve(&b->rows, sizeof row)) {
        return no_memory(e);
    }
    int64_t n = add_title(&b->row_names, &b->rows_count, CHART_SEATS_MAX, name, true, "row", e);
    if (n >= 0) {
        buf_put(&b->rows, &row, sizeof row);
    }
    return n;
}

static const char *seat_fault(const struct chart_builder *b, const struct chart_seat *seat)
{
    if (b->seats >= CHART_SEATS_MAX) {
        return "too many seats";
    }
    if (!text_is_label(seat->label)) {
        return "a label is 1 to 64 printable bytes without blanks or : * = / ,";
    }
    if (seat->alias.len > 0 && !text_is_id(seat->alias)) {
        return "an alias is 1 to 128 printable bytes without blanks or : * = / ,";
    }
    if (seat->row >= b->rows_count) {
        return "no such row";
    }
    if (b->seats > 0 && seat->row < b->seat_row) {
        return "seats must come row by row";
    }
    if (seat->category >= b->categories_count) {
        return "no such category";
    }
    if (seat->table < -1 || seat->table >= (int64_t)b->tables_count) {
        return "no such table";
    }
    if ((seat->flags & ~CHART_FLAG_MASK) != 0) {
        return "unknown flag";
    }
    if (!isfinite(seat->x) || !isfinite(seat->y)) {
        return "x and y must be finite";
    }
    int64_t alias_owner = set_find(&b->aliases, seat->label);
    if (alias_owner >= 0 || set_find(&b->area_names, seat->label) >= 0) {
        return "the label is the alias of another seat or the name of an area";
    }
    if (seat->alias.len > 0 &&
        (set_find(&b->labels, seat->alias) >= 0 || set_find(&b->area_names, seat->alias) >= 0)) {
        return "the alias is the label of another seat or the name of an area";
    }
    return NULL;
}

static void put_f32(struct buf *b, float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    buf_put_u32(b, bits);
}

int64_t chart_add_seat(struct chart_builder *b, const struct chart_seat *seat, struct error *e)
{
    const char *fault = seat_fault(b, seat);
    if (fault != NULL) {
        return bad(e, "seat", seat->label, fault);
    }
    if (!buf_reserve(&b->attrs, 2) || !buf_reserve(&b->seat_table, 4) || !buf_reserve(&b->xs, 4) ||
        !buf_reserve(&b->ys, 4)) {
        b->attrs.failed = b->seat_table.failed = b->xs.failed = b->ys.failed = false;
        return no_memory(e);
    }
    if (!set_add(&b->labels, seat->label, "seat", e)) {
        return -1;
    }
    if (!set_add(&b->aliases, seat->alias, "alias", e)) {
        set_drop_last(&b->labels, seat->label);
        return -1;
    }
    buf_put_u16(&b->attrs, (uint16_t)(seat->category << CHART_FLAG_BITS | seat->flags));
    buf_put_u32(&b->seat_table, (uint32_t)(seat->table + 1));
    put_f32(&b->xs, seat->x);
    put_f32(&b->ys, seat->y);
    b->has |= (seat->x != 0 || seat->y != 0 ? CHART_HAS_XY : 0u) |
              (seat->alias.len > 0 ? CHART_HAS_ALIASES : 0u) |
              (seat->table >= 0 ? CHART_HAS_TABLES : 0u);
    b->seat_row = seat->row;
    row_at(b, seat->row)->count++;
    return b->seats++;
}

int64_t chart_add_area(struct chart_builder *b, const struct chart_area *area, struct error *e)
{
    if (b->areas_count >= CHART_AREAS_MAX) {
        return bad(e, "area", area->name, "too many areas");
    }
    if (!text_is_label(area->name)) {
        return bad(e, "area", area->name,
                   "a name is 1 to 64 printable bytes without blanks or : * = / ,");
    }
    if (area->category >= b->categories_count) {
        return bad(e, "area", area->name, "no such category");
    }
    if (area->capacity == 0 || area->capacity > CHART_AREA_CAPACITY_MAX) {
        return bad(e, "area", area->name, "the capacity must be 1 to 10000000");
    }
    if (set_find(&b->labels, area->name) >= 0 || set_find(&b->aliases, area->name) >= 0) {
        return bad(e, "area", area->name, "is the label or alias of a seat");
    }
    struct chart_area copy = { { NULL, 0 }, area->category, area->capacity };
    if (!buf_reserve(&b->areas, sizeof copy)) {
        b->areas.failed = false;
        return no_memory(e);
    }
    if (!set_add(&b->area_names, area->name, "area", e)) {
        return -1;
    }
    buf_put(&b->areas, &copy, sizeof copy);
    return b->areas_count++;
}

static void encode_rows(struct chart_builder *b, struct buf *out)
{
    struct reader names;
    reader_init(&names, b->row_names.data, b->row_names.len);
    uint32_t section = 0;
    for (uint32_t i = 0; i < b->rows_count; i++) {
        struct row_made *row = row_at(b, i);
        buf_put_span(out, reader_bytes(&names));
        buf_put_varint(out, row->section - section);
        buf_put_varint(out, row->count);
        section = row->section;
    }
}

static void put_all(struct buf *out, const struct buf *in)
{
    buf_put(out, in->data, in->len);
    out->failed |= in->failed;
}

int chart_builder_encode(struct chart_builder *b, struct buf *out, struct error *e)
{
    if (b->seats == 0 && b->areas_count == 0) {
        return error_set(e, ERR_BADARG, "a chart needs at least one seat or area");
    }
    size_t start = out->len;
    buf_put_u8(out, CHART_FORMAT);
    buf_put_u8(out, (uint8_t)b->has);
    uint32_t counts[] = { b->seats,        b->rows_count, b->sections_count, b->categories_count,
                          b->tables_count, b->areas_count };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        buf_put_varint(out, counts[i]);
    }
    put_all(out, &b->sections);
    put_all(out, &b->categories);
    put_all(out, &b->tables);
    encode_rows(b, out);
    put_all(out, &b->area_names.lens);
    for (uint32_t i = 0; i < b->areas_count; i++) {
        const struct chart_area *area = (const struct chart_area *)(void *)b->areas.data + i;
        buf_put_varint(out, area->category);
        buf_put_varint(out, area->capacity);
    }
    put_all(out, &b->area_names.pool);
    put_all(out, &b->labels.lens);
    put_all(out, &b->attrs);
    if (b->has & CHART_HAS_TABLES) {
        put_all(out, &b->seat_table);
    }
    if (b->has & CHART_HAS_XY) {
        put_all(out, &b->xs);
        put_all(out, &b->ys);
    }
    if (b->has & CHART_HAS_ALIASES) {
        put_all(out, &b->aliases.lens);
    }
    put_all(out, &b->labels.pool);
    put_all(out, &b->aliases.pool);
    if (out->failed || b->row_names.failed) {
        return error_set(e, ERR_NOMEM, "chart: out of memory");
    }
    struct chart *made;
    struct span bytes = { (const char *)out->data + start, out->len - start };
    int rc = chart_decode(bytes, &made, e);
    if (rc != 0) { /* names that collide only at the final size of the table */
        out->len = start;
        return error_set(e, rc == ERR_CORRUPT ? ERR_BADARG : rc, "the chart is refused");
    }
    chart_free(made);
    return 0;
}
