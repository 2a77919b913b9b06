/* tx:chart_put: a layout as Lua tables -> the store's chart builder -> one effect.
 *
 * The builder is C memory that must not be lost when a wrong field raises, so it is held by a
 * userdata whose finaliser frees it (the sandbox refuses __gc to scripts; C may use it). */
#include "policy/vm.h"

#include <stdio.h>
#include <string.h>

struct chart_box {
    struct chart_builder *builder;
    struct buf encoded;
};

static int box_gc(lua_State *L)
{
    struct chart_box *box = lua_touserdata(L, 1);
    chart_builder_free(box->builder);
    box->builder = NULL;
    buf_free(&box->encoded);
    return 0;
}

/* [-0, +1] */
static struct chart_box *new_box(lua_State *L)
{
    struct chart_box *box = lua_newuserdatauv(L, sizeof(*box), 0);
    memset(box, 0, sizeof(*box));
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    box->builder = chart_builder_new();
    if (box->builder == NULL) {
        vm_refusef(L, ERR_NOMEM, "no memory for a chart");
    }
    return box;
}

static uint32_t added(lua_State *L, int64_t number, const struct error *e)
{
    if (number < 0) {
        vm_refuse(L, e);
    }
    return (uint32_t)number;
}

/* A text field of the table on top; empty when absent. The string stays in the table. */
static struct span text_field(lua_State *L, const char *name)
{
    struct span s = { NULL, 0 };
    int type = lua_getfield(L, -1, name);
    if (type == LUA_TSTRING) {
        s = vm_to_span(L, -1);
    } else if (type != LUA_TNIL) {
        luaL_error(L, "chart: %s must be a text", name);
    }
    lua_pop(L, 1);
    return s;
}

static float number_field(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    lua_Number v = luaL_optnumber(L, -1, 0);
    lua_pop(L, 1);
    return (float)v;
}

static uint8_t flag_field(lua_State *L, const char *name, int flag)
{
    lua_getfield(L, -1, name);
    bool on = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return (uint8_t)(on ? flag : 0);
}

/* A section or table is made when its name comes for the first time. `names` is a Lua table
 * name -> number. */
static uint32_t named(lua_State *L, struct chart_box *box, int names, struct span name,
                      int64_t (*add)(struct chart_builder *, struct span, struct error *))
{
    struct error e;
    error_clear(&e);
    vm_push_span(L, name);
    if (lua_rawget(L, names) == LUA_TNUMBER) {
        uint32_t n = (uint32_t)lua_tointeger(L, -1);
        lua_pop(L, 1);
        return n;
    }
    lua_pop(L, 1);
    uint32_t n = added(L, add(box->builder, name, &e), &e);
    vm_push_span(L, name);
    lua_pushinteger(L, n);
    lua_rawset(L, names);
    return n;
}

static uint32_t category(lua_State *L, struct chart_box *box, struct span name)
{
    struct error e;
    error_clear(&e);
    return added(L, chart_add_category(box->builder, name.len > 0 ? name : span_of("default"), &e),
                 &e);
}

/* The seat described by the table on top. */
static void add_seat(lua_State *L, struct chart_box *box, int tables, uint32_t row)
{
    struct chart_seat seat;
    struct error e;
    error_clear(&e);
    memset(&seat, 0, sizeof(seat));
    vm_check_type(L, -1, LUA_TTABLE, "chart: a seat");
    seat.label = text_field(L, "label");
    seat.alias = text_field(L, "alias");
    seat.row = row;
    seat.category = category(L, box, text_field(L, "category"));
    struct span table = text_field(L, "table");
    seat.table = table.len > 0 ? (int32_t)named(L, box, tables, table, chart_add_table) : -1;
    seat.x = number_field(L, "x");
    seat.y = number_field(L, "y");
    seat.flags = (uint8_t)(flag_field(L, "accessible", CHART_ACCESSIBLE) |
                           flag_field(L, "companion", CHART_COMPANION) |
                           flag_field(L, "restricted", CHART_RESTRICTED) |
                           flag_field(L, "aisle_after", CHART_AISLE_AFTER));
    (void)added(L, chart_add_seat(box->builder, &seat, &e), &e);
}

/* Short form: `count` seats named after the row, numbered from `first`; aisles = {4, 9} says
 * after which of them (counted from 1) one lies. The row's table is on top. */
