/* Charts: what is built is read back, names find their one place, and no bytes hurt. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/mem.h"
#include "lib/rng.h"
#include "store/chart.h"

static struct span text(const char *s) { return span_of(s); }

static int64_t seat(struct chart_builder *b, uint32_t row, const char *label, const char *alias,
                    struct error *e)
{
    struct chart_seat s = { text(label), text(alias), row, 0, 0, -1, 0, 0, 0 };
    return chart_add_seat(b, &s, e);
}

/* A builder with one section, one category and one row. */
static struct chart_builder *one_row(void)
{
    struct chart_builder *b = chart_builder_new();
    assert_non_null(b);
    assert_int_equal(chart_add_section(b, text("stalls"), NULL), 0);
    assert_int_equal(chart_add_category(b, text("cheap"), NULL), 0);
    assert_int_equal(chart_add_row(b, text("A"), 0, NULL), 0);
    return b;
}

static struct chart *finish(struct chart_builder *b)
{
    struct buf out = BUF_INIT;
    struct error e = { 0 };
    struct chart *c = NULL;
    assert_int_equal(chart_builder_encode(b, &out, &e), 0);
    assert_int_equal(chart_decode(span_make((char *)out.data, out.len), &c, &e), 0);
    struct span kept = chart_encoded(c);
    assert_int_equal(kept.len, out.len);
    assert_memory_equal(kept.data, out.data, out.len);
    buf_free(&out);
    chart_builder_free(b);
    return c;
}

#define SEATS_MAX 700
#define ROWS_MAX  64

/* The same chart as plain arrays. */
struct plain {
    struct {
        char label[40], alias[40];
        uint32_t row, position, category;
        int32_t table;
        uint8_t flags;
        float x, y;
    } seats[SEATS_MAX];
    struct {
        char name[16];
        uint32_t section, first, count;
    } rows[ROWS_MAX];
    uint32_t seats_count, rows_count, sections, categories, tables;
};

static void random_plain(struct rng *r, struct plain *p)
{
    memset(p, 0, sizeof *p);
    bool aliases = rng_one_in(r, 2), places = rng_one_in(r, 2), tables = rng_one_in(r, 2);
    p->rows_count = 1 + rng_below(r, ROWS_MAX - 1);
    p->categories = 1 + rng_below(r, 9);
    p->tables = tables ? 1 + rng_below(r, 20) : 0;
    for (uint32_t i = 0; i < p->rows_count; i++) {
        snprintf(p->rows[i].name, sizeof p->rows[i].name, "row %u", i);
        p->sections += rng_one_in(r, 5);
        p->rows[i].section = p->sections;
        p->rows[i].first = p->seats_count;
        uint32_t n = rng_one_in(r, 4) ? 0 : rng_below(r, 40);
        for (uint32_t j = 0; j < n && p->seats_count < SEATS_MAX; j++) {
            uint32_t s = p->seats_count++;
            snprintf(p->seats[s].label, sizeof p->seats[s].label, "%c%c%u-%u",
                     (rng_one_in(r, 2) ? 'a' : 'A') + (int)(i % 26), 'x', i, j);
            if (aliases && rng_one_in(r, 2)) {
                snprintf(p->seats[s].alias, sizeof p->seats[s].alias, "guid-%u-%u", i, j);
            }
            p->seats[s].row = i;
            p->seats[s].position = j;
            p->seats[s].category = rng_below(r, p->categories);
            p->seats[s].table = tables ? (int32_t)rng_below(r, p->tables + 1) - 1 : -1;
            p->seats[s].flags = (uint8_t)rng_below(r, 16);
            p->seats[s].x = places ? (float)rng_below(r, 1000) / 8 : 0;
            p->seats[s].y = places ? (float)rng_below(r, 1000) / -8 : 0;
        }
        p->rows[i].count = p->seats_count - p->rows[i].first;
    }
    p->sections++;
}

