/* tx: what happens to an order after it was taken, blocks, and the policy's own data. */
#include <string.h>
#include <time.h>

#include "policy/lua_json.h"
#include "policy/vm.h"

static void self(lua_State *L) { (void)object_check(L, 1, OBJECT_TX); }

/* The order argument's id, kept where effects do not move it: in its object. */
static struct span check_id(lua_State *L, int index, const struct order **o)
{
    *o = object_order(L, index);
    if (lua_type(L, index) == LUA_TSTRING) {
        return vm_to_span(L, index);
    }
    const struct object *object = object_check(L, index, OBJECT_ORDER);
    return span_make(object->id, object->id_len);
}

static int push_order(lua_State *L, struct span id)
{
    object_push_order(L, id);
    return 1;
}

/* Asks the rules on "extend", which few have, whether a live hold may last until then. */
static void judge_extend(lua_State *L, struct span id, uint64_t until_ms)
{
    const struct order *o = store_order(vm_store(L), id);
    bool judge, price;
    if (o->status != ORDER_HELD || o->expires_ms <= vm_of(L)->now_ms) {
        return; /* the store says so */
    }
    const struct places *seats = places_of_order(L, o);
    rules_wanted(L, seats, VERB_EXTEND, &judge, &price);
    if (!judge) {
        return;
    }
    object_push_order(L, id);
    struct ask ask = { .verb = VERB_EXTEND,
                       .customer = order_customer(o),
                       .metadata = order_metadata(o),
                       .order = lua_gettop(L),
                       .seats = seats,
                       .until_ms = until_ms };
    ask.gains = places_new(L, 0);
    rules_push_ask(L, &ask);
    rules_judge(L, -1);
}

static int refuse_longer(lua_State *L, uint64_t max_ms, uint64_t end_ms)
{
    struct error e = { 0 };
    struct tm tm;
    char end[32] = "";
    time_t seconds = (time_t)(end_ms / 1000);
    (void)error_set(&e, ERR_LIMIT, "a hold lasts at most %llu seconds in all",
                    (unsigned long long)(max_ms / 1000));
    if (gmtime_r(&seconds, &tm) != NULL &&
        strftime(end, sizeof end, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0) {
        error_hint(&e, "this one until %s", end);
    }
    return vm_refuse(L, &e);
}

/* tx:extend(o, until_ms) -> o. Judged by the rules on "extend". */
static int tx_extend(lua_State *L)
{
    self(L);
    const struct order *o;
    struct span id = check_id(L, 2, &o);
    lua_Integer until = luaL_checkinteger(L, 3);
    luaL_argcheck(L, until >= 0, 3, "a time in milliseconds expected");
    for (uint32_t i = 0; i < o->places_count; i++) {
        const struct event *ev = vm_event(L, o->places[i].event);
        uint64_t max = vm_ruleset(L, ev)->hold_max_ms;
        if (o->status == ORDER_HELD && (uint64_t)until > o->first_held_ms + max) {
            refuse_longer(L, max, o->first_held_ms + max);
        }
    }
    judge_extend(L, id, (uint64_t)until);
    struct effect f = { .kind = EFFECT_EXTEND, .id = id, .until_ms = (uint64_t)until };
    vm_do(L, &f);
    return push_order(L, id);
}

/* How low the price of what is left may fall: tx:amend may have made the whole cheaper than the
 * sum of its lines, or even negative. */
static int64_t lowest(int64_t price) { return price < 0 ? price : 0; }

/* The store takes off what the given places cost by the lines. */
static void mend_price(lua_State *L, struct span id, int64_t before)
{
    const struct order *o = store_order(vm_store(L), id);
    if (o != NULL && o->price < lowest(before)) {
        struct effect f = {
            .kind = EFFECT_AMEND, .id = id, .set = SET_PRICE, .price = lowest(before)
        };
        vm_do(L, &f);
    }
}

/* tx:finish(o, "released"|"cancelled"|"expired"[, seats]) -> o */
static int do_finish(lua_State *L)
{
    self(L);
    lua_settop(L, 4);
    const struct order *o;
    struct span id = check_id(L, 2, &o);
    int how = order_status_parse(vm_check_span(L, 3, "how the order ends"));
    if (how < ORDER_RELEASED) {
        return luaL_argerror(L, 3, "\"released\", \"cancelled\" or \"expired\" expected");
    }
    struct effect f = { .kind = EFFECT_FINISH, .id = id, .code = how };
    int64_t before = o->price;
    if (!lua_isnil(L, 4)) {
        const struct event *ev =
            o->places_count > 0 ? store_event_number(vm_store(L), o->places[0].event) : NULL;
        const struct places *p = places_read(L, 4, ev);
        (void)parts_arrange(L, id, p);
        f.places = p->place;
        f.places_count = p->count;
    }
    vm_do(L, &f);
    mend_price(L, id, before);
    (void)push_order(L, id);
    rules_hook(L,
               how == ORDER_RELEASED    ? HOOK_RELEASE
               : how == ORDER_CANCELLED ? HOOK_CANCEL
                                        : HOOK_EXPIRE,
               lua_gettop(L));
    return 1;
}

static int tx_finish(lua_State *L) { return rules_atomic(L, do_finish); }

/* tx:split(o, seats) -> the new order */
static int tx_split(lua_State *L)
{
    self(L);
    lua_settop(L, 3);
    const struct order *o;
    struct span id = check_id(L, 2, &o);
    const struct event *ev =
        o->places_count > 0 ? store_event_number(vm_store(L), o->places[0].event) : NULL;
    const struct places *p = places_read(L, 3, ev);
    int64_t most = o->price - lowest(o->price);
    int64_t price = parts_arrange(L, id, p);
    char new_id[ORDER_ID_BYTES];
    random_order_id(&vm_of(L)->random, new_id);
    struct effect f = { .kind = EFFECT_SPLIT,
                        .id = id,
                        .id2 = span_make(new_id, ORDER_ID_BYTES),
                        .places = p->place,
                        .places_count = p->count,
                        .price = price < most ? price : most };
    vm_do(L, &f);
    return push_order(L, f.id2);
}

/* tx:amend(o, {metadata=, price=}) -> o */
static int tx_amend(lua_State *L)
{
    static const char *const names[] = { "metadata", "price", NULL };
    self(L);
    const struct order *o;
    struct effect f = { .kind = EFFECT_AMEND };
    f.id = check_id(L, 2, &o);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, 3, names, "tx:amend")) >= 0; lua_pop(L, 1)) {
        if (i == 0) {
            f.text = vm_check_json(L, -1, "metadata");
            f.set |= SET_METADATA;
        } else {
            f.price = vm_check_integer(L, -1, "price");
            f.set |= SET_PRICE;
        }
    }
    if (f.set != 0) {
        vm_do(L, &f);
    }
    return push_order(L, f.id);
}

