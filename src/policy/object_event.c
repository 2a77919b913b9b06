/* Fields and methods of events, rows and areas (lua.md 3). Everything is looked up in the
 * store at each access; what is built as a table is the script's own copy. */
#include <string.h>

#include "policy/lua_json.h"
#include "policy/vm.h"

static void push_counts(lua_State *L, const struct event *ev)
{
    lua_createtable(L, 0, SEAT_STATUS_COUNT);
    for (int i = 0; i < SEAT_STATUS_COUNT; i++) {
        lua_pushinteger(L, ev->counts[i]);
        lua_setfield(L, -2, seat_status_name(i));
    }
}

/* [-0, +1] the decoded attributes, {} when there are none. */
static void push_attributes(lua_State *L, const struct event *ev)
{
    if (ev->attributes.len == 0) {
        lua_newtable(L);
        return;
    }
    lua_json_decode(L, ev->attributes);
}

bool event_field(lua_State *L, const struct object *o, int field)
{
    const struct event *ev = vm_event(L, o->event);
    switch (field) {
    case FIELD_id: vm_push_span(L, ev->id); return true;
    case FIELD_status: lua_pushstring(L, ev->open ? "open" : "closed"); return true;
    case FIELD_attributes: push_attributes(L, ev); return true;
    case FIELD_attributes_text: vm_push_span(L, ev->attributes); return true;
    case FIELD_ruleset: vm_push_span(L, ev->ruleset); return true;
    case FIELD_currency: vm_push_span(L, ev->currency); return true;
    case FIELD_zone:
        push_attributes(L, ev);
        if (lua_istable(L, -1)) {
            lua_pushliteral(L, "zone");
            lua_rawget(L, -2);
            return true;
        }
        return false;
    case FIELD_counts: push_counts(L, ev); return true;
    case FIELD_chart: vm_push_span(L, ev->chart_id); return true;
    case FIELD_index: lua_pushinteger(L, (lua_Integer)ev->index); return true;
    case FIELD_seats_total: lua_pushinteger(L, chart_seats(ev->chart)); return true;
    case FIELD_event: object_push_event(L, ev); return true;
    default: return false;
    }
}

bool row_field(lua_State *L, const struct object *o, int field)
{
    const struct event *ev = vm_event(L, o->event);
    struct chart_row row = chart_row(ev->chart, o->number);
    switch (field) {
    case FIELD_name: vm_push_span(L, row.name); return true;
    case FIELD_section: vm_push_span(L, chart_section_name(ev->chart, row.section)); return true;
    case FIELD_event: object_push_event(L, ev); return true;
    default: return false;
    }
}

int row_index(lua_State *L)
{
    const struct object *o = object_check(L, 1, OBJECT_ROW);
    struct chart_row row = chart_row(vm_event(L, o->event)->chart, o->number);
    lua_Integer i = lua_tointeger(L, 2);
    if (i < 1 || i > (lua_Integer)row.count) {
        lua_pushnil(L);
    } else {
        object_push_seat(L, o->event, row.first + (uint32_t)i - 1);
    }
    return 1;
}

bool area_field(lua_State *L, const struct object *o, int field)
{
    const struct event *ev = vm_event(L, o->event);
    struct chart_area area = chart_area(ev->chart, o->number);
    struct area_use use = store_area(vm_store(L), ev, o->number);
    switch (field) {
    case FIELD_name:
    case FIELD_label: vm_push_span(L, area.name); return true;
    case FIELD_category:
        vm_push_span(L, chart_category_name(ev->chart, area.category));
        return true;
    case FIELD_capacity: lua_pushinteger(L, area.capacity); return true;
    case FIELD_held: lua_pushinteger(L, use.held); return true;
    case FIELD_booked: lua_pushinteger(L, use.booked); return true;
    case FIELD_free:
        lua_pushinteger(L, (lua_Integer)area.capacity - use.held - use.booked);
        return true;
    case FIELD_overbook: lua_pushboolean(L, vm_ruleset(L, ev)->overbook); return true;
    case FIELD_event: object_push_event(L, ev); return true;
    case FIELD_area: object_push_area(L, o->event, o->number); return true;
    case FIELD_count: lua_pushinteger(L, 1); return true;
    default: return false;
    }
}