static struct chart_builder *build_plain(const struct plain *p)
{
    struct chart_builder *b = chart_builder_new();
    char name[32];
    assert_non_null(b);
    for (uint32_t i = 0; i < p->sections; i++) {
        snprintf(name, sizeof name, "section %u", i);
        assert_int_equal(chart_add_section(b, text(name), NULL), i);
    }
    for (uint32_t i = 0; i < p->categories; i++) {
        snprintf(name, sizeof name, "category %u", i);
        assert_int_equal(chart_add_category(b, text(name), NULL), i);
        assert_int_equal(chart_add_category(b, text(name), NULL), i);
    }
    for (uint32_t i = 0; i < p->tables; i++) {
        snprintf(name, sizeof name, "table %u", i);
        assert_int_equal(chart_add_table(b, text(name), NULL), i);
    }
    for (uint32_t i = 0; i < p->rows_count; i++) {
        assert_int_equal(chart_add_row(b, text(p->rows[i].name), p->rows[i].section, NULL), i);
    }
    for (uint32_t i = 0; i < p->seats_count; i++) {
        struct error e = { 0 };
        struct chart_seat s = { text(p->seats[i].label),
                                text(p->seats[i].alias),
                                p->seats[i].row,
                                99,
                                p->seats[i].category,
                                p->seats[i].table,
                                p->seats[i].flags,
                                p->seats[i].x,
                                p->seats[i].y };
        int64_t n = chart_add_seat(b, &s, &e);
        if (n != i) {
            fail_msg("seat %s: %s", p->seats[i].label, e.message);
        }
    }
    struct chart_area area = { text("floor"), 0, 300 };
    assert_int_equal(chart_add_area(b, &area, NULL), 0);
    return b;
}

static void compare_seat(const struct chart *c, const struct plain *p, uint32_t i)
{
    struct chart_seat s;
    chart_seat(c, i, &s);
    assert_true(span_is(s.label, p->seats[i].label));
    assert_true(span_is(s.alias, p->seats[i].alias));
    assert_true(span_is(chart_label(c, i), p->seats[i].label));
    assert_int_equal(s.row, p->seats[i].row);
    assert_int_equal(chart_seat_row(c, i), p->seats[i].row);
    assert_int_equal(s.position, p->seats[i].position);
    assert_int_equal(s.category, p->seats[i].category);
    assert_int_equal(chart_seat_category(c, i), p->seats[i].category);
    assert_int_equal(s.table, p->seats[i].table);
    assert_int_equal(s.flags, p->seats[i].flags);
    assert_int_equal(chart_seat_flags(c, i), p->seats[i].flags);
    assert_true(s.x == p->seats[i].x && s.y == p->seats[i].y);
    assert_int_equal(chart_find(c, text(p->seats[i].label)), i);
    if (p->seats[i].alias[0] != 0) {
        assert_int_equal(chart_find(c, text(p->seats[i].alias)), i);
    }
}

/* Random charts, empty rows included, read back exactly as they were built. */
static void test_reads_back_what_was_built(void **state)
{
    (void)state;
    struct rng r = { rng_seed_from_env(1) };
    static struct plain p;
    for (int round = 0; round < 60; round++) {
        random_plain(&r, &p);
        struct chart *c = finish(build_plain(&p));
        assert_int_equal(chart_seats(c), p.seats_count);
        assert_int_equal(chart_rows(c), p.rows_count);
        assert_int_equal(chart_sections(c), p.sections);
        assert_int_equal(chart_categories(c), p.categories);
        assert_int_equal(chart_tables(c), p.tables);
        assert_int_equal(chart_areas(c), 1);
        assert_true(span_is(chart_area(c, 0).name, "floor"));
        assert_int_equal(chart_area(c, 0).capacity, 300);
        for (uint32_t i = 0; i < p.rows_count; i++) {
            struct chart_row row = chart_row(c, i);
            assert_true(span_is(row.name, p.rows[i].name));
            assert_int_equal(row.section, p.rows[i].section);
            assert_int_equal(row.first, p.rows[i].first);
            assert_int_equal(row.count, p.rows[i].count);
        }
        for (uint32_t i = 0; i < p.seats_count; i++) {
            compare_seat(c, &p, i);
        }
        assert_int_equal(chart_find(c, text("nowhere")), -1);
        chart_free(c);
    }
}

