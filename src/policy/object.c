/* Objects that scripts see: events, rows, seats, areas, places, orders.
 *
 * An object is a name (kind, event number, seat number or order id) plus the epoch of the
 * call that made it; each access looks into the store again, so it always tells the present
 * and can never dangle. One object of a name exists per call, so that `==` and use as a
 * table key work; places and orders are the exception (one per mention): they are compared by
 * value, and are no keys.
 *
 * O1 an object of an earlier call raises on any use.
 * O2 objects cannot be written to, and their metatables not be reached. */
#include <string.h>

#include "policy/lua_json.h"
#include "policy/vm.h"

/* More cached objects than this are not carried over into the next call. */
#define CACHE_KEPT 4096

static const char *const kind_names[OBJECT_KINDS] = { "tx",   "event", "row",   "seat",
                                                      "area", "place", "order", "json" };

const char *object_kind_name(int kind) { return kind_names[kind]; }

void objects_begin(struct policy *p) { p->epoch++; }

/* ---- Making -------------------------------------------------------------------- */

static struct object *make(lua_State *L, enum object_kind kind, size_t id_len, int values)
{
    struct policy *p = vm_of(L);
    struct object *o = lua_newuserdatauv(L, sizeof(*o) + id_len, values);
    memset(o, 0, sizeof(*o));
    o->epoch = p->epoch;
    o->kind = (uint8_t)kind;
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->meta[kind]);
    lua_setmetatable(L, -2);
    return o;
}

/* [-0, +1] the cache; emptied when it has grown too big. */
static void push_cache(lua_State *L)
{
    struct policy *p = vm_of(L);
    (void)vm_store(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->objects);
    if (p->objects_count > CACHE_KEPT && p->objects_epoch != p->epoch) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawseti(L, LUA_REGISTRYINDEX, p->objects);
        p->objects_count = 0;
    }
    p->objects_epoch = p->epoch;
}

/* One object per (kind, event, number) and call. [-0, +1] */
static void push_named(lua_State *L, enum object_kind kind, uint32_t event, uint32_t number)
{
    struct policy *p = vm_of(L);
    lua_Integer key =
        (lua_Integer)((uint64_t)kind << 56 | (uint64_t)event << 24 | (number & 0xffffffu));
    push_cache(L);
    int found = lua_rawgeti(L, -1, key);
    if (found == LUA_TUSERDATA &&
        ((const struct object *)lua_touserdata(L, -1))->epoch == p->epoch) {
        lua_remove(L, -2);
        return;
    }
    lua_pop(L, 1);
    struct object *o = make(L, kind, 0, 0);
    o->event = event;
    o->number = number;
    o->count = 1;
    p->objects_count += found == LUA_TNIL;
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, key);
    lua_remove(L, -2);
}

void object_push_event(lua_State *L, const struct event *ev)
{
    push_named(L, OBJECT_EVENT, ev->number, 0);
}

void object_push_row(lua_State *L, uint32_t event, uint32_t row)
{
    push_named(L, OBJECT_ROW, event, row);
}

void object_push_seat(lua_State *L, uint32_t event, uint32_t seat)
{
    push_named(L, OBJECT_SEAT, event, seat);
}

void object_push_area(lua_State *L, uint32_t event, uint32_t area)
{
    push_named(L, OBJECT_AREA, event, area);
}

void object_push_place(lua_State *L, const struct place *place, struct span type, struct span data)
{
    (void)vm_store(L);
    struct object *o = make(L, OBJECT_PLACE, 0, data.len > 0 ? 2 : type.len > 0 ? 1 : 0);
    o->event = place->event;
    o->number = place->number;
    o->count = place->count;
    o->price = place->price;
    if (type.len > 0) {
        vm_push_span(L, type);
        lua_setiuservalue(L, -2, 1);
    }
    if (data.len > 0) {
        vm_push_span(L, data);
        lua_setiuservalue(L, -2, 2);
    }
}

/* Orders are not cached: a booking makes one, and `==` compares their ids. */
void object_push_order(lua_State *L, struct span id)
{
    (void)vm_store(L);
    struct object *o = make(L, OBJECT_ORDER, id.len, 0);
    o->id_len = (uint8_t)id.len;
    memcpy(o->id, id.data, id.len);
}

void object_push_json(lua_State *L, const struct buf *text)
{
    (void)make(L, OBJECT_JSON, 0, 1);
    lua_pushlstring(L, text->data != NULL ? (const char *)text->data : "", text->len);
    lua_setiuservalue(L, -2, 1);
}

/* ---- Checking -------------------------------------------------------------------- */

struct object *object_test(lua_State *L, int index, enum object_kind kind)
{
    if (lua_type(L, index) != LUA_TUSERDATA) {
        return NULL;
    }
    struct object *o = lua_touserdata(L, index);
    return o->kind == kind ? o : NULL;
}

