/* Answers as JSON text, written straight from the store: an order of a booking is rendered
 * once per request on the measured path, so no Lua table is made for it (design.md 4.3 fixes
 * the fields). Other answers go through the json library, which calls render_object() for
 * the objects inside them. */
#include "policy/vm.h"

#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "policy/lua_json.h"

/* ---- Writing fast --------------------------------------------------------------------
 *
 * An order is rendered for every booking. The generic functions of base/json.h look at each
 * key and at the byte before it; here keys are literals with their commas, copied as they are,
 * and room is made once for each place, each line, and what stands before and behind them.
 *
 * `to` is where the next byte goes, behind b->len; NULL once there is no memory. */

#define LIT(to, text)    ((uint8_t *)memcpy(to, text, sizeof(text) - 1) + sizeof(text) - 1)
/* Each byte of a text becomes six at most: \u00xx. */
#define TEXT_ROOM(bytes) (6 * (bytes))
/* Keys, quotes and numbers of one part; the longest has some 160 bytes. */
#define PART_ROOM        256

static uint8_t *make_room(struct buf *b, uint8_t *to, size_t more)
{
    b->len = (size_t)(to - b->data);
    return buf_reserve(b, more) ? b->data + b->len : NULL;
}

static inline uint8_t *room(struct buf *b, uint8_t *to, size_t more)
{
    return (size_t)(b->data + b->cap - to) >= more ? to : make_room(b, to, more);
}

/* At c - ' ': the characters that stand in a JSON string as they are; 0 for all others. */
static const char plain_json[256] = " !\0#$%&'()*+,-./0123456789:;<=>?"
                                    "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\0]^_"
                                    "`abcdefghijklmnopqrstuvwxyz{|}~";

static uint8_t *put_escaped(uint8_t *to, struct span s)
{
    struct buf room = { to, 0, TEXT_ROOM(s.len) + 2, false };
    json_put_string(&room, s);
    ASSERT(room.data == to && !room.failed);
    return to + room.len;
}

/* A JSON string; one that needs escapes takes the general way. */
static inline uint8_t *put_text(uint8_t *to, struct span s)
{
    uint8_t *at = to;
    *at++ = '"';
    for (size_t i = 0; i < s.len; i++) {
        char c = plain_json[(uint8_t)(s.data[i] - ' ')];
        if (c == 0) {
            return put_escaped(to, s);
        }
        *at++ = (uint8_t)c;
    }
    *at++ = '"';
    return at;
}

static inline uint8_t *put_number(uint8_t *to, int64_t v)
{
    if (v >= 0 && v < 10) {
        *to = (uint8_t)('0' + v);
        return to + 1;
    }
    struct buf room = { to, 0, 24, false };
    json_put_int(&room, v);
    return to + room.len;
}

static inline uint8_t *put_text_or_null(uint8_t *to, struct span s)
{
    return s.len > 0 ? put_text(to, s) : LIT(to, "null");
}

/* {"event":..,"seat":..[,"count":..][,"type":..]} */
static uint8_t *put_place(struct buf *out, uint8_t *to, const struct event *ev, uint32_t number,
                          uint32_t count, struct span type)
{
    struct span none = { NULL, 0 };
    struct span id = ev != NULL ? ev->id : none,
                label = ev != NULL ? place_label(ev, number) : none;
    to = room(out, to, PART_ROOM + TEXT_ROOM(id.len + label.len + type.len));
    if (to == NULL) {
        return NULL;
    }
    to = LIT(to, "{\"event\":");
    to = put_text_or_null(to, id);
    to = LIT(to, ",\"seat\":");
    to = put_text_or_null(to, label);
    if (number & PLACE_AREA) {
        to = LIT(to, ",\"count\":");
        to = put_number(to, count);
    }
    if (type.len > 0) {
        to = LIT(to, ",\"type\":");
        to = put_text(to, type);
    }
    return LIT(to, "}");
}

