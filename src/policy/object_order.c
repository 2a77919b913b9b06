/* Fields of orders. */
#include "policy/vm.h"

/* lines: places summed up by event, category, ticket type and price. */
static void push_lines(lua_State *L, const struct order *order)
{
    struct store *s = vm_store(L);
    struct order_line lines[ORDER_LINES_MAX];
    uint32_t n = order_lines(s, order, lines);
    lua_createtable(L, (int)n, 0);
    for (uint32_t i = 0; i < n; i++) {
        const struct event *ev = store_event_number(s, lines[i].event);
        lua_createtable(L, 0, 6);
        if (ev != NULL) {
            vm_push_span(L, ev->id);
            lua_setfield(L, -2, "event");
            vm_push_span(L, chart_category_name(ev->chart, lines[i].category));
            lua_setfield(L, -2, "category");
        }
        if (lines[i].type != 0) {
            vm_push_span(L, store_name(s, lines[i].type));
            lua_setfield(L, -2, "type");
        }
        lua_pushinteger(L, lines[i].count);
        lua_setfield(L, -2, "count");
        lua_pushinteger(L, lines[i].each);
        lua_setfield(L, -2, "price");
        lua_pushinteger(L, lines[i].total);
        lua_setfield(L, -2, "total");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static bool push_text(lua_State *L, struct span text)
{
    if (text.len == 0) {
        return false;
    }
    vm_push_span(L, text);
    return true;
}

static bool push_ms(lua_State *L, uint64_t ms)
{
    if (ms == 0) {
        return false;
    }
    lua_pushinteger(L, (lua_Integer)ms);
    return true;
}

bool order_field(lua_State *L, const struct object *o, int field)
{
    struct store *s = vm_store(L);
    struct span id = span_make(o->id, o->id_len);
    if (field == FIELD_id) {
        vm_push_span(L, id);
        return true;
    }
    const struct order *order = store_order(s, id);
    if (order == NULL) {
        vm_refusef(L, ERR_NOTFOUND, "there is no such order any more");
        return false;
    }
    switch (field) {
    case FIELD_customer: vm_push_span(L, order_customer(order)); return true;
    case FIELD_status: lua_pushstring(L, order_status_name(order->status)); return true;
    case FIELD_expires_at: return push_ms(L, order->expires_ms);
    case FIELD_first_held_at: return push_ms(L, order->first_held_ms);
    case FIELD_changed_at: return push_ms(L, order->changed_ms);
    case FIELD_seats: places_push_order(L, order); return true;
    case FIELD_lines: push_lines(L, order); return true;
    case FIELD_price: lua_pushinteger(L, order->price); return true;
    case FIELD_currency: return push_text(L, order_currency(s, order));
    case FIELD_metadata: return push_text(L, order_metadata(order));
    case FIELD_policy: lua_pushinteger(L, order->policy); return true;
    case FIELD_index: lua_pushinteger(L, (lua_Integer)order->index); return true;
    case FIELD_unjudged: lua_pushboolean(L, order->unjudged); return true;
    case FIELD_event: {
        const struct event *ev =
            order->places_count > 0 ? store_event_number(s, order->places[0].event) : NULL;
        if (ev == NULL) {
            return false;
        }
        object_push_event(L, ev);
        return true;
    }
    default: return false;
    }
}
