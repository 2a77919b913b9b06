/* The `req` table of a command: every argument resolved against the store, so that run(tx, req)
 * sees events, orders and places, and an unknown one is NOTFOUND before any policy runs. */
#include <string.h>

#include "policy/vm.h"

/* What a bare seat label refers to: the nearest event or order argument before it. */
struct context {
    const struct event *ev;
    const struct order *order;
};

static int refuse_missing(lua_State *L, const char *what, struct span id)
{
    return vm_refusef(L, ERR_NOTFOUND, "there is no %s '%.*s'", what,
                      (int)(id.len < 128 ? id.len : 128), id.data);
}

static bool has_category(const struct event *ev, struct span name)
{
    return ev != NULL && chart_find_category(ev->chart, name) >= 0;
}

/* A category is one of the nearest event before it, or of the order's events. */
static void check_category(lua_State *L, struct span name, const struct context *c)
{
    const struct event *ev = c->ev;
    bool found = has_category(ev, name);
    for (uint32_t i = 0; c->order != NULL && i < c->order->places_count && !found; i++) {
        ev = store_event_number(vm_of(L)->store, c->order->places[i].event);
        found = has_category(ev, name);
    }
    if (ev != NULL && !found) {
        vm_refuse_category(L, ev, name);
    }
}

/* [-0, +1] one resolved value. */
static void push_value(lua_State *L, const struct call_value *v, struct context *c)
{
    struct store *s = vm_of(L)->store;
    switch (v->def->type) {
    case ARG_INT:
    case ARG_MONEY:
    case ARG_DURATION:
    case ARG_TIME: lua_pushinteger(L, v->number); break;
    case ARG_BOOL: lua_pushboolean(L, v->number != 0); break;
    case ARG_EVENT: {
        const struct event *ev = store_event(s, v->text);
        if (ev == NULL) {
            refuse_missing(L, "event", v->text);
            return;
        }
        c->ev = ev;
        c->order = NULL;
        object_push_event(L, ev);
        break;
    }
    case ARG_ORDER: {
        const struct order *o = store_order(s, v->text);
        if (o == NULL) {
            refuse_missing(L, "order", v->text);
            return;
        }
        c->ev = NULL;
        c->order = o;
        object_push_order(L, order_id(o));
        break;
    }
    case ARG_CATEGORY:
        check_category(L, v->text, c);
        vm_push_span(L, v->text);
        break;
    case ARG_CHART:
        if (store_chart(s, v->text) == NULL) {
            refuse_missing(L, "chart", v->text);
        }
        vm_push_span(L, v->text);
        break;
    default: vm_push_span(L, v->text); break;
    }
}

/* Whether two places of the list are of one ticket type. */
static bool same_type(lua_State *L, int list, uint32_t i, uint32_t k)
{
    const uint32_t at[] = { i, k };
    for (int n = 0; n < 2; n++) {
        lua_rawgeti(L, list, (lua_Integer)at[n] + 1);
        (void)lua_getiuservalue(L, -1, 1);
    }
    bool same = lua_rawequal(L, -3, -1) != 0;
    lua_pop(L, 4);
    return same;
}

static void refuse_twice(lua_State *L, const struct object *o)
{
    struct error e;
    struct span label = place_label(vm_event(L, o->event), o->number);
    error_clear(&e);
    (void)error_set(&e, ERR_BADARG, "seat %.*s is given twice", (int)label.len, label.data);
    if (o->number & PLACE_AREA) {
        error_hint(&e, "give one count for all its places of one ticket type");
    }
    vm_refuse_seat(L, &e, label);
}

/* The same seat twice is a slip of the caller, not a conflict with somebody. An area may be there
 * once for each ticket type. In pairs FROM TO a seat may be one's TO and another's FROM, and an
 * area is counted as often as it is named. `list` holds n places, which keeps the objects alive
 * while they are compared. */