/* A label is matched exactly, else ignoring case when that names one seat only. */
static void test_finds_ignoring_case_when_unique(void **state)
{
    (void)state;
    struct chart_builder *b = one_row();
    assert_int_equal(seat(b, 0, "A1", "Guid-One", NULL), 0);
    assert_int_equal(seat(b, 0, "b2", "", NULL), 1);
    assert_int_equal(seat(b, 0, "B2", "", NULL), 2);
    assert_int_equal(seat(b, 0, "c3", "C3", NULL), 3);
    assert_int_equal(seat(b, 0, "d4", "", NULL), 4);
    assert_int_equal(seat(b, 0, "e5", "D4", NULL), 5);
    struct chart_area area = { text("Floor"), 0, 5 };
    assert_int_equal(chart_add_area(b, &area, NULL), 0);
    assert_int_equal(chart_add_category(b, text("CHEAP"), NULL), 1);
    assert_int_equal(chart_add_category(b, text("Dear"), NULL), 2);
    struct chart *c = finish(b);
    assert_int_equal(chart_find(c, text("a1")), 0);
    assert_int_equal(chart_find(c, text("gUID-oNE")), 0);
    assert_int_equal(chart_find(c, text("b2")), 1);
    assert_int_equal(chart_find(c, text("B2")), 2);
    assert_int_equal(chart_find(c, text("C3")), 3); /* its alias */
    assert_int_equal(chart_find(c, text("D4")), 5); /* an exact alias wins */
    assert_int_equal(chart_find(c, text("d4")), 4);
    assert_int_equal(chart_find(c, text("")), -1);
    assert_int_equal(chart_find_area(c, text("FLOOR")), 0);
    assert_int_equal(chart_find(c, text("Floor")), -1);
    assert_int_equal(chart_find_category(c, text("cheap")), 0);
    assert_int_equal(chart_find_category(c, text("CHEAP")), 1);
    assert_int_equal(chart_find_category(c, text("Cheap")), -1);
    assert_int_equal(chart_find_category(c, text("dear")), 2);
    char longer[300];
    memset(longer, 'A', sizeof longer);
    assert_int_equal(chart_find(c, span_make(longer, sizeof longer)), -1);
    assert_int_equal(chart_find_area(c, span_make(longer, sizeof longer)), -1);
    chart_free(c);

    b = one_row();
    assert_int_equal(seat(b, 0, "xY", "", NULL), 0);
    assert_int_equal(seat(b, 0, "Xy", "", NULL), 1);
    c = finish(b);
    assert_int_equal(chart_find(c, text("xy")), -1); /* two would do */
    chart_free(c);
}

/* A slip of one letter is answered with a label that exists. */
static void test_nearest_label(void **state)
{
    (void)state;
    struct chart_builder *b = one_row();
    assert_int_equal(seat(b, 0, "A12", "", NULL), 0);
    assert_int_equal(seat(b, 0, "BALCONY-7", "", NULL), 1);
    struct chart *c = finish(b);
    static const struct {
        const char *wrong, *near;
    } cases[] = { { "A1", "A12" },
                  { "A123", "A12" },
                  { "A21", "A12" },
                  { "B12", "A12" },
                  { "balcny-7", "BALCONY-7" },
                  { "zzz", "" },
                  { "", "" },
                  { "A12345", "" } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(span_is(chart_nearest(c, text(cases[i].wrong)), cases[i].near));
    }
    chart_free(c);
}