static void add_numbered(lua_State *L, struct chart_box *box, uint32_t row, struct span name,
                         lua_Integer count)
{
    char label[SEAT_LABEL_BYTES_MAX + 24];
    struct chart_seat seat;
    struct error e;
    error_clear(&e);
    memset(&seat, 0, sizeof(seat));
    if (count < 1 || count > CHART_SEATS_MAX || name.len > SEAT_LABEL_BYTES_MAX) {
        vm_refusef(L, ERR_BADARG, "chart: row %.*s: a number of seats from 1 to %d is needed",
                   (int)(name.len < 64 ? name.len : 64), name.data, CHART_SEATS_MAX);
    }
    lua_getfield(L, -1, "first");
    lua_Integer first = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 1;
    lua_pop(L, 1);
    seat.row = row;
    seat.table = -1;
    seat.category = category(L, box, text_field(L, "category"));
    bool aisles = lua_getfield(L, -1, "aisles") == LUA_TTABLE;
    lua_Integer next = 1;
    sandbox_charge(L, (uint64_t)count);
    for (lua_Integer i = 0; i < count; i++) {
        int n = snprintf(label, sizeof(label), "%.*s%lld", (int)name.len, name.data,
                         (long long)(first + i));
        seat.label = span_make(label, (size_t)n);
        seat.flags = 0;
        if (aisles) {
            if (lua_rawgeti(L, -1, next) == LUA_TNUMBER && lua_tointeger(L, -1) == i + 1) {
                seat.flags = CHART_AISLE_AFTER;
                next++;
            }
            lua_pop(L, 1);
        }
        (void)added(L, chart_add_seat(box->builder, &seat, &e), &e);
    }
    lua_pop(L, 1);
}

/* The row described by the table on top: {name=, section=, seats={...} or a number}. */
static void add_row(lua_State *L, struct chart_box *box, int sections, int tables)
{
    struct error e;
    error_clear(&e);
    vm_check_type(L, -1, LUA_TTABLE, "chart: a row");
    struct span section = text_field(L, "section"), name = text_field(L, "name");
    uint32_t s =
        named(L, box, sections, section.len > 0 ? section : span_of("main"), chart_add_section);
    uint32_t row = added(L, chart_add_row(box->builder, name, s, &e), &e);
    int type = lua_getfield(L, -1, "seats");
    if (type == LUA_TNUMBER && lua_isinteger(L, -1)) {
        lua_Integer count = lua_tointeger(L, -1);
        lua_pop(L, 1);
        add_numbered(L, box, row, name, count);
        return;
    }
    if (type != LUA_TTABLE) {
        luaL_error(L, "chart: row %s has no list of seats", name.data != NULL ? name.data : "");
    }
    int seats = lua_gettop(L);
    lua_Integer n = (lua_Integer)lua_rawlen(L, seats);
    sandbox_charge(L, (uint64_t)n * 4);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, seats, i);
        add_seat(L, box, tables, row);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void add_area(lua_State *L, struct chart_box *box)
{
    struct error e;
    error_clear(&e);
    vm_check_type(L, -1, LUA_TTABLE, "chart: an area");
    struct chart_area area = { .name = text_field(L, "name") };
    area.category = category(L, box, text_field(L, "category"));
    lua_getfield(L, -1, "capacity");
    lua_Integer n = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
    lua_pop(L, 1);
    if (n < 0 || n > UINT32_MAX) {
        luaL_error(L, "chart: an area needs a capacity");
    }
    area.capacity = (uint32_t)n;
    (void)added(L, chart_add_area(box->builder, &area, &e), &e);
}

/* tx:chart_put(id, {rows={...}, areas={...}}). [1] tx, [2] id, [3] spec, [4] box,
 * [5] sections, [6] tables */
int tx_chart_put(lua_State *L)
{
    (void)object_check(L, 1, OBJECT_TX);
    struct effect f = { .kind = EFFECT_CHART_PUT, .id = vm_check_span(L, 2, "the chart's id") };
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    if (store_chart(vm_store(L), f.id) != NULL) {
        return vm_refusef(L, ERR_CONFLICT, "there is a chart '%.*s' already: charts do not change",
                          (int)f.id.len, f.id.data);
    }
    struct chart_box *box = new_box(L);
    lua_newtable(L);
    lua_newtable(L);
    if (lua_getfield(L, 3, "rows") == LUA_TTABLE) {
        for (lua_Integer i = 1; lua_rawgeti(L, 7, i) != LUA_TNIL; i++) {
            add_row(L, box, 5, 6);
            lua_settop(L, 7);
        }
    }
    lua_settop(L, 6);
    if (lua_getfield(L, 3, "areas") == LUA_TTABLE) {
        for (lua_Integer i = 1; lua_rawgeti(L, 7, i) != LUA_TNIL; i++) {
            add_area(L, box);
            lua_settop(L, 7);
        }
    }
    struct error e;
    error_clear(&e);
    if (chart_builder_encode(box->builder, &box->encoded, &e) != 0) {
        vm_refuse(L, &e);
    }
    f.text = span_make((const char *)box->encoded.data, box->encoded.len);
    vm_do(L, &f);
    return 0;
}