/* {"event":..,"category":..[,"type":..],"count":..,"price":..,"total":..} */
static uint8_t *put_line(struct buf *out, uint8_t *to, struct store *s, const struct order_line *l)
{
    const struct event *ev = store_event_number(s, l->event);
    struct span category = { NULL, 0 }, type = { NULL, 0 };
    if (ev != NULL) {
        category = chart_category_name(ev->chart, l->category);
    }
    if (l->type != 0) {
        type = store_name(s, l->type);
    }
    size_t texts = (ev != NULL ? ev->id.len : 0) + category.len + type.len;
    to = room(out, to, PART_ROOM + TEXT_ROOM(texts));
    if (to == NULL) {
        return NULL;
    }
    if (ev != NULL) {
        to = LIT(to, "{\"event\":");
        to = put_text(to, ev->id);
        to = LIT(to, ",\"category\":");
        to = put_text(to, category);
    } else {
        to = LIT(to, "{\"event\":null");
    }
    if (l->type != 0) {
        to = LIT(to, ",\"type\":");
        to = put_text(to, type);
    }
    to = LIT(to, ",\"count\":");
    to = put_number(to, l->count);
    to = LIT(to, ",\"price\":");
    to = put_number(to, l->each);
    to = LIT(to, ",\"total\":");
    to = put_number(to, l->total);
    return LIT(to, "}");
}

/* A comma before each but the first: the part before it has left room. */
static uint8_t *put_lines(struct buf *out, uint8_t *to, struct store *s, const struct order *o)
{
    struct order_line lines[ORDER_LINES_MAX];
    uint32_t n = order_lines(s, o, lines);
    for (uint32_t i = 0; i < n && to != NULL; i++) {
        *to = ',';
        to = put_line(out, to + (i > 0), s, &lines[i]);
    }
    return to;
}

static uint8_t *put_seats(struct buf *out, uint8_t *to, struct store *s, const struct order *o)
{
    const struct event *ev = NULL;
    for (uint32_t i = 0; i < o->places_count && to != NULL; i++) {
        const struct place *p = &o->places[i];
        if (ev == NULL || ev->number != p->event) {
            ev = store_event_number(s, p->event);
        }
        *to = ',';
        to = put_place(out, to + (i > 0), ev, p->number, p->count,
                       p->type != 0 ? store_name(s, p->type) : span_make(NULL, 0));
    }
    return to;
}

/* {"order":..,"status":..,"customer":..,"expires_at":..,"seats":[ */
static uint8_t *put_head(struct buf *out, const struct order *o)
{
    struct span id = order_id(o), customer = order_customer(o);
    if (!buf_reserve(out, PART_ROOM + TEXT_ROOM(id.len + customer.len))) {
        return NULL;
    }
    uint8_t *to = out->data + out->len;
    to = LIT(to, "{\"order\":");
    to = put_text(to, id);
    to = LIT(to, ",\"status\":");
    to = put_text(to, span_of(order_status_name(o->status)));
    to = LIT(to, ",\"customer\":");
    to = put_text(to, customer);
    to = LIT(to, ",\"expires_at\":");
    to = o->expires_ms > 0 ? put_number(to, (int64_t)o->expires_ms) : LIT(to, "null");
    return LIT(to, ",\"seats\":[");
}

/* ],"price":..,"currency":..,"metadata":..[,"index":..]} */
static uint8_t *put_tail(struct buf *out, uint8_t *to, const struct order *o, struct span currency,
                         uint64_t index)
{
    struct span metadata = order_metadata(o);
    to = room(out, to, PART_ROOM + TEXT_ROOM(currency.len) + metadata.len);
    if (to == NULL) {
        return NULL;
    }
    to = LIT(to, "],\"price\":");
    to = put_number(to, o->price);
    to = LIT(to, ",\"currency\":");
    to = put_text_or_null(to, currency);
    to = LIT(to, ",\"metadata\":");
    if (metadata.len > 0) {
        to = (uint8_t *)memcpy(to, metadata.data, metadata.len) + metadata.len;
    } else {
        to = LIT(to, "null");
    }
    if (index > 0) {
        to = LIT(to, ",\"index\":");
        to = put_number(to, (int64_t)index);
    }
    return LIT(to, "}");
}

