/* See test_vm.h. The host is an ordinary Lua state with all its libraries; the policy runs in
 * its own sandboxed state, exactly as on a node, over an ordinary store.
 *
 * Everything that must outlive an error of the host's Lua (a longjmp) belongs to a userdata
 * with __gc. Between store_group_begin and store_group_commit nothing of the host is called. */
#include "policy/test_vm.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/text.h"
#include "policy/bundle_files.h"
#include "policy/lua_json.h"
#include "policy/policy.h"

#define VM_NAME    "usher.house.vm"
#define STORE_NAME "usher.house.store"
#define ROLES_MAX  32

struct vm_box {
    struct policy *policy;
    struct registry *registry;
};

struct store_box {
    struct store *store;
    uint64_t index;
    struct call call;
    struct policy_answer answer;
    struct buf effects, scratch;
    lua_Integer expired;
};

static struct vm_box *vm_check(lua_State *L, int index)
{
    struct vm_box *b = luaL_checkudata(L, index, VM_NAME);
    if (b->policy == NULL) {
        luaL_error(L, "this VM is closed");
    }
    return b;
}

static struct store_box *store_check_box(lua_State *L)
{
    struct store_box *b = luaL_checkudata(L, 1, STORE_NAME);
    if (b->store == NULL) {
        luaL_error(L, "this store is closed");
    }
    return b;
}

static struct span check_span(lua_State *L, int index)
{
    size_t len;
    const char *s = luaL_checklstring(L, index, &len);
    return span_make(s, len);
}

static void push_span(lua_State *L, struct span s)
{
    lua_pushlstring(L, s.data != NULL ? s.data : "", s.len);
}

static int failed(lua_State *L, const struct error *e)
{
    lua_pushnil(L);
    lua_pushstring(L, e->message);
    lua_pushstring(L, e->hint);
    return 3;
}

/* ---- The VM ---------------------------------------------------------------------------- */

static int core_vm(lua_State *L)
{
    struct error e;
    error_clear(&e);
    struct vm_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    memset(b, 0, sizeof *b);
    luaL_setmetatable(L, VM_NAME);
    struct policy_options o = { .seed = { 1, 2 }, .lua_dir = getenv("USHER_LUA") };
    b->registry = registry_new();
    if (b->registry == NULL || policy_new(&o, b->registry, &b->policy, &e) != 0) {
        return luaL_error(L, "the policy VM does not start: %s", e.message);
    }
    return 1;
}

static int vm_gc(lua_State *L)
{
    struct vm_box *b = luaL_checkudata(L, 1, VM_NAME);
    policy_free(b->policy);
    registry_free(b->registry);
    b->policy = NULL;
    b->registry = NULL;
    return 0;
}