/* Each wrong add is refused with BADARG and leaves the builder as it was. */
static void test_builder_refuses(void **state)
{
    (void)state;
    struct chart_builder *b = one_row();
    struct error e = { 0 };
    struct buf before = BUF_INIT, after = BUF_INIT;
    assert_int_equal(chart_builder_encode(b, &before, &e), ERR_BADARG); /* nothing in it */
    assert_int_equal(chart_add_table(b, text("t"), &e), 0);
    assert_int_equal(chart_add_section(b, text("circle"), &e), 1);
    assert_int_equal(chart_add_row(b, text("B"), 1, &e), 1);
    assert_int_equal(seat(b, 0, "A1", "guid", &e), 0);
    assert_int_equal(seat(b, 1, "B1", "", &e), 1);
    struct chart_area floor_area = { text("floor"), 0, 10 };
    assert_int_equal(chart_add_area(b, &floor_area, &e), 0);
    buf_clear(&before);
    assert_int_equal(chart_builder_encode(b, &before, &e), 0);

    char longest[SEAT_LABEL_BYTES_MAX + 2];
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    static const struct {
        const char *label, *alias;
        uint32_t row;
        uint32_t category;
        int32_t table;
        uint8_t flags;
        float x;
    } wrong[] = {
        { "A1", "", 1, 0, -1, 0, 0 },    { "guid", "", 1, 0, -1, 0, 0 },
        { "floor", "", 1, 0, -1, 0, 0 }, { "C1", "guid", 1, 0, -1, 0, 0 },
        { "C1", "A1", 1, 0, -1, 0, 0 },  { "C1", "floor", 1, 0, -1, 0, 0 },
        { "", "", 1, 0, -1, 0, 0 },      { "-C1", "", 1, 0, -1, 0, 0 },
        { "C 1", "", 1, 0, -1, 0, 0 },   { "C:1", "", 1, 0, -1, 0, 0 },
        { "C1\n", "", 1, 0, -1, 0, 0 },  { "\xff\xfe", "", 1, 0, -1, 0, 0 },
        { "C1", "a b", 1, 0, -1, 0, 0 }, { "C1", "", 2, 0, -1, 0, 0 },
        { "C1", "", 0, 0, -1, 0, 0 },    { "C1", "", 1, 1, -1, 0, 0 },
        { "C1", "", 1, 0, 1, 0, 0 },     { "C1", "", 1, 0, -2, 0, 0 },
        { "C1", "", 1, 0, -1, 16, 0 },   { "C1", "", 1, 0, -1, 0, 1.0f / 0.0f },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct chart_seat s = {
            text(wrong[i].label), text(wrong[i].alias), wrong[i].row, 0, wrong[i].category,
            wrong[i].table,       wrong[i].flags,       wrong[i].x,   0
        };
        error_clear(&e);
        if (chart_add_seat(b, &s, &e) != -1 || e.code != ERR_BADARG) {
            fail_msg("wrong seat %zu was taken", i);
        }
    }
    assert_int_equal(seat(b, 1, longest, "", &e), -1);
    struct chart_area areas[] = { { text("floor"), 0, 1 },
                                  { text("A1"), 0, 1 },
                                  { text("guid"), 0, 1 },
                                  { text("f f"), 0, 1 },
                                  { text("lawn"), 1, 1 },
                                  { text("lawn"), 0, 0 },
                                  { text("lawn"), 0, CHART_AREA_CAPACITY_MAX + 1 } };
    for (size_t i = 0; i < sizeof areas / sizeof areas[0]; i++) {
        assert_int_equal(chart_add_area(b, &areas[i], &e), -1);
        assert_int_equal(e.code, ERR_BADARG);
    }
    assert_int_equal(chart_add_row(b, text("C"), 2, &e), -1);
    assert_int_equal(chart_add_row(b, text("C"), 0, &e), -1); /* back to an older section */
    assert_int_equal(chart_add_row(b, text("\n"), 1, &e), -1);
    assert_int_equal(chart_add_category(b, text(""), &e), -1);
    assert_int_equal(chart_add_section(b, text("\x01"), &e), -1);

    assert_int_equal(chart_builder_encode(b, &after, &e), 0);
    assert_int_equal(after.len, before.len);
    assert_memory_equal(after.data, before.data, before.len);
    buf_free(&before);
    buf_free(&after);
    chart_builder_free(b);
}

