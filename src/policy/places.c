/* Places: from words and Lua values to (event, seat number, count) and back.
 *
 * A word names a seat of the command's event, of another one (EVENT:A1), a range, an area
 * with a count, each with a ticket type. The hot path is the plain label: one look-up in
 * the chart, no parsing. Whatever cannot be found is NOTFOUND with the nearest label. */
#include "policy/vm.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "policy/lua_json.h"

#define SHOWN(s) (int)((s).len < 64 ? (s).len : 64), (s).data != NULL ? (s).data : ""

struct span place_label(const struct event *ev, uint32_t number)
{
    return number & PLACE_AREA ? chart_area(ev->chart, number & ~PLACE_AREA).name
                               : chart_label(ev->chart, number);
}

uint32_t place_category(const struct event *ev, uint32_t number)
{
    return number & PLACE_AREA ? chart_area(ev->chart, number & ~PLACE_AREA).category
                               : chart_seat_category(ev->chart, number);
}

/* ---- Looking up labels ---------------------------------------------------------- */

static int refuse_label(lua_State *L, const struct event *ev, struct span label)
{
    struct error e;
    error_clear(&e);
    (void)error_set(&e, ERR_NOTFOUND, "event %.*s has no seat '%.*s'", SHOWN(ev->id), SHOWN(label));
    struct span near = chart_nearest(ev->chart, label);
    if (near.len > 0) {
        error_hint(&e, "did you mean %.*s?", SHOWN(near));
    }
    return vm_refuse_seat(L, &e, label);
}

int vm_refuse_category(lua_State *L, const struct event *ev, struct span name)
{
    struct error e;
    char list[ERROR_HINT_BYTES / 2] = "";
    size_t n = 0;
    for (uint32_t i = 0; i < chart_categories(ev->chart) && n < sizeof list; i++) {
        struct span one = chart_category_name(ev->chart, i);
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%.*s", i > 0 ? ", " : "", SHOWN(one));
    }
    error_clear(&e);
    (void)error_set(&e, ERR_NOTFOUND, "event %.*s has no category '%.*s'", SHOWN(ev->id),
                    SHOWN(name));
    error_hint(&e, "it has %s", list);
    return vm_refuse(L, &e);
}

/* The number of a seat or area; -1 when the event has neither. */
static int64_t find(const struct event *ev, struct span label)
{
    int64_t n = chart_find(ev->chart, label);
    if (n >= 0) {
        return n;
    }
    n = chart_find_area(ev->chart, label);
    return n < 0 ? -1 : n | PLACE_AREA;
}

/* A label among an order's own places: its event, when exactly one has it. */
static const struct event *find_in_order(lua_State *L, const struct order *o, struct span label,
                                         uint32_t *number)
{
    struct store *s = vm_store(L);
    const struct event *found = NULL, *ev = NULL;
    int64_t n = -1; /* the label in ev */
    for (uint32_t i = 0; i < o->places_count; i++) {
        if (ev == NULL || ev->number != o->places[i].event) {
            ev = store_event_number(s, o->places[i].event);
            n = ev != NULL ? find(ev, label) : -1;
        }
        if (n < 0 || (uint32_t)n != o->places[i].number) {
            continue;
        }
        if (found != NULL && found != ev) {
            vm_refusef(L, ERR_BADARG,
                       "the order has seats '%.*s' of several events: say EVENT:%.*s", SHOWN(label),
                       SHOWN(label));
        }
        found = ev;
        *number = (uint32_t)n;
    }
    return found;
}

/* The event of all of an order's places, NULL when there are several. */
static const struct event *only_event(lua_State *L, const struct order *o)
{
    for (uint32_t i = 1; i < o->places_count; i++) {
        if (o->places[i].event != o->places[0].event) {
            return NULL;
        }
    }
    return o->places_count > 0 ? store_event_number(vm_store(L), o->places[0].event) : NULL;
}

/* Finds event and number of a label; never returns without. */
static const struct event *locate(lua_State *L, struct span label, const struct event *ev,
                                  const struct order *o, bool script, uint32_t *number)
{
    if (ev == NULL && o != NULL) {
        const struct event *own = find_in_order(L, o, label, number);
        if (own != NULL) {
            return own;
        }
        ev = only_event(L, o);
    }
    if (ev == NULL && script) {
        vm_misuse(L, "seat '%.*s': of which event? Give event = ..., or the seat as an object",
                  SHOWN(label));
    }
    if (ev == NULL) {
        vm_refusef(L, ERR_BADARG, "seat '%.*s': of which event? Say EVENT:%.*s", SHOWN(label),
                   SHOWN(label));
        return NULL;
    }
    int64_t n = find(ev, label);
    if (n < 0) {
        refuse_label(L, ev, label);
    }
    *number = (uint32_t)n;
    return ev;
}