/* O1 */
void object_check_alive(lua_State *L, const struct object *o)
{
    const struct policy *p = vm_of(L);
    if (!p->in_call || (o->epoch != p->epoch && o->kind != OBJECT_TX)) {
        luaL_error(L, "this %s is used after the call it belongs to has ended",
                   kind_names[o->kind]);
    }
}

struct object *object_check(lua_State *L, int index, enum object_kind kind)
{
    struct object *o = object_test(L, index, kind);
    if (o == NULL) {
        const char *got = lua_type(L, index) == LUA_TUSERDATA
                              ? kind_names[((struct object *)lua_touserdata(L, index))->kind]
                              : luaL_typename(L, index);
        luaL_error(L, "%s expected, got %s", kind_names[kind], got);
        return NULL;
    }
    object_check_alive(L, o);
    return o;
}

const struct event *vm_event(lua_State *L, uint32_t number)
{
    const struct event *ev = store_event_number(vm_store(L), number);
    if (ev == NULL) {
        vm_refusef(L, ERR_NOTFOUND, "the event has been removed");
    }
    return ev;
}

const struct event *object_event(lua_State *L, int index)
{
    return vm_event(L, object_check(L, index, OBJECT_EVENT)->event);
}

const struct event *vm_check_event(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TSTRING) {
        struct span id = vm_to_span(L, index);
        const struct event *ev = store_event(vm_store(L), id);
        if (ev == NULL) {
            vm_refusef(L, ERR_NOTFOUND, "there is no event '%.*s'", (int)id.len, id.data);
        }
        return ev;
    }
    return object_event(L, index);
}

const struct order *object_order(lua_State *L, int index)
{
    struct span id;
    if (lua_type(L, index) == LUA_TSTRING) {
        id = vm_to_span(L, index);
    } else {
        const struct object *o = object_check(L, index, OBJECT_ORDER);
        id = span_make(o->id, o->id_len);
    }
    const struct order *order = store_order(vm_store(L), id);
    if (order == NULL) {
        vm_refusef(L, ERR_NOTFOUND, "there is no such order");
    }
    return order;
}

bool object_place(lua_State *L, int index, uint32_t *event, uint32_t *number)
{
    static const enum object_kind kinds[] = { OBJECT_SEAT, OBJECT_PLACE, OBJECT_AREA };
    const struct object *o = NULL;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && o == NULL; i++) {
        o = object_test(L, index, kinds[i]);
    }
    if (o == NULL) {
        return false;
    }
    object_check_alive(L, o);
    *event = o->event;
    *number = o->kind == OBJECT_AREA ? o->number | PLACE_AREA : o->number;
    return true;
}

bool object_seat(lua_State *L, int index, uint32_t *event, uint32_t *seat)
{
    return object_place(L, index, event, seat) && !(*seat & PLACE_AREA);
}

/* ---- Metatables -------------------------------------------------------------------- */

static bool field_of(lua_State *L, const struct object *o, int field)
{
    switch (o->kind) {
    case OBJECT_TX: return tx_field(L, field);
    case OBJECT_EVENT: return event_field(L, o, field);
    case OBJECT_ROW: return row_field(L, o, field);
    case OBJECT_SEAT: return seat_field(L, o, field);
    case OBJECT_AREA: return area_field(L, o, field);
    case OBJECT_PLACE: return place_field(L, 1, o, field);
    case OBJECT_ORDER: return order_field(L, o, field);
    default: return false;
    }
}

/* object[key]; upvalue 1: name -> field number or method. */
static int object_index(lua_State *L)
{
    const struct object *o = lua_touserdata(L, 1);
    if (o == NULL || lua_type(L, 1) != LUA_TUSERDATA) {
        return luaL_error(L, "object expected");
    }
    lua_pushvalue(L, 2);
    int type = lua_rawget(L, lua_upvalueindex(1));
    if (type == LUA_TFUNCTION) {
        return 1;
    }
    object_check_alive(L, o);
    if (type == LUA_TNUMBER) {
        if (!field_of(L, o, (int)lua_tointeger(L, -1))) {
            lua_pushnil(L);
        }
        return 1;
    }
    if (o->kind == OBJECT_ROW && lua_isinteger(L, 2)) {
        return row_index(L);
    }
    if (lua_type(L, 2) == LUA_TSTRING) {
        return luaL_error(L, "%s has no field '%s'", kind_names[o->kind], lua_tostring(L, 2));
    }
    return luaL_error(L, "%s has no such field", kind_names[o->kind]);
}

/* tx[key] where `key` is no method. [1] is the table of methods that did not have it. */
static int tx_index(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->tx);
    lua_replace(L, 1);
    return object_index(L);
}

static int object_newindex(lua_State *L)
{
    return luaL_error(L, "a %s is read-only",
                      kind_names[((struct object *)lua_touserdata(L, 1))->kind]);
}