static int vm_load(lua_State *L)
{
    struct vm_box *b = vm_check(L, 1);
    struct error e;
    error_clear(&e);
    struct span bundle = { NULL, 0 };
    if (!lua_isnoneornil(L, 2)) {
        bundle = check_span(L, 2);
    }
    lua_Integer version = luaL_optinteger(L, 3, 0);
    luaL_argcheck(L, version >= 0 && version <= UINT32_MAX, 3, "a version is expected");
    if (policy_load(b->policy, (uint32_t)version, bundle, &e) != 0) {
        return failed(L, &e);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int vm_seed(lua_State *L)
{
    struct vm_box *b = vm_check(L, 1);
    uint64_t seed[2] = { (uint64_t)luaL_checkinteger(L, 2), 0x75736865722e7473ull };
    policy_reseed(b->policy, seed);
    return 0;
}

static const luaL_Reg vm_methods[] = {
    { "load", vm_load }, { "seed", vm_seed }, { "__gc", vm_gc }, { NULL, NULL }
};

/* ---- The store ---------------------------------------------------------------------------- */

static int core_store(lua_State *L)
{
    struct store_box *b = lua_newuserdatauv(L, sizeof *b, 0);
    memset(b, 0, sizeof *b);
    luaL_setmetatable(L, STORE_NAME);
    b->store = store_new();
    if (b->store == NULL) {
        return luaL_error(L, "no memory for a store");
    }
    return 1;
}

static int store_gc(lua_State *L)
{
    struct store_box *b = luaL_checkudata(L, 1, STORE_NAME);
    call_free(&b->call);
    policy_answer_free(&b->answer);
    buf_free(&b->effects);
    buf_free(&b->scratch);
    if (b->store != NULL) {
        store_free(b->store);
    }
    memset(b, 0, sizeof *b);
    return 0;
}

/* The list of words at `index` as spans; they live as long as the list. [-0, +1] */
static struct span *check_words(lua_State *L, int index, size_t *count)
{
    luaL_checktype(L, index, LUA_TTABLE);
    lua_Unsigned n = lua_rawlen(L, index);
    struct span *words = lua_newuserdatauv(L, (n + 1) * sizeof *words, 0);
    for (lua_Unsigned i = 0; i < n; i++) {
        size_t len;
        if (lua_rawgeti(L, index, (lua_Integer)i + 1) != LUA_TSTRING) {
            luaL_error(L, "word %d of the command is a %s, not a string", (int)i + 1,
                       luaL_typename(L, -1));
        }
        const char *text = lua_tolstring(L, -1, &len);
        words[i] = span_make(text, len);
        lua_pop(L, 1);
    }
    *count = (size_t)n;
    return words;
}

struct user_box {
    struct policy_user user;
    const char *roles[ROLES_MAX + 1];
};

/* {name=, access=, roles=} at `index`; strings live as long as the table. [-0, +1] */
static struct policy_user *check_user(lua_State *L, int index)
{
    struct user_box *u = lua_newuserdatauv(L, sizeof *u, 0);
    memset(u, 0, sizeof *u);
    u->user = (struct policy_user){ .access = ACCESS_ADMIN, .roles = u->roles };
    if (lua_isnoneornil(L, index)) {
        return &u->user;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    if (lua_getfield(L, index, "name") == LUA_TSTRING) {
        u->user.name = span_of(lua_tostring(L, -1));
    }
    if (lua_getfield(L, index, "access") == LUA_TSTRING) {
        u->user.access = access_parse(span_of(lua_tostring(L, -1)));
        if (u->user.access < 0) {
            luaL_error(L,
                       "there is no access level '%s'; there are public, client, operator, admin",
                       lua_tostring(L, -1));
        }
    }
    if (lua_getfield(L, index, "roles") == LUA_TTABLE) {
        int roles = lua_gettop(L);
        for (int i = 0; lua_rawgeti(L, roles, i + 1) == LUA_TSTRING; i++) {
            luaL_argcheck(L, i < ROLES_MAX, index, "too many roles");
            u->roles[i] = lua_tostring(L, -1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    lua_pop(L, 3);
    return &u->user;
}

static void begin(struct store_box *b, uint64_t now_ms)
{
    buf_clear(&b->effects);
    store_group_begin(b->store, now_ms, ++b->index);
}

static void end(struct store_box *b)
{
    store_group_seal(b->store);
    store_group_commit(b->store);
}

/* As the service carries one request out, in an entry of its own. */
static void evaluate(struct store_box *b, struct policy *p, const struct policy_user *user,
                     uint64_t now_ms)
{
    const struct call *c = &b->call;
    if (user->access < c->def->access) {
        b->answer.code = error_set(&b->answer.error, ERR_NOPERM, "`%s` needs the access level %s",
                                   c->def->name, access_name(c->def->access));
        buf_clear(&b->answer.fields);
    } else if (c->def->read != READ_NONE) {
        policy_evaluate(p, b->store, c, user, now_ms, b->index, &b->answer);
    } else {
        begin(b, now_ms);
        store_tx_begin(b->store);
        policy_evaluate(p, b->store, c, user, now_ms, b->index, &b->answer);
        if (b->answer.code == 0 && !c->dry_run) {
            struct span effects = store_tx_effects(b->store);
            buf_put(&b->effects, effects.data, effects.len);
        }
        store_tx_end(b->store);
        end(b);
    }
}

static int push_answer(lua_State *L, const struct policy_answer *a)
{
    lua_pushboolean(L, a->code == 0);
    if (a->code == 0) {
        push_span(L, span_make((const char *)a->json.data, a->json.len));
        push_span(L, a->order);
        push_span(L, a->order2);
        return 4;
    }
    lua_pushstring(L, error_wire(a->code));
    lua_pushstring(L, a->error.message);
    lua_pushstring(L, a->error.hint);
    push_span(L, span_make((const char *)a->fields.data, a->fields.len));
    return 5;
}

static int store_run(lua_State *L)
{
    struct store_box *b = store_check_box(L);
    struct vm_box *vm = vm_check(L, 2);
    lua_Integer now_ms = luaL_checkinteger(L, 4);
    size_t count;
    const struct span *words = check_words(L, 3, &count);
    const struct policy_user *user = check_user(L, 5);
    struct error e;
    error_clear(&e);
    if (call_parse(vm->registry, count, words, &b->call, &e) != 0) {
        b->answer.code = e.code;
        b->answer.error = e;
        buf_clear(&b->answer.fields);
    } else {
        evaluate(b, vm->policy, user, (uint64_t)now_ms);
    }
    return push_answer(L, &b->answer);
}

static bool expired(void *arg, const char *command, struct span effects)
{
    struct store_box *b = arg;
    b->expired += strcmp(command, POLICY_EXPIRE) == 0;
    buf_put(&b->effects, effects.data, effects.len);
    return true;
}

static int store_expire(lua_State *L)
{
    struct store_box *b = store_check_box(L);
    struct vm_box *vm = vm_check(L, 2);
    uint64_t now_ms = (uint64_t)luaL_checkinteger(L, 3);
    size_t some;
    b->expired = 0;
    do {
        begin(b, now_ms);
        some = policy_expire(vm->policy, b->store, now_ms, b->index, 256, expired, b);
        end(b);
    } while (some > 0); /* a hook may have made holds that are over already */
    struct error e;
    if (policy_failed(vm->policy, &e)) {
        return luaL_error(L, "%s", e.message);
    }
    lua_pushinteger(L, b->expired);
    return 1;
}

static int store_record_policy(lua_State *L)
{
    struct store_box *b = store_check_box(L);
    struct effect f = { .kind = EFFECT_POLICY_PUT,
                        .text = check_span(L, 2),
                        .version = (uint32_t)luaL_checkinteger(L, 3),
                        .user = check_span(L, 5),
                        .sha256 = check_span(L, 6) };
    struct error e;
    error_clear(&e);
    uint64_t now_ms = (uint64_t)luaL_checkinteger(L, 4);
    begin(b, now_ms);
    store_tx_begin(b->store);
    int rc = store_do(b->store, &f, &e);
    if (rc != 0) {
        store_tx_undo(b->store);
    } else {
        store_tx_end(b->store);
    }
    end(b);
    if (rc != 0) {
        return failed(L, &e);
    }
    lua_pushboolean(L, 1);
    return 1;
}

static int store_emits(lua_State *L)
{
    struct store_box *b = store_check_box(L);
    struct reader r;
    struct effect f;
    struct error e;
    error_clear(&e);
    reader_init(&r, b->effects.data, b->effects.len);
    lua_newtable(L);
    lua_Integer n = 0;
    while (reader_left(&r) > 0 && effect_decode(&r, &f, &b->scratch, &e) == 0) {
        if (f.kind == EFFECT_EMIT) {
            lua_createtable(L, 0, 2);
            push_span(L, f.id);
            lua_setfield(L, -2, "name");
            push_span(L, f.text);
            lua_setfield(L, -2, "json");
            lua_rawseti(L, -2, ++n);
        }
    }
    return 1;
}

static int store_check_all(lua_State *L)
{
    struct store_box *b = store_check_box(L);
    struct error e;
    error_clear(&e);
    if (store_check(b->store, &e) != 0) {
        return failed(L, &e);
    }
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- Looking ------------------------------------------------------------------------------- */

static const struct event *check_event(lua_State *L, const struct store_box *b)
{
    const struct event *ev = store_event_number(b->store, (uint32_t)luaL_checkinteger(L, 2));
    luaL_argcheck(L, ev != NULL, 2, "there is no such event (any more)");
    return ev;
}

static uint32_t check_seat(lua_State *L, const struct event *ev)
{
    lua_Integer n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, n >= 0 && n < (lua_Integer)chart_seats(ev->chart), 3, "no such seat");
    return (uint32_t)n;
}

static int store_status(lua_State *L)
{
    const struct store_box *b = store_check_box(L);
    const struct event *ev = check_event(L, b);
    lua_pushstring(L, seat_status_name((int)store_seat(b->store, ev, check_seat(L, ev))));
    return 1;
}

static int store_owner(lua_State *L)
{
    const struct store_box *b = store_check_box(L);
    const struct event *ev = check_event(L, b);
    const struct order *o = store_seat_order(b->store, ev, check_seat(L, ev));
    if (o == NULL) {
        return 0;
    }
    push_span(L, order_id(o));
    push_span(L, order_customer(o));
    return 2;
}

static int store_area_use(lua_State *L)
{
    const struct store_box *b = store_check_box(L);
    const struct event *ev = check_event(L, b);
    lua_Integer n = luaL_checkinteger(L, 3);
    luaL_argcheck(L, n >= 0 && n < (lua_Integer)chart_areas(ev->chart), 3, "no such area");
    struct area_use use = store_area(b->store, ev, (uint32_t)n);
    lua_pushinteger(L, use.held);
    lua_pushinteger(L, use.booked);
    return 2;
}

static void set_string(lua_State *L, const char *key, struct span value)
{
    push_span(L, value);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void push_seat(lua_State *L, const struct event *ev, uint32_t number)
{
    static const struct {
        const char *name;
        uint8_t flag;
    } flags[] = { { "accessible", CHART_ACCESSIBLE },
                  { "companion", CHART_COMPANION },
                  { "restricted", CHART_RESTRICTED },
                  { "aisle_after", CHART_AISLE_AFTER } };
    struct chart_seat seat;
    chart_seat(ev->chart, number, &seat);
    lua_createtable(L, 0, 10);
    set_string(L, "label", seat.label);
    set_string(L, "category", chart_category_name(ev->chart, seat.category));
    set_integer(L, "number", number);
    set_integer(L, "position", (uint64_t)seat.position + 1);
    if (seat.table >= 0) {
        set_string(L, "table", chart_table_name(ev->chart, (uint32_t)seat.table));
    }
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
        lua_pushboolean(L, (seat.flags & flags[i].flag) != 0);
        lua_setfield(L, -2, flags[i].name);
    }
}

static void push_rows(lua_State *L, const struct event *ev)
{
    uint32_t rows = chart_rows(ev->chart);
    lua_createtable(L, (int)rows, 0);
    for (uint32_t r = 0; r < rows; r++) {
        struct chart_row row = chart_row(ev->chart, r);
        lua_createtable(L, (int)row.count, 2);
        set_string(L, "name", row.name);
        set_string(L, "section", chart_section_name(ev->chart, row.section));
        for (uint32_t i = 0; i < row.count; i++) {
            push_seat(L, ev, row.first + i);
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        lua_rawseti(L, -2, (lua_Integer)r + 1);
    }
}

/* {number=, rows={ {name, section, [i]={label, ...}} }, areas={ {label, category, capacity} }} */
static int store_plan(lua_State *L)
{
    const struct store_box *b = store_check_box(L);
    const struct event *ev = store_event(b->store, check_span(L, 2));
    if (ev == NULL) {
        return 0;
    }
    lua_createtable(L, 0, 4);
    set_integer(L, "number", ev->number);
    push_rows(L, ev);
    lua_setfield(L, -2, "rows");
    uint32_t areas = chart_areas(ev->chart);
    lua_createtable(L, (int)areas, 0);
    for (uint32_t a = 0; a < areas; a++) {
        struct chart_area area = chart_area(ev->chart, a);
        lua_createtable(L, 0, 4);
        set_string(L, "label", area.name);
        set_string(L, "category", chart_category_name(ev->chart, area.category));
        set_integer(L, "number", a);
        set_integer(L, "capacity", area.capacity);
        lua_rawseti(L, -2, (lua_Integer)a + 1);
    }
    lua_setfield(L, -2, "areas");
    return 1;
}

static const luaL_Reg store_methods[] = { { "run", store_run },
                                          { "expire", store_expire },
                                          { "record", store_record_policy },
                                          { "emits", store_emits },
                                          { "check", store_check_all },
                                          { "status", store_status },
                                          { "owner", store_owner },
                                          { "area", store_area_use },
                                          { "plan", store_plan },
                                          { "__gc", store_gc },
                                          { NULL, NULL } };

/* ---- The library ----------------------------------------------------------------------------- */

static int core_bundle(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    struct error e;
    error_clear(&e);
    struct store_box *owner = lua_newuserdatauv(L, sizeof *owner, 0); /* frees the bytes */
    memset(owner, 0, sizeof *owner);
    luaL_setmetatable(L, STORE_NAME);
    if (policy_files_read(path, &owner->scratch, &e) != 0) {
        return failed(L, &e);
    }
    lua_pushlstring(L, (const char *)owner->scratch.data, owner->scratch.len);
    return 1;
}

/* One file's text as a bundle. */
static int core_bundle_of(lua_State *L)
{
    struct span text = check_span(L, 1);
    struct store_box *owner = lua_newuserdatauv(L, sizeof *owner, 0);
    memset(owner, 0, sizeof *owner);
    luaL_setmetatable(L, STORE_NAME);
    policy_bundle_begin(&owner->scratch);
    policy_bundle_add(&owner->scratch, span_of("policy.lua"), text);
    if (owner->scratch.failed) {
        return luaL_error(L, "no memory for a bundle");
    }
    lua_pushlstring(L, (const char *)owner->scratch.data, owner->scratch.len);
    return 1;
}

static int core_duration(lua_State *L)
{
    uint64_t ms;
    if (!text_duration_ms(check_span(L, 1), &ms)) {
        return 0;
    }
    lua_pushinteger(L, (lua_Integer)ms);
    return 1;
}

static void new_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_usher_house(lua_State *L)
{
    static const luaL_Reg functions[] = { { "vm", core_vm },
                                          { "store", core_store },
                                          { "bundle", core_bundle },
                                          { "bundle_of", core_bundle_of },
                                          { "duration", core_duration },
                                          { NULL, NULL } };
    new_class(L, VM_NAME, vm_methods);
    new_class(L, STORE_NAME, store_methods);
    luaL_newlib(L, functions);
    (void)lua_json_open(L, NULL);
    lua_setfield(L, -2, "json");
    return 1;
}
