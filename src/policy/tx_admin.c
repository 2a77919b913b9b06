/* tx: charts, events, policies, forgetting: what operators' commands need. */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "policy/history.h"
#include "policy/lua_json.h"
#include "policy/vm.h"

static void self(lua_State *L) { (void)object_check(L, 1, OBJECT_TX); }

/* ---- Events ---------------------------------------------------------------------------- */

enum event_field {
    EVENT_ID,
    EVENT_CHART,
    EVENT_ATTRIBUTES,
    EVENT_RULES,
    EVENT_CURRENCY,
    EVENT_OPEN
};
static const char *const event_names[] = { "id",       "chart", "attributes", "ruleset",
                                           "currency", "open",  NULL };

/* Reads {id=, chart=, ...} at `index` into the effect, and which were given. */
static void read_event(lua_State *L, int index, struct effect *f, const char *what)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, index, event_names, what)) >= 0; lua_pop(L, 1)) {
        switch ((enum event_field)i) {
        case EVENT_ID: f->id = vm_check_span(L, -1, "id"); break;
        case EVENT_CHART:
            f->id2 = vm_check_span(L, -1, "chart");
            f->set |= SET_CHART;
            break;
        case EVENT_ATTRIBUTES:
            f->text = vm_check_json(L, -1, "attributes");
            f->set |= SET_ATTRIBUTES;
            break;
        case EVENT_RULES:
            f->ruleset = vm_check_span(L, -1, "ruleset");
            f->set |= SET_RULESET;
            break;
        case EVENT_CURRENCY:
            f->currency = vm_check_span(L, -1, "currency");
            f->set |= SET_CURRENCY;
            break;
        case EVENT_OPEN:
            f->open = lua_toboolean(L, -1);
            f->set |= SET_OPEN;
            break;
        }
    }
}

static void check_ruleset(lua_State *L, struct span name)
{
    const struct active *a = &vm_of(L)->active;
    if (!rules_has_set(a, name)) {
        vm_refusef(L, ERR_NOTFOUND, "the policy '%s' has no ruleset '%.*s'", a->name, (int)name.len,
                   name.data);
    }
}

/* The number the store expects for the next event: one more than the newest ever. */
static int tx_event_put(lua_State *L)
{
    self(L);
    struct store *s = vm_store(L);
    struct effect f = { .kind = EFFECT_EVENT_PUT, .open = true };
    read_event(L, 2, &f, "tx:event_put");
    check_ruleset(L, f.ruleset);
    f.set = 0;
    f.number = store_next_event(s);
    vm_do(L, &f);
    object_push_event(L, store_event(s, f.id));
    return 1;
}

static int tx_event_set(lua_State *L)
{
    self(L);
    const struct event *ev = vm_check_event(L, 2);
    struct effect f = { .kind = EFFECT_EVENT_SET };
    read_event(L, 3, &f, "tx:event_set");
    if (f.set & SET_RULESET) {
        check_ruleset(L, f.ruleset);
    }
    vm_push_span(L, ev->id); /* the event moves in memory */
    f.id = vm_to_span(L, -1);
    vm_do(L, &f);
    object_push_event(L, store_event(vm_store(L), f.id));
    return 1;
}

static int tx_event_remove(lua_State *L)
{
    self(L);
    struct effect f = { .kind = EFFECT_EVENT_REMOVE };
    vm_push_span(L, vm_check_event(L, 2)->id);
    f.id = vm_to_span(L, -1);
    vm_do(L, &f);
    return 0;
}

/* ---- Orders and customers ----------------------------------------------------------------- */

static int tx_order_drop(lua_State *L)
{
    self(L);
    struct effect f = { .kind = EFFECT_ORDER_DROP };
    vm_push_span(L, order_id(object_order(L, 2)));
    f.id = vm_to_span(L, -1);
    vm_do(L, &f);
    return 0;
}

static bool count_one(void *arg, const struct order *o)
{
    (void)o;
    ++*(lua_Integer *)arg;
    return true;
}

/* tx:forget(customer[, replacement]) -> new id, number of orders */
static int tx_forget(lua_State *L)
{
    self(L);
    struct store *s = vm_store(L);
    struct effect f = { .kind = EFFECT_FORGET, .id = vm_check_span(L, 2, "customer") };
    char id[ORDER_ID_BYTES];
    if (lua_isnoneornil(L, 3)) {
        random_order_id(&vm_of(L)->random, id);
        f.id2 = span_make(id, ORDER_ID_BYTES);
    } else {
        f.id2 = vm_check_span(L, 3, "replacement");
    }
    struct order_filter filter = { .customer = f.id, .status = -1 };
    lua_Integer n = 0;
    store_orders(s, &filter, count_one, &n);
    vm_do(L, &f);
    vm_push_span(L, f.id2);
    lua_pushinteger(L, n);
    return 2;
}

/* ---- Policies -------------------------------------------------------------------------------- */