/* Places are equal when they mean the same seats, orders when they have the same id; all
 * others are one per name. */
static int object_eq(lua_State *L)
{
    const struct object *a = lua_touserdata(L, 1), *b = lua_touserdata(L, 2);
    bool same = lua_type(L, 1) == LUA_TUSERDATA && lua_type(L, 2) == LUA_TUSERDATA &&
                a->kind == b->kind && a->epoch == b->epoch && a->event == b->event &&
                a->number == b->number && a->count == b->count && a->id_len == b->id_len &&
                memcmp(a->id, b->id, a->id_len) == 0;
    lua_pushboolean(L, same);
    return 1;
}

static int object_len(lua_State *L)
{
    const struct object *o = object_check(L, 1, OBJECT_ROW);
    lua_pushinteger(L, chart_row(vm_event(L, o->event)->chart, o->number).count);
    return 1;
}

static int object_tostring(lua_State *L)
{
    const struct object *o = lua_touserdata(L, 1);
    const struct policy *p = vm_of(L);
    bool alive = p->in_call && o->epoch == p->epoch;
    const struct event *ev = alive && o->kind != OBJECT_ORDER && o->kind != OBJECT_TX
                                 ? store_event_number(p->store, o->event)
                                 : NULL;
    struct span text = span_of("");
    if (o->kind == OBJECT_ORDER) {
        text = span_make(o->id, o->id_len);
    } else if (ev != NULL && o->kind == OBJECT_EVENT) {
        text = ev->id;
    } else if (ev != NULL && o->kind == OBJECT_ROW) {
        text = chart_row(ev->chart, o->number).name;
    } else if (ev != NULL && o->kind != OBJECT_JSON) {
        text = place_label(ev, o->kind == OBJECT_AREA ? o->number | PLACE_AREA : o->number);
    }
    lua_pushstring(L, kind_names[o->kind]);
    if (text.len > 0) {
        lua_pushliteral(L, " ");
        vm_push_span(L, text);
        lua_concat(L, 3);
    }
    return 1;
}

/* Adds the methods to the table on top. */
static void add_methods(lua_State *L, const luaL_Reg *methods)
{
    for (; methods != NULL && methods->name != NULL; methods++) {
        lua_pushcfunction(L, methods->func);
        lua_setfield(L, -2, methods->name);
    }
}

static void push_names(lua_State *L, int kind)
{
    static const char *const names[] = { "",
#define X(n) #n,
                                         FIELD_MAP(X)
#undef X
    };
    lua_newtable(L);
    for (int i = 1; i < (int)(sizeof(names) / sizeof(names[0])); i++) {
        lua_pushinteger(L, i);
        lua_setfield(L, -2, names[i]);
    }
    if (kind == OBJECT_EVENT) {
        add_methods(L, event_methods);
    } else if (kind == OBJECT_SEAT || kind == OBJECT_PLACE) {
        add_methods(L, seat_methods);
    }
}

/* [-0, +1] what __index of a kind is. There is one tx, so its methods can be a table, which the
 * VM looks into without a call: every command asks for one. */
static void push_index(lua_State *L, int kind)
{
    push_names(L, kind);
    if (kind != OBJECT_TX) {
        lua_pushcclosure(L, object_index, 1);
        return;
    }
    lua_newtable(L);
    add_methods(L, tx_read_methods);
    add_methods(L, tx_write_methods);
    add_methods(L, tx_order_methods);
    add_methods(L, tx_admin_methods);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, tx_index, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    lua_remove(L, -2);
}

void objects_open(lua_State *L)
{
    struct policy *p = vm_of(L);
    for (int kind = 0; kind < OBJECT_KINDS; kind++) {
        lua_createtable(L, 0, 8);
        push_index(L, kind);
        lua_setfield(L, -2, "__index");
        lua_pushcfunction(L, object_newindex);
        lua_setfield(L, -2, "__newindex");
        lua_pushcfunction(L, object_tostring);
        lua_setfield(L, -2, "__tostring");
        lua_pushstring(L, kind_names[kind]);
        lua_setfield(L, -2, "__name");
        lua_pushboolean(L, 0); /* O2 */
        lua_setfield(L, -2, "__metatable");
        if (kind == OBJECT_PLACE || kind == OBJECT_ORDER) {
            lua_pushcfunction(L, object_eq);
            lua_setfield(L, -2, "__eq");
        }
        if (kind == OBJECT_ROW) {
            lua_pushcfunction(L, object_len);
            lua_setfield(L, -2, "__len");
        }
        p->meta[kind] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_newtable(L);
    p->objects = luaL_ref(L, LUA_REGISTRYINDEX);
    (void)make(L, OBJECT_TX, 0, 0);
    p->tx = luaL_ref(L, LUA_REGISTRYINDEX);
}