/* ---- Words -> place objects --------------------------------------------------------- */

static void append(lua_State *L, struct place_list *list, const struct place *p, struct span type,
                   struct span data)
{
    if (list->n >= ORDER_SEATS_MAX) {
        vm_refusef(L, ERR_TOOBIG, "at most %d places at once", ORDER_SEATS_MAX);
    }
    uint64_t at = (uint64_t)p->event << 32 | p->number;
    list->rising = list->n == 0 || (list->rising && at > list->last);
    list->last = at;
    object_push_place(L, p, type, data);
    lua_rawseti(L, list->index, (lua_Integer)++list->n);
}

static void append_range(lua_State *L, struct place_list *list, const struct event *ev,
                         uint32_t first, const struct seat_word *w)
{
    int64_t last = chart_find(ev->chart, w->to);
    if (last < 0) {
        refuse_label(L, ev, w->to);
    }
    if ((first & PLACE_AREA) ||
        chart_seat_row(ev->chart, first) != chart_seat_row(ev->chart, (uint32_t)last)) {
        vm_refusef(L, ERR_BADARG, "%.*s..%.*s: a range stays within one row", SHOWN(w->label),
                   SHOWN(w->to));
    }
    uint32_t low = first < (uint32_t)last ? first : (uint32_t)last;
    uint32_t high = first < (uint32_t)last ? (uint32_t)last : first;
    for (uint32_t i = low; i <= high; i++) {
        struct place p = { ev->number, i, 1, 0, 0 };
        append(L, list, &p, w->type, w->data);
    }
}

static void append_word(lua_State *L, struct place_list *list, const struct seat_word *w,
                        const struct event *ev, const struct order *o)
{
    uint32_t number = 0;
    if (w->event.len > 0) {
        ev = store_event(vm_store(L), w->event);
        if (ev == NULL) {
            vm_refusef(L, ERR_NOTFOUND, "there is no event '%.*s'", SHOWN(w->event));
        }
    }
    ev = locate(L, w->label, ev, o, list->script, &number);
    if (w->to.len > 0) {
        append_range(L, list, ev, number, w);
        return;
    }
    if (w->count > 1 && !(number & PLACE_AREA)) {
        vm_refusef(L, ERR_BADARG, "'%.*s' is a seat: a count is for areas", SHOWN(w->label));
    }
    struct place p = { ev->number, number, w->count > 0 ? w->count : 1, 0, 0 };
    append(L, list, &p, w->type, w->data);
}

void places_resolve(lua_State *L, struct place_list *list, struct span word, bool plain,
                    const struct event *ev, const struct order *o)
{
    if (plain) {
        uint32_t number = 0;
        ev = locate(L, word, ev, o, list->script, &number);
        struct place p = { ev->number, number, 1, 0, 0 };
        append(L, list, &p, span_make(NULL, 0), span_make(NULL, 0));
        return;
    }
    struct policy *p = vm_of(L);
    struct seat_word w;
    struct error e;
    error_clear(&e);
    buf_clear(&p->scratch);
    if (seat_word_parse(word, &p->scratch, &w, &e) != 0) {
        vm_refuse(L, &e);
    }
    append_word(L, list, &w, ev, o);
}

/* ---- Lua values -> places -------------------------------------------------------------- */

static struct places *places_init(struct places *p, uint32_t count, struct place *place,
                                  struct span *type)
{
    *p = (struct places){ count, false, place, type, NULL };
    memset(place, 0, count * sizeof(*place));
    memset(type, 0, count * sizeof(*type));
    return p;
}

struct places *places_new(lua_State *L, uint32_t count)
{
    size_t bytes = sizeof(struct places) + count * (sizeof(struct place) + sizeof(struct span));
    struct places *p = lua_newuserdatauv(L, bytes, 1);
    struct place *place = (struct place *)(p + 1);
    return places_init(p, count, place, (struct span *)(place + count));
}

/* The table at `texts` that keeps what places point to alive, made for the first of it: a rule may
 * take an object out of the script's list. */