/* Names that differ only in case are limited, so that crafted ones cost no time. */
static void test_refuses_too_many_case_twins(void **state)
{
    (void)state;
    struct chart_builder *b = one_row();
    struct error e = { 0 };
    int64_t n = 0;
    int added = 0;
    for (; added < 1024 && n >= 0; added += n >= 0) {
        char label[11] = { 0 };
        for (int bit = 0; bit < 10; bit++) {
            label[bit] = added >> bit & 1 ? 'a' : 'A';
        }
        n = seat(b, 0, label, "", &e);
    }
    assert_int_equal(e.code, ERR_BADARG);
    assert_int_equal(added, 64);
    chart_free(finish(b));
}

static struct buf small_chart(void)
{
    struct rng r = { 7 };
    static struct plain p;
    do {
        random_plain(&r, &p);
    } while (p.seats_count > 60 || p.seats_count < 20 || p.tables == 0 || p.seats[0].x == 0);
    struct chart_builder *b = build_plain(&p);
    struct buf out = BUF_INIT;
    assert_int_equal(chart_builder_encode(b, &out, NULL), 0);
    chart_builder_free(b);
    return out;
}

/* Every truncation and one byte too many is damage, told as such. */
static void test_decode_refuses_wrong_lengths(void **state)
{
    (void)state;
    struct buf good = small_chart();
    struct chart *c;
    for (size_t len = 0; len < good.len; len++) {
        char *exact = mem_must_alloc(len); /* so that ASan sees a read past the end */
        memcpy(exact, good.data, len);
        struct error e = { 0 };
        assert_int_equal(chart_decode(span_make(exact, len), &c, &e), ERR_CORRUPT);
        assert_int_equal(e.code, ERR_CORRUPT);
        assert_null(c);
        mem_free(exact);
    }
    buf_put_u8(&good, 0);
    assert_int_equal(chart_decode(span_make((char *)good.data, good.len), &c, NULL), ERR_CORRUPT);
    buf_free(&good);
}

static void read_all(const struct chart *c)
{
    for (uint32_t i = 0; i < chart_seats(c); i++) {
        struct chart_seat s;
        chart_seat(c, i, &s);
        assert_true(s.row < chart_rows(c) && s.category < chart_categories(c));
        assert_true(s.table < (int64_t)chart_tables(c));
        struct chart_row row = chart_row(c, s.row);
        assert_true(s.position < row.count && row.first + s.position == i);
        assert_true(row.section < chart_sections(c));
        assert_int_equal(chart_find(c, s.label), i);
        assert_true(s.alias.len == 0 || chart_find(c, s.alias) == i);
    }
    for (uint32_t i = 0; i < chart_areas(c); i++) {
        assert_int_equal(chart_find_area(c, chart_area(c, i).name), i);
    }
}

