/* Fields and methods of seats and of places (a seat or some places of an area, as a
 * request or an order mentions them: with ticket type, count, price). */
#include "policy/lua_json.h"
#include "policy/vm.h"

static void push_order_of(lua_State *L, const struct event *ev, uint32_t seat)
{
    const struct order *order = store_seat_order(vm_store(L), ev, seat);
    if (order == NULL) {
        lua_pushnil(L);
    } else {
        object_push_order(L, order_id(order));
    }
}

static bool push_flag(lua_State *L, const struct event *ev, uint32_t seat, int flag)
{
    lua_pushboolean(L, (chart_seat_flags(ev->chart, seat) & flag) != 0);
    return true;
}

/* The rarer fields, which need the whole seat. */
static bool layout_field(lua_State *L, const struct event *ev, uint32_t number, int field)
{
    struct chart_seat seat;
    chart_seat(ev->chart, number, &seat);
    switch (field) {
    case FIELD_section:
        vm_push_span(L, chart_section_name(ev->chart, chart_row(ev->chart, seat.row).section));
        return true;
    case FIELD_position: lua_pushinteger(L, (lua_Integer)seat.position + 1); return true;
    case FIELD_x: lua_pushnumber(L, (lua_Number)seat.x); return true;
    case FIELD_y: lua_pushnumber(L, (lua_Number)seat.y); return true;
    case FIELD_alias:
        if (seat.alias.len == 0) {
            return false;
        }
        vm_push_span(L, seat.alias);
        return true;
    case FIELD_table:
        if (seat.table < 0) {
            return false;
        }
        vm_push_span(L, chart_table_name(ev->chart, (uint32_t)seat.table));
        return true;
    default: return false;
    }
}

bool seat_field(lua_State *L, const struct object *o, int field)
{
    const struct event *ev = vm_event(L, o->event);
    uint32_t n = o->number;
    switch (field) {
    case FIELD_label: vm_push_span(L, chart_label(ev->chart, n)); return true;
    case FIELD_event: object_push_event(L, ev); return true;
    case FIELD_row: object_push_row(L, o->event, chart_seat_row(ev->chart, n)); return true;
    case FIELD_category:
        vm_push_span(L, chart_category_name(ev->chart, chart_seat_category(ev->chart, n)));
        return true;
    case FIELD_accessible: return push_flag(L, ev, n, CHART_ACCESSIBLE);
    case FIELD_companion: return push_flag(L, ev, n, CHART_COMPANION);
    case FIELD_restricted: return push_flag(L, ev, n, CHART_RESTRICTED);
    case FIELD_status:
        lua_pushstring(L, seat_status_name((int)store_seat(vm_store(L), ev, n)));
        return true;
    case FIELD_order: push_order_of(L, ev, n); return true;
    case FIELD_reason: {
        struct span reason = store_seat_reason(vm_store(L), ev, n);
        if (reason.len == 0) {
            return false;
        }
        vm_push_span(L, reason);
        return true;
    }
    case FIELD_seat: object_push_seat(L, o->event, n); return true;
    case FIELD_count: lua_pushinteger(L, 1); return true;
    default: return layout_field(L, ev, n, field);
    }
}

/* seat:next(1|-1[, across]) */
static int seat_next(lua_State *L)
{
    uint32_t event, seat;
    if (!object_seat(L, 1, &event, &seat)) {
        return luaL_error(L, "seat:next needs a seat, got %s", luaL_typename(L, 1));
    }
    lua_Integer step = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, step == 1 || step == -1, 2, "1 or -1 expected");
    const struct chart *chart = vm_event(L, event)->chart;
    struct chart_row row = chart_row(chart, chart_seat_row(chart, seat));
    bool end = step == 1 ? seat + 1 == row.first + row.count : seat == row.first;
    if (!end && !lua_toboolean(L, 3)) {
        uint32_t left = step == 1 ? seat : seat - 1;
        end = (chart_seat_flags(chart, left) & CHART_AISLE_AFTER) != 0;
    }
    if (end) {
        lua_pushnil(L);
    } else {
        object_push_seat(L, event, step == 1 ? seat + 1 : seat - 1);
    }
    return 1;
}

const luaL_Reg seat_methods[] = { { "next", seat_next }, { NULL, NULL } };

/* ---- Places --------------------------------------------------------------------------- */

bool place_field(lua_State *L, int index, const struct object *o, int field)
{
    bool area = (o->number & PLACE_AREA) != 0;
    struct object base = *o; /* the seat or area it means; no id follows */
    base.number = o->number & ~PLACE_AREA;
    switch (field) {
    case FIELD_seat:
        if (area) {
            return false;
        }
        object_push_seat(L, o->event, o->number);
        return true;
    case FIELD_area:
        if (!area) {
            return false;
        }
        object_push_area(L, o->event, base.number);
        return true;
    case FIELD_count: lua_pushinteger(L, o->count); return true;
    case FIELD_price: lua_pushinteger(L, o->price); return true;
    case FIELD_type: lua_getiuservalue(L, index, 1); return true;
    case FIELD_data:
        if (lua_getiuservalue(L, index, 2) == LUA_TSTRING) {
            lua_json_decode(L, vm_to_span(L, -1));
        }
        return true;
    default: return area ? area_field(L, &base, field) : seat_field(L, &base, field);
    }
}