static void need_texts(lua_State *L, int texts)
{
    if (lua_isnil(L, texts)) {
        lua_newtable(L);
        lua_replace(L, texts);
    }
}

/* The text on top is the type of place i. [-1, +0] */
static void keep_type(lua_State *L, struct places *out, uint32_t i, int texts)
{
    need_texts(L, texts);
    out->typed = true;
    out->type[i] = vm_to_span(L, -1);
    lua_rawseti(L, texts, (lua_Integer)i + 1);
}

/* The text on top is the data of place i, which few have. [-1, +0] */
static void keep_data(lua_State *L, struct places *out, uint32_t i, int texts)
{
    need_texts(L, texts);
    if (out->data == NULL) {
        out->data = lua_newuserdatauv(L, out->count * sizeof(*out->data), 0);
        memset(out->data, 0, out->count * sizeof(*out->data));
        lua_rawseti(L, texts, 0);
    }
    out->data[i] = vm_to_span(L, -1);
    lua_rawseti(L, texts, -(lua_Integer)i - 1);
}

/* One place from the object on top. */
static void place_of_object(lua_State *L, struct places *out, uint32_t i, int texts)
{
    const struct object *o = lua_touserdata(L, -1);
    if (o == NULL ||
        (o->kind != OBJECT_PLACE && o->kind != OBJECT_SEAT && o->kind != OBJECT_AREA)) {
        luaL_error(L, "a seat is expected, got %s",
                   o != NULL ? object_kind_name(o->kind) : luaL_typename(L, -1));
        return;
    }
    object_check_alive(L, o);
    out->place[i].event = o->event;
    out->place[i].number = o->kind == OBJECT_AREA ? o->number | PLACE_AREA : o->number;
    out->place[i].count = o->count > 0 ? o->count : 1;
    out->place[i].price = o->price;
    if (o->kind != OBJECT_PLACE) {
        return;
    }
    int top = lua_gettop(L);
    int type = lua_getiuservalue(L, top, 1);
    if (type == LUA_TSTRING) {
        keep_type(L, out, i, texts);
    }
    if (type != LUA_TNONE && lua_getiuservalue(L, top, 2) == LUA_TSTRING) {
        keep_data(L, out, i, texts);
    }
    lua_settop(L, top);
}

/* The value on top as JSON text, which stays there in its place. */
static struct span data_text(lua_State *L)
{
    struct policy *p = vm_of(L);
    buf_clear(&p->scratch);
    lua_json_encode(L, lua_gettop(L), &p->scratch, NULL);
    lua_pushlstring(L, (const char *)p->scratch.data, p->scratch.len);
    return vm_to_span(L, -1);
}

/* Replaces the table {seat=|area=, event=, type=, count=, data=} on top by a place. */
static void place_of_table(lua_State *L, const struct event *ev)
{
    static const char *const names[] = { "seat", "area", "event", "type", "count", "data", NULL };
    int table = lua_gettop(L);
    struct place p = { 0, 0, 1, 0, 0 };
    struct span label = { NULL, 0 }, type = { NULL, 0 }, data = { NULL, 0 };
    bool known = false;
    lua_getfield(L, table, "event");
    if (!lua_isnil(L, -1)) {
        ev = vm_check_event(L, -1);
    }
    if (lua_getfield(L, table, "data") != LUA_TNIL) {
        data = data_text(L);
    }
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, table, names, "a seat")) >= 0; lua_pop(L, 1)) {
        const struct object *o = lua_touserdata(L, -1);
        if (i <= 1 && o != NULL && (o->kind == OBJECT_SEAT || o->kind == OBJECT_AREA)) {
            (void)object_check(L, -1, (enum object_kind)o->kind);
            p.event = o->event;
            p.number = o->kind == OBJECT_AREA ? o->number | PLACE_AREA : o->number;
            known = true;
        } else if (i <= 1 && object_test(L, -1, OBJECT_PLACE) != NULL) {
            o = object_check(L, -1, OBJECT_PLACE);
            p.event = o->event;
            p.number = o->number;
            p.count = o->count;
            known = true;
        } else if (i <= 1) {
            label = vm_check_span(L, -1, "seat");
        } else if (i == 3) {
            type = vm_check_span(L, -1, "type");
        } else if (i == 4) {
            lua_Integer n = vm_check_integer(L, -1, "count");
            if (n < 1 || n > ORDER_SEATS_MAX) {
                vm_refusef(L, ERR_BADARG, "a count is from 1 to %d", ORDER_SEATS_MAX);
            }
            p.count = (uint32_t)n;
        }
    }
    if (!known) {
        if (label.len == 0) {
            luaL_error(L, "a seat needs 'seat' or 'area'");
        }
        p.event = locate(L, label, ev, NULL, true, &p.number)->number;
    }
    object_push_place(L, &p, type, data);
    lua_replace(L, table);
    lua_settop(L, table);
}

