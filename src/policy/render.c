/* Answers as JSON text, written straight from the store: an order of a booking is rendered
 * once per request on the measured path, so no Lua table is made for it (DESIGN 4.3 fixes
 * the fields). Other answers go through the json library, which calls render_object() for
 * the objects inside them. */
#include "policy/vm.h"

#include <string.h>

#include "base/json.h"
#include "policy/lua_json.h"

static void put_null(struct buf *out, const char *key)
{
    json_put_key(out, key);
    buf_put(out, "null", 4);
}

static void put_text_or_null(struct buf *out, const char *key, struct span text)
{
    if (text.len > 0) {
        json_field_string(out, key, text);
    } else {
        put_null(out, key);
    }
}

/* {"event":..,"seat":..[,"count":..][,"type":..]} */
static void put_place(struct buf *out, const struct event *ev, uint32_t number, uint32_t count,
                      struct span type)
{
    buf_put(out, "{", 1);
    if (ev != NULL) {
        json_field_string(out, "event", ev->id);
        json_field_string(out, "seat", place_label(ev, number));
    }
    if (number & PLACE_AREA) {
        json_field_int(out, "count", count);
    }
    if (type.len > 0) {
        json_field_string(out, "type", type);
    }
    buf_put(out, "}", 1);
}

static void put_lines(struct buf *out, struct store *s, const struct order *o)
{
    struct order_line lines[ORDER_LINES_MAX];
    uint32_t n = order_lines(s, o, lines);
    json_put_key(out, "lines");
    buf_put(out, "[", 1);
    for (uint32_t i = 0; i < n; i++) {
        const struct order_line *line = &lines[i];
        const struct event *ev = store_event_number(s, line->event);
        json_put_comma(out);
        buf_put(out, "{", 1);
        if (ev != NULL) {
            if (n > 1) {
                json_field_string(out, "event", ev->id);
            }
            json_field_string(out, "category", chart_category_name(ev->chart, line->category));
        }
        if (line->type != 0) {
            json_field_string(out, "type", store_name(s, line->type));
        }
        json_field_int(out, "count", line->count);
        json_field_int(out, "price", line->each);
        json_field_int(out, "total", line->total);
        buf_put(out, "}", 1);
    }
    buf_put(out, "]", 1);
}

void render_order(struct buf *out, struct store *s, const struct order *o, uint64_t index)
{
    buf_put(out, "{", 1);
    json_field_string(out, "order", order_id(o));
    json_field_string(out, "status", span_of(order_status_name(o->status)));
    json_field_string(out, "customer", order_customer(o));
    if (o->expires_ms > 0) {
        json_field_int(out, "expires_at", (int64_t)o->expires_ms);
    } else {
        put_null(out, "expires_at");
    }
    json_put_key(out, "seats");
    buf_put(out, "[", 1);
    const struct event *ev = NULL;
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        if (ev == NULL || ev->number != p->event) {
            ev = store_event_number(s, p->event);
        }
        json_put_comma(out);
        put_place(out, ev, p->number, p->count,
                  p->type != 0 ? store_name(s, p->type) : span_make(NULL, 0));
    }
    buf_put(out, "]", 1);
    put_lines(out, s, o);
    json_field_int(out, "price", o->price);
    put_text_or_null(out, "currency", order_currency(s, o));
    struct span metadata = order_metadata(o);
    if (metadata.len > 0) {
        json_put_key(out, "metadata");
        buf_put(out, metadata.data, metadata.len);
    } else {
        put_null(out, "metadata");
    }
    if (index > 0) {
        json_field_int(out, "index", (int64_t)index);
    }
    buf_put(out, "}", 1);
}

void render_event(struct buf *out, const struct event *ev, uint64_t index)
{
    buf_put(out, "{", 1);
    json_field_string(out, "event", ev->id);
    json_field_string(out, "status", span_of(ev->open ? "open" : "closed"));
    json_field_string(out, "chart", ev->chart_id);
    put_text_or_null(out, "rules", ev->ruleset);
    put_text_or_null(out, "currency", ev->currency);
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

static bool render_indexed(lua_State *L, int index, struct buf *out, uint64_t log_index)
{
    const struct object *o = lua_touserdata(L, index);
    if (lua_type(L, index) != LUA_TUSERDATA) {
        return false;
    }
    switch (o->kind) {
    case OBJECT_ORDER: render_order(out, vm_store(L), object_order(L, index), log_index); break;
    case OBJECT_EVENT: render_event(out, object_event(L, index), log_index); break;
    case OBJECT_SEAT:
    case OBJECT_AREA:
    case OBJECT_PLACE: {
        (void)object_check(L, index, (enum object_kind)o->kind);
        bool place = o->kind == OBJECT_PLACE;
        put_place(out, vm_event(L, o->event),
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

static bool has_index(lua_State *L, int index)
{
    lua_pushliteral(L, "index");
    bool has = lua_rawget(L, index) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

void render_answer(lua_State *L, int index)
{
    struct policy *p = vm_of(L);
    struct policy_answer *out = p->out;
    index = lua_absindex(L, index);
    const struct object *o = object_test(L, index, OBJECT_ORDER);
    if (o != NULL) {
        note_order(p, &out->order, 0, o);
    }
    if (lua_isnil(L, index)) {
        buf_put(&out->json, "{}", 2);
    } else if (!render_indexed(L, index, &out->json, p->index)) {
        lua_json_encode(L, index, &out->json, render_object);
    }
    bool table = lua_type(L, index) == LUA_TTABLE;
    if (table) {
        note_members(L, index, out);
    }
    bool object = out->json.len > 0 && out->json.data[0] == '{';
    if (object && (lua_isnil(L, index) || (table && !has_index(L, index)))) {
        reopen(&out->json);
        json_field_int(&out->json, "index", (int64_t)p->index);
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