void render_order(struct buf *out, struct store *s, const struct order *o, uint64_t index)
{
    uint8_t *to = put_head(out, o);
    to = to != NULL ? put_seats(out, to, s, o) : NULL;
    to = to != NULL ? room(out, to, PART_ROOM) : NULL;
    to = to != NULL ? put_lines(out, LIT(to, "],\"lines\":["), s, o) : NULL;
    to = to != NULL ? put_tail(out, to, o, order_currency(s, o), index) : NULL;
    if (to != NULL) {
        out->len = (size_t)(to - out->data);
    }
}

static void field_or_null(struct buf *out, const char *key, struct span text)
{
    if (text.len > 0) {
        json_field_string(out, key, text);
    } else {
        json_put_key(out, key);
        buf_put(out, "null", 4);
    }
}

/* What all areas have together. What one has sold beyond its capacity is no other's place. */
static void put_area_counts(struct buf *out, struct store *s, const struct event *ev)
{
    uint32_t n = chart_areas(ev->chart);
    int64_t free = 0, held = 0, booked = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct area_use use = store_area(s, ev, i);
        int64_t left = (int64_t)chart_area(ev->chart, i).capacity - use.held - use.booked;
        free += left > 0 ? left : 0;
        held += use.held;
        booked += use.booked;
    }
    if (n > 0) {
        json_put_key(out, "area_counts");
        buf_put(out, "{", 1);
        json_field_int(out, "free", free);
        json_field_int(out, "held", held);
        json_field_int(out, "booked", booked);
        buf_put(out, "}", 1);
    }
}

void render_event(struct buf *out, struct store *s, const struct event *ev, uint64_t index)
{
    buf_put(out, "{", 1);
    json_field_string(out, "event", ev->id);
    json_field_string(out, "status", span_of(ev->open ? "open" : "closed"));
    json_field_string(out, "chart", ev->chart_id);
    field_or_null(out, "ruleset", ev->ruleset);
    field_or_null(out, "currency", ev->currency);
    json_put_key(out, "attributes");
    if (ev->attributes.len > 0) {
        buf_put(out, ev->attributes.data, ev->attributes.len);
    } else {
        buf_put(out, "{}", 2);
    }
    json_put_key(out, "counts");
    buf_put(out, "{", 1);
    for (int i = 0; i < SEAT_STATUS_COUNT; i++) {
        json_field_int(out, seat_status_name(i), ev->counts[i]);
    }
    buf_put(out, "}", 1);
    put_area_counts(out, s, ev);
    if (index > 0) {
        json_field_int(out, "index", (int64_t)index);
    }
    buf_put(out, "}", 1);
}

/* ---- Objects inside answers ---------------------------------------------------------- */

static struct span place_type(lua_State *L, int index)
{
    struct span type = { NULL, 0 };
    if (lua_getiuservalue(L, index, 1) == LUA_TSTRING) {
        type = vm_to_span(L, -1);
    }
    lua_pop(L, 1); /* the text lives on in the object */
    return type;
}

static void render_place(struct buf *out, const struct event *ev, uint32_t number, uint32_t count,
                         struct span type)
{
    if (!buf_reserve(out, PART_ROOM)) {
        return;
    }
    uint8_t *to = put_place(out, out->data + out->len, ev, number, count, type);
    if (to != NULL) {
        out->len = (size_t)(to - out->data);
    }
}

static bool render_indexed(lua_State *L, int index, struct buf *out, uint64_t log_index)
{
    const struct object *o = lua_touserdata(L, index);
    if (lua_type(L, index) != LUA_TUSERDATA) {
        return false;
    }
    switch (o->kind) {
    case OBJECT_ORDER: render_order(out, vm_store(L), object_order(L, index), log_index); break;
    case OBJECT_EVENT: render_event(out, vm_store(L), object_event(L, index), log_index); break;
    case OBJECT_SEAT:
    case OBJECT_AREA:
    case OBJECT_PLACE: {
        (void)object_check(L, index, (enum object_kind)o->kind);
        bool place = o->kind == OBJECT_PLACE;
        render_place(out, vm_event(L, o->event),
                     o->kind == OBJECT_AREA ? o->number | PLACE_AREA : o->number, o->count,
                     place ? place_type(L, index) : span_make(NULL, 0));
        break;
    }
    case OBJECT_JSON:
        lua_getiuservalue(L, index, 1);
        buf_put(out, lua_tostring(L, -1), lua_rawlen(L, -1));
        lua_pop(L, 1);
        break;
    default: return false;
    }
    return true;
}

