/* Answers as JSON text, written straight from the store: an order of a booking is rendered
 * once per request on the measured path, so no Lua table is made for it (design.md 4.3 fixes
 * the fields). Other answers go through the json library, which calls render_object() for
 * the objects inside them. */
#include "policy/vm.h"

#include <string.h>

#include "base/json.h"
#include "policy/lua_json.h"

/* ---- Writing fast --------------------------------------------------------------------
 *
 * An order is rendered for every booking. The generic functions of base/json.h look at each
 * key and at the byte before it; here keys are literals with their commas, copied as they are. */

#define LIT(out, text) put_bytes(out, text, sizeof(text) - 1)

static inline void put_bytes(struct buf *b, const char *bytes, size_t n)
{
    if (b->cap - b->len < n && !buf_reserve(b, n)) {
        return;
    }
    memcpy(b->data + b->len, bytes, n);
    b->len += n;
}

/* At c - ' ': the characters that stand in a JSON string as they are; 0 for all others. */
static const char plain_json[256] = " !\0#$%&'()*+,-./0123456789:;<=>?"
                                    "@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\0]^_"
                                    "`abcdefghijklmnopqrstuvwxyz{|}~";

/* A JSON string; one that needs escapes takes the general way. */
static inline void put_text(struct buf *b, struct span s)
{
    if (b->cap - b->len < s.len + 2 && !buf_reserve(b, s.len + 2)) {
        return;
    }
    uint8_t *to = b->data + b->len;
    *to++ = '"';
    for (size_t i = 0; i < s.len; i++) {
        char c = plain_json[(uint8_t)(s.data[i] - ' ')];
        if (c == 0) {
            json_put_string(b, s);
            return;
        }
        *to++ = (uint8_t)c;
    }
    *to = '"';
    b->len += s.len + 2;
}

static inline void put_number(struct buf *b, int64_t v)
{
    if (v >= 0 && v < 10) {
        char digit = (char)('0' + v);
        put_bytes(b, &digit, 1);
    } else {
        json_put_int(b, v);
    }
}

/* [,]"key":text or null, the key with its punctuation given */
#define TEXT_OR_NULL(out, key, text)                                                               \
    do {                                                                                           \
        LIT(out, key);                                                                             \
        if ((text).len > 0) {                                                                      \
            put_text(out, text);                                                                   \
        } else {                                                                                   \
            LIT(out, "null");                                                                      \
        }                                                                                          \
    } while (0)

/* {"event":..,"seat":..[,"count":..][,"type":..]} */
static void put_place(struct buf *out, const struct event *ev, uint32_t number, uint32_t count,
                      struct span type)
{
    if (ev != NULL) {
        LIT(out, "{\"event\":");
        put_text(out, ev->id);
        LIT(out, ",\"seat\":");
        put_text(out, place_label(ev, number));
    } else {
        LIT(out, "{\"event\":null,\"seat\":null");
    }
    if (number & PLACE_AREA) {
        LIT(out, ",\"count\":");
        put_number(out, count);
    }
    if (type.len > 0) {
        LIT(out, ",\"type\":");
        put_text(out, type);
    }
    LIT(out, "}");
}

static void put_lines(struct buf *out, struct store *s, const struct order *o)
{
    struct order_line lines[ORDER_LINES_MAX];
    uint32_t n = order_lines(s, o, lines);
    LIT(out, ",\"lines\":[");
    for (uint32_t i = 0; i < n; i++) {
        const struct order_line *line = &lines[i];
        const struct event *ev = store_event_number(s, line->event);
        if (i > 0) {
            LIT(out, ",");
        }
        if (ev != NULL) {
            LIT(out, "{\"event\":");
            put_text(out, ev->id);
            LIT(out, ",\"category\":");
            put_text(out, chart_category_name(ev->chart, line->category));
        } else {
            LIT(out, "{\"event\":null");
        }
        if (line->type != 0) {
            LIT(out, ",\"type\":");
            put_text(out, store_name(s, line->type));
        }
        LIT(out, ",\"count\":");
        put_number(out, line->count);
        LIT(out, ",\"price\":");
        put_number(out, line->each);
        LIT(out, ",\"total\":");
        put_number(out, line->total);
        LIT(out, "}");
    }
    LIT(out, "]");
}

static void put_seats(struct buf *out, struct store *s, const struct order *o)
{
    const struct event *ev = NULL;
    LIT(out, ",\"seats\":[");
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct place *p = &o->places[i];
        if (ev == NULL || ev->number != p->event) {
            ev = store_event_number(s, p->event);
        }
        if (i > 0) {
            LIT(out, ",");
        }
        put_place(out, ev, p->number, p->count,
                  p->type != 0 ? store_name(s, p->type) : span_make(NULL, 0));
    }
    LIT(out, "]");
}

void render_order(struct buf *out, struct store *s, const struct order *o, uint64_t index)
{
    struct span currency = order_currency(s, o), metadata = order_metadata(o);
    (void)buf_reserve(out, 400 + metadata.len);
    LIT(out, "{\"order\":");
    put_text(out, order_id(o));
    LIT(out, ",\"status\":");
    put_text(out, span_of(order_status_name(o->status)));
    LIT(out, ",\"customer\":");
    put_text(out, order_customer(o));
    if (o->expires_ms > 0) {
        LIT(out, ",\"expires_at\":");
        put_number(out, (int64_t)o->expires_ms);
    } else {
        LIT(out, ",\"expires_at\":null");
    }
    put_seats(out, s, o);
    put_lines(out, s, o);
    LIT(out, ",\"price\":");
    put_number(out, o->price);
    TEXT_OR_NULL(out, ",\"currency\":", currency);
    if (metadata.len > 0) {
        LIT(out, ",\"metadata\":");
        put_bytes(out, metadata.data, metadata.len);
    } else {
        LIT(out, ",\"metadata\":null");
    }
    if (index > 0) {
        LIT(out, ",\"index\":");
        put_number(out, (int64_t)index);
    }
    LIT(out, "}");
}

void render_event(struct buf *out, const struct event *ev, uint64_t index)
{
    buf_put(out, "{", 1);
    json_field_string(out, "event", ev->id);
    json_field_string(out, "status", span_of(ev->open ? "open" : "closed"));
    json_field_string(out, "chart", ev->chart_id);
    TEXT_OR_NULL(out, ",\"rules\":", ev->ruleset);
    TEXT_OR_NULL(out, ",\"currency\":", ev->currency);
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