/* Flipped and random bytes are refused, or make a chart that still keeps its word. */
static void test_decode_survives_any_bytes(void **state)
{
    (void)state;
    struct buf good = small_chart();
    struct rng r = { rng_seed_from_env(2) };
    int taken = 0;
    for (size_t bit = 0; bit < good.len * 8; bit++) {
        struct chart *c;
        good.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (chart_decode(span_make((char *)good.data, good.len), &c, NULL) == 0) {
            read_all(c);
            chart_free(c);
            taken++;
        }
        good.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_in_range(taken, 1, good.len * 8 - 1);
    for (int round = 0; round < 20000; round++) {
        uint8_t bytes[200];
        size_t len = rng_below(&r, sizeof bytes) + 1;
        for (size_t i = 0; i < len; i++) {
            bytes[i] = (uint8_t)rng_next(&r);
        }
        bytes[0] = 1;
        bytes[1] &= 7;
        for (size_t i = 2; i < len && i < 8; i++) {
            bytes[i] &= rng_one_in(&r, 50) ? 0xff : 7;
        }
        struct chart *c;
        if (chart_decode(span_make((char *)bytes, len), &c, NULL) == 0) {
            read_all(c);
            chart_free(c);
        }
    }
    buf_free(&good);
}

/* A count far beyond the bytes is refused before memory is asked for. */
static void test_decode_trusts_no_count(void **state)
{
    (void)state;
    for (int field = 0; field < 6; field++) {
        struct buf b = BUF_INIT;
        buf_put_u8(&b, 1);
        buf_put_u8(&b, 0);
        for (int i = 0; i < 6; i++) {
            buf_put_varint(&b, i == field ? 1000000000000ull : 0);
        }
        struct chart *c;
        assert_int_equal(chart_decode(span_make((char *)b.data, b.len), &c, NULL), ERR_CORRUPT);
        buf_free(&b);
    }
}

/* Running out of memory at any point is an error, not a leak and not a crash. */
static void test_out_of_memory(void **state)
{
    (void)state;
    struct buf good = small_chart();
    int64_t live = mem_test_live();
    int rc = ERR_NOMEM;
    int steps = 0;
    for (uint64_t at = 1; rc == ERR_NOMEM; at++, steps++) {
        struct chart *c;
        mem_test_fail_at(at);
        rc = chart_decode(span_make((char *)good.data, good.len), &c, NULL);
        mem_test_fail_at(0);
        chart_free(c);
        assert_int_equal(mem_test_live(), live);
    }
    assert_int_equal(rc, 0);
    assert_true(steps > 10);
    rc = ERR_NOMEM;
    for (uint64_t at = 1; rc == ERR_NOMEM; at++) {
        struct error e = { 0 };
        struct buf out = BUF_INIT;
        mem_test_fail_at(at);
        struct chart_builder *b = chart_builder_new();
        bool ok = b != NULL && chart_add_section(b, text("s"), &e) == 0 &&
                  chart_add_category(b, text("c"), &e) == 0 &&
                  chart_add_row(b, text("r"), 0, &e) == 0;
        for (uint32_t i = 0; ok && i < 40; i++) {
            char label[16], alias[16];
            snprintf(label, sizeof label, "A%u", i);
            snprintf(alias, sizeof alias, "guid%u", i);
            ok = seat(b, 0, label, alias, &e) == i;
        }
        rc = b == NULL ? ERR_NOMEM : ok ? chart_builder_encode(b, &out, &e) : e.code;
        mem_test_fail_at(0);
        chart_builder_free(b);
        buf_free(&out);
        assert_int_equal(mem_test_live(), live);
    }
    assert_int_equal(rc, 0);
    buf_free(&good);
}

/* A seat of a large plain house costs at most 16 bytes here: 24 with its event. */
static void test_memory_per_seat(void **state)
{
    (void)state;
    struct chart_builder *b = chart_builder_new();
    assert_int_equal(chart_add_section(b, text(""), NULL), 0);
    assert_int_equal(chart_add_category(b, text("all"), NULL), 0);
    const uint32_t rows = 200, per_row = 500;
    for (uint32_t i = 0; i < rows; i++) {
        char label[16];
        snprintf(label, sizeof label, "R%u", i);
        assert_int_equal(chart_add_row(b, text(label), 0, NULL), i);
        for (uint32_t j = 0; j < per_row; j++) {
            snprintf(label, sizeof label, "R%u-%u", i, j + 1);
            assert_int_equal(seat(b, i, label, "", NULL), i * per_row + j);
        }
    }
    struct chart *c = finish(b);
    double bytes = (double)chart_bytes(c) / chart_seats(c);
    print_message("%.2f bytes a seat with labels like R123-456\n", bytes);
    assert_true(bytes <= 16.0);
    chart_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_back_what_was_built),
        cmocka_unit_test(test_finds_ignoring_case_when_unique),
        cmocka_unit_test(test_nearest_label),
        cmocka_unit_test(test_builder_refuses),
        cmocka_unit_test(test_refuses_too_many_case_twins),
        cmocka_unit_test(test_decode_refuses_wrong_lengths),
        cmocka_unit_test(test_decode_survives_any_bytes),
        cmocka_unit_test(test_decode_trusts_no_count),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_memory_per_seat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