static void sha256_hex(lua_State *L, struct span bytes, char out[65])
{
    unsigned char digest[32];
    unsigned len = 0;
    if (EVP_Digest(bytes.data, bytes.len, digest, &len, EVP_sha256(), NULL) != 1) {
        luaL_error(L, "SHA-256 failed");
    }
    for (size_t i = 0; i < sizeof(digest); i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
}

/* Pushes the bundle's bytes, files in order of their names. [-0, +1] */
static struct span push_bundle(lua_State *L, int files)
{
    struct policy *p = vm_of(L);
    policy_bundle_begin(&p->scratch);
    lua_pushcfunction(L, sandbox_pairs);
    lua_pushvalue(L, files);
    lua_call(L, 1, 3);
    int step = lua_gettop(L) - 2;
    for (;;) {
        lua_pushvalue(L, step);
        lua_pushvalue(L, step + 1);
        lua_pushvalue(L, step + 2);
        lua_call(L, 2, 2);
        if (lua_isnil(L, -2)) {
            break;
        }
        policy_bundle_add(&p->scratch, vm_check_span(L, -2, "a file's name"),
                          vm_check_span(L, -1, "a file's text"));
        lua_pop(L, 1);
        lua_replace(L, step + 2);
    }
    if (p->scratch.failed) {
        vm_refusef(L, ERR_NOMEM, "no memory for the bundle");
    }
    lua_settop(L, step - 1);
    lua_pushlstring(L, (const char *)p->scratch.data, p->scratch.len);
    return vm_to_span(L, -1);
}

static int try_bundle(lua_State *L) { return vm_try_bundle(L, vm_to_span(L, 1)); }

static void refuse_bereft(lua_State *L, struct span event)
{
    struct span set = store_event(vm_store(L), event)->ruleset;
    struct error e;
    error_clear(&e);
    (void)error_set(&e, ERR_CONFLICT, "event %.*s has the rules '%.*s', which this policy lacks",
                    (int)event.len, event.data, (int)set.len, set.data);
    error_hint(&e, "keep that ruleset, or give the event others: set-event %.*s --rules ...",
               (int)event.len, event.data);
    vm_refuse(L, &e);
}

static void note_history(lua_State *L, const struct history_entry *h)
{
    struct policy *p = vm_of(L);
    history_with(vm_store(L), h, &p->scratch);
    if (p->scratch.failed) {
        vm_refusef(L, ERR_NOMEM, "no memory for the policy's history");
    }
    struct effect f = { .kind = EFFECT_RECORD_SET,
                        .id = span_of(HISTORY_RECORD),
                        .text = span_make((const char *)p->scratch.data, p->scratch.len) };
    vm_do(L, &f);
}

/* tx:policy_put({["policy.lua"]=text, ...}[, author[, restored]]) -> version. A user's own name
 * goes before the author who is named. */
static int tx_policy_put(lua_State *L)
{
    self(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct policy *p = vm_of(L);
    struct effect f = { .kind = EFFECT_POLICY_PUT, .version = 1 };
    struct policy_record newest;
    struct history_entry h = { .restored = luaL_optinteger(L, 4, -1) };
    f.text = push_bundle(L, 2);
    if (f.text.len > POLICY_BUNDLE_BYTES_MAX) {
        vm_refusef(L, ERR_TOOBIG, "the bundle has %zu bytes; at most %d are deployed", f.text.len,
                   POLICY_BUNDLE_BYTES_MAX);
    }
    lua_pushcfunction(L, try_bundle);
    lua_pushvalue(L, -2);
    int status = lua_pcall(L, 1, 2, 0);
    if (status == LUA_ERRMEM) {
        vm_refusef(L, ERR_BADARG, "%s: it ran out of memory while it was loaded",
                   vm_place_of_memory(L));
    } else if (status != LUA_OK) {
        size_t len;
        const char *why = sandbox_tostring(L, -1, &len);
        vm_refusef(L, ERR_BADARG, "%.*s", (int)len, why);
    } else if (!lua_isnil(L, -2)) {
        refuse_bereft(L, vm_to_span(L, -2));
    }
    h.name = lua_isstring(L, -1) ? vm_to_span(L, -1) : span_of(""); /* stays on the stack */
    char sha[65];
    sha256_hex(L, f.text, sha);
    f.sha256 = span_make(sha, 64);
    f.user = p->user != NULL ? p->user->name : span_make(NULL, 0);
    if (f.user.len == 0 && !lua_isnoneornil(L, 3)) {
        f.user = vm_check_span(L, 3, "the author");
    }
    if (store_policy(vm_store(L), 0, &newest)) {
        f.version = newest.version + 1;
    }
    luaL_argcheck(L, h.restored >= -1 && h.restored < f.version, 4, "no version before this one");
    vm_do(L, &f);
    h.version = f.version;
    note_history(L, &h);
    lua_pushinteger(L, f.version);
    return 1;
}

const luaL_Reg tx_admin_methods[] = {
    { "chart_put", tx_chart_put },   { "event_put", tx_event_put },
    { "event_set", tx_event_set },   { "event_remove", tx_event_remove },
    { "order_drop", tx_order_drop }, { "forget", tx_forget },
    { "policy_put", tx_policy_put }, { NULL, NULL },
};