/* ---- Methods of events ------------------------------------------------------------- */

static int event_seat(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    int64_t seat = chart_find(ev->chart, vm_check_span(L, 2, "the label"));
    if (seat < 0) {
        lua_pushnil(L);
    } else {
        object_push_seat(L, ev->number, (uint32_t)seat);
    }
    return 1;
}

static int event_area(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    int64_t area = chart_find_area(ev->chart, vm_check_span(L, 2, "the area's name"));
    if (area < 0) {
        lua_pushnil(L);
    } else {
        object_push_area(L, ev->number, (uint32_t)area);
    }
    return 1;
}

static int event_nearest(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    struct span near = chart_nearest(ev->chart, vm_check_span(L, 2, "the label"));
    if (near.len == 0) {
        lua_pushnil(L);
    } else {
        vm_push_span(L, near);
    }
    return 1;
}

static int event_rows(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    uint32_t n = chart_rows(ev->chart);
    sandbox_charge(L, n);
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        object_push_row(L, ev->number, i);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int event_areas(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    uint32_t n = chart_areas(ev->chart);
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        object_push_area(L, ev->number, i);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int event_categories(lua_State *L)
{
    const struct event *ev = object_event(L, 1);
    uint32_t n = chart_categories(ev->chart);
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        vm_push_span(L, chart_category_name(ev->chart, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* Appends the run [first, end) to the list at index `list`. */
static void add_run(lua_State *L, int list, const struct event *ev, uint32_t first, uint32_t end)
{
    lua_createtable(L, (int)(end - first), 0);
    for (uint32_t i = first; i < end; i++) {
        object_push_seat(L, ev->number, i);
        lua_rawseti(L, -2, (lua_Integer)(i - first) + 1);
    }
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
}

/* event:runs{min=, category=}: lists of free neighbours, never across an aisle. */
static int event_runs(lua_State *L)
{
    static const char *const names[] = { "min", "category", NULL };
    const struct event *ev = object_event(L, 1);
    lua_Integer min = 1;
    int64_t category = -1;
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_pushnil(L);
        for (int i; (i = vm_fields_next(L, 2, names, "event:runs")) >= 0; lua_pop(L, 1)) {
            if (i == 0) {
                min = vm_check_integer(L, -1, "min");
            } else {
                category = chart_find_category(ev->chart, vm_check_span(L, -1, "category"));
                if (category < 0) {
                    category = INT64_MAX; /* no seat has it */
                }
            }
        }
    }
    lua_newtable(L);
    int list = lua_gettop(L);
    struct store *s = vm_store(L);
    uint32_t rows = chart_rows(ev->chart);
    for (uint32_t r = 0; r < rows; r++) {
        struct chart_row row = chart_row(ev->chart, r);
        uint32_t end = row.first + row.count, start = row.first;
        sandbox_charge(L, row.count / 4 + 1);
        for (uint32_t i = row.first; i < end; i++) {
            bool fits = store_seat(s, ev, i) == SEAT_FREE &&
                        (category < 0 || chart_seat_category(ev->chart, i) == category);
            bool last = i + 1 == end || (chart_seat_flags(ev->chart, i) & CHART_AISLE_AFTER);
            uint32_t run_end = fits ? i + 1 : i;
            if (!fits || last) {
                if (run_end > start && (lua_Integer)(run_end - start) >= min) {
                    add_run(L, list, ev, start, run_end);
                }
                start = i + 1;
            }
        }
    }
    return 1;
}

const luaL_Reg event_methods[] = {
    { "seat", event_seat }, { "area", event_area },   { "nearest", event_nearest },
    { "rows", event_rows }, { "areas", event_areas }, { "categories", event_categories },
    { "runs", event_runs }, { "table", event_table }, { "sections", event_sections },
    { NULL, NULL },
};