static int do_block(lua_State *L, enum effect_kind kind)
{
    self(L);
    lua_settop(L, 3);
    const struct places *p = places_read(L, 2, NULL);
    struct effect f = { .kind = kind, .places = p->place, .places_count = p->count };
    if (kind == EFFECT_BLOCK && !lua_isnil(L, 3)) {
        f.text = vm_check_span(L, 3, "the reason");
    }
    vm_do(L, &f);
    return 0;
}

static int tx_block(lua_State *L) { return do_block(L, EFFECT_BLOCK); }
static int tx_unblock(lua_State *L) { return do_block(L, EFFECT_UNBLOCK); }

/* ---- The policy's own data ------------------------------------------------------------- */

/* The value on top as JSON text on the Lua stack, so that nothing leaks if a later step
 * raises. [-1, +1] */
static struct span encode(lua_State *L, const char *what)
{
    struct policy *p = vm_of(L);
    buf_clear(&p->scratch);
    lua_json_encode(L, -1, &p->scratch, NULL);
    if (p->scratch.failed || p->scratch.len > KV_VALUE_BYTES_MAX) {
        vm_refusef(L, ERR_TOOBIG, "%s: %zu bytes as JSON, at most %d are kept", what,
                   p->scratch.len, KV_VALUE_BYTES_MAX);
    }
    lua_pushlstring(L, (const char *)p->scratch.data, p->scratch.len);
    lua_replace(L, -2);
    return vm_to_span(L, -1);
}

static struct span check_key(lua_State *L, int index)
{
    struct span key = vm_check_span(L, index, "the key");
    if (key.len == 0 || key.len > KV_KEY_BYTES_MAX) {
        vm_refusef(L, ERR_BADARG, "a key has 1 to %d bytes", KV_KEY_BYTES_MAX);
    }
    return key;
}

/* tx:set(key, value|nil) */
static int tx_set(lua_State *L)
{
    self(L);
    lua_settop(L, 3);
    struct effect f = { .kind = EFFECT_KV_SET, .id = check_key(L, 2) };
    if (!lua_isnil(L, 3)) {
        f.text = encode(L, "the value");
    }
    vm_do(L, &f);
    return 0;
}

/* tx:get(key) -> value | nil */
static int tx_get(lua_State *L)
{
    self(L);
    struct span value;
    if (!store_kv(vm_store(L), vm_check_span(L, 2, "the key"), &value)) {
        lua_pushnil(L);
    } else {
        lua_json_decode(L, value);
    }
    return 1;
}

/* tx:emit(name, value) */
static int tx_emit(lua_State *L)
{
    self(L);
    lua_settop(L, 3);
    struct effect f = { .kind = EFFECT_EMIT, .id = check_key(L, 2) };
    if (lua_isnil(L, 3)) {
        f.text = span_of("null");
    } else {
        f.text = encode(L, "what is emitted");
    }
    vm_do(L, &f);
    return 0;
}

const luaL_Reg tx_order_methods[] = {
    { "extend", tx_extend }, { "finish", tx_finish }, { "split", tx_split },
    { "amend", tx_amend },   { "block", tx_block },   { "unblock", tx_unblock },
    { "set", tx_set },       { "get", tx_get },       { "emit", tx_emit },
    { NULL, NULL },
};