static void check_twice(lua_State *L, int list, uint32_t n, bool pairs)
{
    const struct object *few[16];
    const struct object **seen = few;
    uint32_t step = pairs ? 2 : 1;
    if (n > 16) {
        seen = lua_newuserdatauv(L, n * sizeof(const struct object *), 0);
    }
    for (uint32_t i = 0; i < n; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        const struct object *o = seen[i] = lua_touserdata(L, -1);
        lua_pop(L, 1);
        bool area = (o->number & PLACE_AREA) != 0;
        for (uint32_t k = i % step; k < i && !(area && pairs); k += step) {
            if (seen[k]->number == o->number && seen[k]->event == o->event &&
                (!area || same_type(L, list, i, k))) {
                refuse_twice(L, o);
            }
        }
    }
    lua_settop(L, list);
}

/* Seats: values [i, end) of one argument. [-0, +1]: a list, or the one place. */
static void push_seats(lua_State *L, const struct call *call, size_t i, size_t end,
                       const struct context *c)
{
    const struct arg_def *def = call->values[i].def;
    lua_createtable(L, (int)(end - i), 0);
    struct place_list list = { .index = lua_gettop(L) };
    for (size_t k = i; k < end; k++) {
        const struct call_value *v = &call->values[k];
        places_resolve(L, &list, v->text, v->plain, c->ev, c->order);
    }
    if (!list.rising) {
        check_twice(L, list.index, list.n, def->pairs);
    }
    if (!def->many) {
        if (list.n != 1) {
            vm_refusef(L, ERR_BADARG, "%s: one seat is expected, not %u", def->name, list.n);
        }
        lua_rawgeti(L, list.index, 1);
        lua_remove(L, list.index);
    }
}

/* The argument's name in Lua: hyphens are underscores there. */
static void push_name(lua_State *L, const char *name)
{
    if (strchr(name, '-') == NULL) {
        lua_pushstring(L, name);
        return;
    }
    luaL_gsub(L, name, "-", "_");
}

/* A repeating argument that was not given at all is an empty list. It is the last one. */
static void push_empty_lists(lua_State *L, const struct call *call)
{
    const struct arg_def *many = NULL;
    for (size_t i = 0; i < call->def->args_count && !call->def->args[i].option; i++) {
        many = call->def->args[i].many ? &call->def->args[i] : NULL;
    }
    for (size_t i = 0; many != NULL && i < call->values_count; i++) {
        if (call->values[i].def == many) {
            many = NULL;
        }
    }
    if (many != NULL) {
        push_name(L, many->name);
        lua_newtable(L);
        lua_rawset(L, -3);
    }
}

/* How many names the request will have: a table of the right size is made once. */
static int count_names(const struct call *call)
{
    int n = 0;
    for (size_t i = 0; i < call->values_count; i++) {
        n += i == 0 || call->values[i].def != call->values[i - 1].def;
    }
    return n;
}

/* [-0, +1] the req table. */
void vm_push_request(lua_State *L)
{
    const struct policy *p = vm_of(L);
    const struct call *call = p->call;
    struct context c = { NULL, NULL };
    lua_createtable(L, 0, count_names(call));
    for (size_t i = 0; i < call->values_count;) {
        const struct arg_def *def = call->values[i].def;
        size_t end = i + 1;
        while (end < call->values_count && call->values[end].def == def) {
            end++;
        }
        push_name(L, def->name);
        if (def->type == ARG_SEAT) {
            push_seats(L, call, i, end, &c);
        } else if (def->many) {
            lua_createtable(L, (int)(end - i), 0);
            for (size_t k = i; k < end; k++) {
                push_value(L, &call->values[k], &c);
                lua_rawseti(L, -2, (lua_Integer)(k - i) + 1);
            }
        } else {
            push_value(L, &call->values[i], &c);
        }
        lua_rawset(L, -3);
        i = end;
    }
    push_empty_lists(L, call);
}
