/* tx:seats_view(event[, full[, own]]): the answer of `seats`, built in C because it speaks of every
 * seat of a house: 20,000 of them as Lua tables would take milliseconds of the leader's loop. */
#include "base/json.h"
#include "policy/json_text.h"
#include "policy/vm.h"

static void put_counts(struct buf *out, const struct event *ev)
{
    json_put_key(out, "counts");
    buf_put(out, "{", 1);
    for (int i = 0; i < SEAT_STATUS_COUNT; i++) {
        json_field_int(out, seat_status_name(i), ev->counts[i]);
    }
    buf_put(out, "}", 1);
}

/* "taken":{"A1":"booked",...}: every seat that is not free. */
static void put_taken(struct buf *out, struct store *s, const struct event *ev)
{
    uint32_t n = chart_seats(ev->chart);
    json_put_key(out, "taken");
    buf_put(out, "{", 1);
    for (uint32_t i = 0; i < n; i++) {
        enum seat_status status = store_seat(s, ev, i);
        if (status != SEAT_FREE) {
            json_put_comma(out);
            json_put_string(out, chart_label(ev->chart, i));
            buf_put_u8(out, ':');
            json_put_string(out, span_of(seat_status_name((int)status)));
        }
    }
    buf_put(out, "}", 1);
}

static void put_areas(struct buf *out, struct store *s, const struct event *ev)
{
    uint32_t n = chart_areas(ev->chart);
    if (n == 0) {
        return;
    }
    json_put_key(out, "areas");
    buf_put(out, "[", 1);
    for (uint32_t i = 0; i < n; i++) {
        struct chart_area area = chart_area(ev->chart, i);
        struct area_use use = store_area(s, ev, i);
        json_put_comma(out);
        buf_put(out, "{", 1);
        json_field_string(out, "area", area.name);
        json_field_string(out, "category", chart_category_name(ev->chart, area.category));
        json_field_int(out, "capacity", area.capacity);
        json_field_int(out, "held", use.held);
        json_field_int(out, "booked", use.booked);
        json_field_int(out, "free", (int64_t)area.capacity - use.held - use.booked);
        buf_put(out, "}", 1);
    }
    buf_put(out, "]", 1);
}

static void put_seat(struct buf *out, struct store *s, const struct event *ev, uint32_t number)
{
    struct chart_seat seat;
    chart_seat(ev->chart, number, &seat);
    json_put_comma(out);
    buf_put(out, "{", 1);
    json_field_string(out, "seat", seat.label);
    json_field_string(out, "status", span_of(seat_status_name((int)store_seat(s, ev, number))));
    json_field_string(out, "category", chart_category_name(ev->chart, seat.category));
    if (seat.alias.len > 0) {
        json_field_string(out, "alias", seat.alias);
    }
    if (chart_has_xy(ev->chart)) {
        json_put_key(out, "x");
        buf_printf(out, "%.6g", (double)seat.x);
        json_put_key(out, "y");
        buf_printf(out, "%.6g", (double)seat.y);
    }
    if (seat.table >= 0) {
        json_field_string(out, "table", chart_table_name(ev->chart, (uint32_t)seat.table));
    }
    static const struct {
        const char *name;
        int flag;
    } flags[] = { { "accessible", CHART_ACCESSIBLE },
                  { "companion", CHART_COMPANION },
                  { "restricted", CHART_RESTRICTED },
                  { "aisle_after", CHART_AISLE_AFTER } };
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (seat.flags & flags[i].flag) {
            json_field_bool(out, flags[i].name, true);
        }
    }
    buf_put(out, "}", 1);
}

static void put_rows(struct buf *out, struct store *s, const struct event *ev)
{
    uint32_t rows = chart_rows(ev->chart);
    json_put_key(out, "rows");
    buf_put(out, "[", 1);
    for (uint32_t r = 0; r < rows; r++) {
        struct chart_row row = chart_row(ev->chart, r);
        json_put_comma(out);
        buf_put(out, "{", 1);
        json_field_string(out, "row", row.name);
        json_field_string(out, "section", chart_section_name(ev->chart, row.section));
        json_put_key(out, "seats");
        buf_put(out, "[", 1);
        for (uint32_t i = 0; i < row.count; i++) {
            put_seat(out, s, ev, row.first + i);
        }
        buf_put(out, "]}", 2);
    }
    buf_put(out, "]", 1);
}

int tx_seats_view(lua_State *L)
{
    (void)object_check(L, 1, OBJECT_TX);
    struct policy *p = vm_of(L);
    struct store *s = vm_store(L);
    const struct event *ev = vm_check_event(L, 2);
    bool full = lua_toboolean(L, 3);
    struct span own; /* JSON text of a list of labels */
    struct error e;
    own.data = luaL_optlstring(L, 4, "", &own.len);
    luaL_argcheck(L, own.len == 0 || json_check(own, &e) == 0, 4, "JSON is wanted");
    struct buf *out = &p->scratch;
    sandbox_charge(L, chart_seats(ev->chart) / (full ? 4 : 32));
    buf_clear(out);
    buf_put(out, "{", 1);
    json_field_string(out, "event", ev->id);
    put_counts(out, ev);
    put_taken(out, s, ev);
    put_areas(out, s, ev);
    if (own.len > 0) {
        json_put_key(out, "own");
        buf_put(out, own.data, own.len);
    }
    if (full) {
        put_rows(out, s, ev);
    }
    json_field_int(out, "index", (int64_t)vm_index_shown(p));
    buf_put(out, "}", 1);
    if (out->failed) {
        vm_refusef(L, ERR_NOMEM, "no memory for the seats");
    }
    object_push_json(L, out);
    return 1;
}