/* Turns a list with words and tables into a list of objects; `index` is replaced. */
static void normalise(lua_State *L, int index, const struct event *ev)
{
    lua_newtable(L);
    struct place_list list = { .index = lua_gettop(L), .script = true };
    lua_Integer total = (lua_Integer)lua_rawlen(L, index);
    for (lua_Integer i = 1; i <= total; i++) {
        int type = lua_rawgeti(L, index, i);
        if (type == LUA_TSTRING) {
            places_resolve(L, &list, vm_to_span(L, -1), false, ev, NULL);
            lua_pop(L, 1);
            continue;
        }
        if (type == LUA_TTABLE) {
            place_of_table(L, ev);
        }
        if (++list.n > ORDER_SEATS_MAX) {
            vm_refusef(L, ERR_TOOBIG, "at most %d places at once", ORDER_SEATS_MAX);
        }
        lua_rawseti(L, list.index, list.n);
    }
    lua_replace(L, index);
}

static bool all_objects(lua_State *L, int index, lua_Integer n)
{
    bool objects = true;
    for (lua_Integer i = 1; i <= n && objects; i++) {
        objects = lua_rawgeti(L, index, i) == LUA_TUSERDATA;
        lua_pop(L, 1);
    }
    return objects;
}

struct places *places_read(lua_State *L, int index, const struct event *ev)
{
    return places_read_into(L, index, ev, NULL);
}

struct places *places_read_into(lua_State *L, int index, const struct event *ev,
                                struct places_room *room)
{
    index = lua_absindex(L, index);
    int type = lua_type(L, index);
    if (type == LUA_TUSERDATA || type == LUA_TSTRING) {
        lua_createtable(L, 1, 0); /* one seat is a list of one */
        lua_pushvalue(L, index);
        lua_rawseti(L, -2, 1);
        lua_replace(L, index);
    } else if (type != LUA_TTABLE) {
        luaL_error(L, "seats must be a list, not %s", luaL_typename(L, index));
    }
    lua_Integer n = (lua_Integer)lua_rawlen(L, index);
    if (!all_objects(L, index, n)) {
        normalise(L, index, ev);
        n = (lua_Integer)lua_rawlen(L, index);
    }
    if (n == 0) {
        vm_refusef(L, ERR_BADARG, "no seats are given");
    }
    if (n > ORDER_SEATS_MAX) {
        vm_refusef(L, ERR_TOOBIG, "at most %d places at once", ORDER_SEATS_MAX);
    }
    bool own = room == NULL || n > PLACES_FEW;
    struct places *p = own ? places_new(L, (uint32_t)n)
                           : places_init(&room->places, (uint32_t)n, room->place, room->type);
    lua_pushnil(L);
    int texts = lua_gettop(L);
    for (uint32_t i = 0; i < (uint32_t)n; i++) {
        lua_rawgeti(L, index, (lua_Integer)i + 1);
        place_of_object(L, p, i, texts);
        lua_pop(L, 1);
    }
    if (own) {
        lua_setiuservalue(L, -2, 1);
    }
    return p;
}

void places_push(lua_State *L, const struct places *p)
{
    lua_createtable(L, (int)p->count, 0);
    for (uint32_t i = 0; i < p->count; i++) {
        object_push_place(L, &p->place[i], p->type[i], place_data(p, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

void places_push_order(lua_State *L, const struct order *o)
{
    struct store *s = vm_store(L);
    lua_createtable(L, o->places_count, 0);
    for (uint32_t i = 0; i < o->places_count; i++) {
        struct span type = { NULL, 0 };
        if (o->places[i].type != 0) {
            type = store_name(s, o->places[i].type);
        }
        object_push_place(L, &o->places[i], type, span_make(NULL, 0));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

struct places *places_of_order(lua_State *L, const struct order *o)
{
    if (o->places_count == 0) {
        return places_new(L, 0);
    }
    places_push_order(L, o);
    struct places *p = places_read(L, -1, NULL);
    lua_remove(L, -2);
    return p;
}