bool render_object(lua_State *L, int index, struct buf *out)
{
    return render_indexed(L, lua_absindex(L, index), out, 0);
}

/* ---- The answer ------------------------------------------------------------------------ */

static void note_order(struct policy *p, struct span *to, int slot, const struct object *o)
{
    memcpy(p->ids[slot], o->id, o->id_len);
    *to = span_make(p->ids[slot], o->id_len);
}

/* Orders that the remembered result will name: .order, or the first two of .orders. */
static void note_members(lua_State *L, int index, struct policy_answer *out)
{
    struct policy *p = vm_of(L);
    lua_pushliteral(L, "order");
    lua_rawget(L, index);
    const struct object *o = object_test(L, -1, OBJECT_ORDER);
    if (o != NULL) {
        note_order(p, &out->order, 0, o);
    } else if (lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) <= ID_BYTES_MAX) {
        struct span id = vm_to_span(L, -1); /* {"order": id, ...} made by the command */
        memcpy(p->ids[0], id.data, id.len);
        out->order = span_make(p->ids[0], id.len);
    }
    lua_pop(L, 1);
    lua_pushliteral(L, "orders");
    if (lua_rawget(L, index) == LUA_TTABLE && out->order.len == 0) {
        for (int i = 0; i < 2; i++) {
            lua_rawgeti(L, -1, i + 1);
            o = object_test(L, -1, OBJECT_ORDER);
            if (o != NULL) {
                note_order(p, i == 0 ? &out->order : &out->order2, i, o);
            }
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* Adds members to the JSON object that ends `out`. */
static void reopen(struct buf *out)
{
    if (out->len > 0 && out->data[out->len - 1] == '}') {
        out->len--;
    }
}

/* Whether a command's table names an index of its own. One of the future becomes the newest:
 * whoever is told an index waits for it with the next read. */
static bool own_index(lua_State *L, int index, uint64_t newest)
{
    lua_pushliteral(L, "index");
    bool has = lua_rawget(L, index) != LUA_TNIL;
    bool future = lua_isinteger(L, -1) && lua_tointeger(L, -1) > (lua_Integer)newest;
    lua_pop(L, 1);
    if (future) {
        lua_pushliteral(L, "index");
        lua_pushinteger(L, (lua_Integer)newest);
        lua_rawset(L, index);
    }
    return has;
}

void render_answer(lua_State *L, int index)
{
    struct policy *p = vm_of(L);
    struct policy_answer *out = p->out;
    uint64_t shown = vm_index_shown(p);
    index = lua_absindex(L, index);
    const struct object *o = object_test(L, index, OBJECT_ORDER);
    if (o != NULL) {
        note_order(p, &out->order, 0, o);
    }
    bool table = lua_type(L, index) == LUA_TTABLE;
    bool own = table && own_index(L, index, shown);
    if (lua_isnil(L, index)) {
        buf_put(&out->json, "{}", 2);
    } else if (!render_indexed(L, index, &out->json, shown)) {
        lua_json_encode(L, index, &out->json, render_object);
    }
    if (table) {
        note_members(L, index, out);
    }
    bool object = out->json.len > 0 && out->json.data[0] == '{';
    if (object && (lua_isnil(L, index) || (table && !own))) {
        reopen(&out->json);
        json_field_int(&out->json, "index", (int64_t)shown);
        buf_put(&out->json, "}", 1);
    }
    if (p->dry_run) {
        if (!object) { /* a list or plain value goes into a member */
            struct buf whole = BUF_INIT;
            buf_put(&whole, "{\"answer\":", 10);
            buf_put(&whole, out->json.data, out->json.len);
            buf_free(&out->json);
            out->json = whole;
        } else {
            reopen(&out->json);
        }
        rules_put_trace(L, &out->json);
        buf_put(&out->json, "}", 1);
    }
}
