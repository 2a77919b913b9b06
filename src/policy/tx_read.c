/* tx: reading the store, and the call itself. Lists stop at LIST_MAX. */
#include <string.h>

#include "base/embed.h"
#include "base/json.h"
#include "base/text.h"
#include "policy/history.h"
#include "policy/lua_json.h"
#include "policy/vm.h"

static void self(lua_State *L) { (void)object_check(L, 1, OBJECT_TX); }

/* ---- Fields ---------------------------------------------------------------------- */

/* {name=, access=, roles={"x", x=true}}, made once per call. */
static void push_user(lua_State *L)
{
    struct policy *p = vm_of(L);
    if (p->user_epoch == p->epoch) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->user_ref);
        return;
    }
    /* tx_with_codes(): nobody in particular, and so nobody with rights. */
    const struct policy_user *user = p->with_codes ? NULL : p->user;
    int nobody = p->with_codes ? ACCESS_CLIENT : ACCESS_ADMIN;
    lua_createtable(L, 0, 3);
    vm_push_span(L, user != NULL ? user->name : span_make(NULL, 0));
    lua_setfield(L, -2, "name");
    lua_pushstring(L, access_name(user != NULL ? (int)user->access : nobody));
    lua_setfield(L, -2, "access");
    lua_newtable(L);
    for (int i = 0; user != NULL && user->roles != NULL && user->roles[i] != NULL; i++) {
        lua_pushstring(L, user->roles[i]);
        lua_rawseti(L, -2, i + 1);
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, user->roles[i]);
    }
    lua_setfield(L, -2, "roles");
    lua_pushvalue(L, -1);
    lua_rawseti(L, LUA_REGISTRYINDEX, p->user_ref);
    p->user_epoch = p->epoch;
}

/* tx.policy: {version=, name=, rules={names}} */
static void push_policy(lua_State *L)
{
    const struct active *a = &vm_of(L)->active;
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, a->version);
    lua_setfield(L, -2, "version");
    lua_pushstring(L, a->name);
    lua_setfield(L, -2, "name");
    lua_newtable(L);
    int names = lua_gettop(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, a->sets[0].ref);
    if (lua_getfield(L, -1, "rules") == LUA_TTABLE) {
        int rules = lua_gettop(L);
        for (lua_Integer i = 1; lua_rawgeti(L, rules, i) == LUA_TTABLE; i++) {
            lua_getfield(L, -1, "name");
            lua_rawseti(L, names, i);
            lua_pop(L, 1);
        }
    }
    lua_settop(L, names);
    lua_json_mark_list(L);
    lua_setfield(L, -2, "rules");
}

bool tx_field(lua_State *L, int field)
{
    struct policy *p = vm_of(L);
    switch (field) {
    case FIELD_now: lua_pushinteger(L, (lua_Integer)p->now_ms); return true;
    case FIELD_index: lua_pushinteger(L, (lua_Integer)p->index); return true;
    case FIELD_dry_run: lua_pushboolean(L, p->dry_run); return true;
    case FIELD_user: push_user(L); return true;
    case FIELD_policy: push_policy(L); return true;
    default: return false;
    }
}

/* ---- One object --------------------------------------------------------------------- */

static int tx_event(lua_State *L)
{
    self(L);
    const struct event *ev = store_event(vm_store(L), vm_check_span(L, 2, "the event's id"));
    if (ev == NULL) {
        lua_pushnil(L);
    } else {
        object_push_event(L, ev);
    }
    return 1;
}

static int tx_order(lua_State *L)
{
    self(L);
    const struct order *o = store_order(vm_store(L), vm_check_span(L, 2, "the order's id"));
    if (o == NULL) {
        lua_pushnil(L);
    } else {
        object_push_order(L, order_id(o));
    }
    return 1;
}

static int tx_chart(lua_State *L)
{
    self(L);
    struct span id = vm_check_span(L, 2, "the chart's id");
    const struct chart *c = store_chart(vm_store(L), id);
    if (c == NULL) {
        lua_pushnil(L);
        return 1;
    }
    lua_createtable(L, 0, 5);
    vm_push_span(L, id);
    lua_setfield(L, -2, "id");
    lua_pushinteger(L, chart_seats(c));
    lua_setfield(L, -2, "seats");
    lua_pushinteger(L, chart_rows(c));
    lua_setfield(L, -2, "rows");
    lua_pushinteger(L, chart_areas(c));
    lua_setfield(L, -2, "areas");
    lua_newtable(L);
    for (uint32_t i = 0; i < chart_categories(c); i++) {
        vm_push_span(L, chart_category_name(c, i));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "categories");
    return 1;
}

static int tx_settings(lua_State *L)
{
    self(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_ruleset(L, vm_check_event(L, 2))->ref);
    return 1;
}

static int tx_rulesets(lua_State *L)
{
    self(L);
    const struct active *a = &vm_of(L)->active;
    lua_newtable(L);
    for (size_t i = 1; i < a->sets_count; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, a->sets[i].name);
    }
    return 1;
}

/* tx:count(event, customer[, category]) -> held, booked */
static int tx_count(lua_State *L)
{
    self(L);
    const struct event *ev = vm_check_event(L, 2);
    struct span customer = vm_check_span(L, 3, "customer");
    int category = -1;
    if (!lua_isnoneornil(L, 4)) {
        int64_t n = chart_find_category(ev->chart, vm_check_span(L, 4, "category"));
        if (n < 0) {
            lua_pushinteger(L, 0);
            lua_pushinteger(L, 0);
            return 2;
        }
        category = (int)n;
    }
    struct customer_use use = store_customer(vm_store(L), ev, customer, category);
    lua_pushinteger(L, use.held);
    lua_pushinteger(L, use.booked);
    return 2;
}

/* tx:random([m,] n), as math.random. */
static int tx_random(lua_State *L)
{
    self(L);
    lua_remove(L, 1);
    return sandbox_random(L);
}

/* ---- Lists ---------------------------------------------------------------------------- */

static lua_Integer check_limit(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index)) {
        return LIST_MAX;
    }
    lua_Integer n = luaL_checkinteger(L, index);
    return n < 0 ? 0 : n < LIST_MAX ? n : LIST_MAX;
}

/* Ids are collected as Lua strings first: the callback may not raise through the store. */
struct collect {
    struct buf ids; /* varint length, bytes */
    lua_Integer left;
};

static bool collect_id(void *arg, struct span id)
{
    struct collect *c = arg;
    if (c->left <= 0) {
        return false;
    }
    buf_put_span(&c->ids, id);
    return --c->left > 0;
}

static bool collect_order(void *arg, const struct order *o) { return collect_id(arg, order_id(o)); }

static bool collect_key(void *arg, const struct kv *kv) { return collect_id(arg, kv->key); }

/* Uses the VM's scratch, so that an error half-way leaks nothing. */
static void collect_begin(lua_State *L, struct collect *c, lua_Integer limit)
{
    buf_clear(&vm_of(L)->scratch);
    c->ids = vm_of(L)->scratch;
    c->left = limit;
}

/* [-0, +1] What was collected as a list, each id as `push` makes it. MAY_RAISE */
static void push_collected(lua_State *L, const struct collect *c,
                           void (*push)(lua_State *L, struct span id))
{
    struct reader r;
    vm_of(L)->scratch = c->ids; /* which frees it, whatever is raised below */
    if (c->ids.failed) {
        vm_refusef(L, ERR_NOMEM, "no memory for a list");
    }
    lua_newtable(L);
    lua_json_mark_list(L);
    reader_init(&r, c->ids.data, c->ids.len);
    for (lua_Integer i = 1; reader_left(&r) > 0; i++) {
        push(L, reader_bytes(&r));
        lua_rawseti(L, -2, i);
    }
}

static int order_status_arg(lua_State *L)
{
    struct span name = vm_check_span(L, -1, "status");
    int status = span_is(name, "live") ? -2 : order_status_parse(name);
    if (status == -1) {
        vm_refusef(L, ERR_BADARG, "'%.*s' is no status of an order", (int)name.len, name.data);
    }
    return status;
}

/* tx:orders{customer=, event=, status=, since=, after=, limit=} -> list */
static int tx_orders(lua_State *L)
{
    static const char *const names[] = { "customer", "event", "status", "since",
                                         "after",    "limit", NULL };
    struct order_filter filter = { .status = -1 };
    lua_Integer limit = LIST_MAX;
    self(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushnil(L);
    for (int i; (i = vm_fields_next(L, 2, names, "tx:orders")) >= 0; lua_pop(L, 1)) {
        switch (i) {
        case 0: filter.customer = vm_check_span(L, -1, "customer"); break;
        case 1: filter.event = vm_check_event(L, -1); break;
        case 2: filter.status = order_status_arg(L); break;
        case 3: filter.since_ms = (uint64_t)vm_check_integer(L, -1, "since"); break;
        case 4: filter.after = vm_check_span(L, -1, "after"); break;
        default: limit = check_limit(L, lua_gettop(L)); break;
        }
    }
    struct collect c;
    collect_begin(L, &c, limit);
    store_orders(vm_store(L), &filter, collect_order, &c);
    push_collected(L, &c, object_push_order);
    sandbox_charge(L, lua_rawlen(L, -1) * 4);
    return 1;
}

/* tx:keys(prefix[, after[, limit]]) -> list */
static int tx_keys(lua_State *L)
{
    self(L);
    struct span prefix = vm_check_span(L, 2, "the prefix"), after = { NULL, 0 };
    if (!lua_isnoneornil(L, 3)) {
        after = vm_check_span(L, 3, "after");
    }
    struct collect c;
    collect_begin(L, &c, check_limit(L, 4));
    store_keys(vm_store(L), prefix, after, collect_key, &c);
    push_collected(L, &c, vm_push_span);
    return 1;
}

/* tx:charts([after[, limit]]) -> list of ids */
static int tx_charts(lua_State *L)
{
    self(L);
    struct span after = { NULL, 0 };
    if (!lua_isnoneornil(L, 2)) {
        after = vm_check_span(L, 2, "after");
    }
    struct collect c;
    collect_begin(L, &c, check_limit(L, 3));
    store_charts(vm_store(L), after, collect_id, &c);
    push_collected(L, &c, vm_push_span);
    return 1;
}

/* tx:events([after[, limit]]) -> list */
static int tx_events(lua_State *L)
{
    self(L);
    const struct event *ev = NULL;
    lua_Integer limit = check_limit(L, 3);
    if (!lua_isnoneornil(L, 2)) {
        ev = vm_check_event(L, 2);
    }
    lua_newtable(L);
    lua_json_mark_list(L);
    for (lua_Integer i = 1; i <= limit && (ev = store_event_next(vm_store(L), ev)) != NULL; i++) {
        object_push_event(L, ev);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

/* ---- Policies ---------------------------------------------------------------------------- */

static int tx_policy_record(lua_State *L)
{
    self(L);
    struct policy_record r;
    lua_Integer version = luaL_optinteger(L, 2, 0);
    if (version < 0 || version > UINT32_MAX || !store_policy(vm_store(L), (uint32_t)version, &r)) {
        lua_pushnil(L);
        return 1;
    }
    struct history_entry h;
    lua_createtable(L, 0, 6);
    if (history_find(vm_store(L), r.version, &h)) {
        if (h.name.len > 0) {
            vm_push_span(L, h.name);
            lua_setfield(L, -2, "name");
        }
        lua_pushinteger(L, h.restored);
        lua_setfield(L, -2, "restored");
    }
    lua_pushinteger(L, r.version);
    lua_setfield(L, -2, "version");
    lua_pushinteger(L, (lua_Integer)r.time_ms);
    lua_setfield(L, -2, "time");
    vm_push_span(L, r.author);
    lua_setfield(L, -2, "author");
    vm_push_span(L, r.sha256);
    lua_setfield(L, -2, "sha256");
    return 1;
}

static int tx_policy_files(lua_State *L)
{
    self(L);
    struct policy_record record;
    lua_Integer version = luaL_optinteger(L, 2, 0);
    if (version < 0 || version > UINT32_MAX ||
        !store_policy(vm_store(L), (uint32_t)version, &record)) {
        lua_pushnil(L);
        return 1;
    }
    struct reader r;
    struct span name, text;
    reader_init(&r, record.bundle.data, record.bundle.len);
    lua_newtable(L);
    while (policy_bundle_next(&r, &name, &text) == 0) {
        vm_push_span(L, name);
        vm_push_span(L, text);
        lua_rawset(L, -3);
    }
    return 1;
}

/* tx:policy_default() -> the default behaviour as a bundle: its policy.lua and the commands. */
static int tx_policy_default(lua_State *L)
{
    static const char commands[] = "commands/";
    self(L);
    lua_newtable(L);
    for (const struct embed_file *f = embed_files; f->name != NULL; f++) {
        const char *name = f->name + sizeof commands - 1;
        if (strcmp(f->name, "policy/default/policy") == 0) {
            lua_pushliteral(L, "policy.lua");
        } else if (strncmp(f->name, commands, sizeof commands - 1) == 0 &&
                   strchr(name, '/') == NULL) {
            lua_pushfstring(L, "%s.lua", name);
        } else {
            continue;
        }
        lua_pushlstring(L, f->text, f->len);
        lua_rawset(L, -3);
    }
    return 1;
}

/* Pushes what `complete` of the argument `name` is in a list {{"name", ...}, ...} or, of options, a
 * table {name = {...}}; false and nothing when it has none. */
static bool push_completion(lua_State *L, int list, const char *name)
{
    lua_pushnil(L);
    for (; lua_next(L, list); lua_pop(L, 1)) {
        if (lua_type(L, -1) != LUA_TTABLE) {
            continue; /* note = "string" */
        }
        bool named = lua_type(L, -2) == LUA_TSTRING;
        if (!named) {
            (void)lua_rawgeti(L, -1, 1);
        }
        bool found = strcmp(lua_tostring(L, named ? -2 : -1), name) == 0;
        lua_pop(L, named ? 0 : 1);
        if (found) {
            return lua_getfield(L, -1, "complete") == LUA_TFUNCTION;
        }
    }
    return false;
}

/* tx:completion(command, argument) -> its function complete(tx, prefix), or nil. NOPERM to whoever
 * may not run the command. */
static int tx_completion(lua_State *L)
{
    self(L);
    const struct policy *p = vm_of(L);
    const char *argument = luaL_checkstring(L, 3);
    const struct command_def *def = registry_find(p->registry, vm_check_span(L, 2, "the command"));
    if (def == NULL || def->kind != COMMAND_TRANSACTION) {
        return vm_refusef(L, ERR_NOTFOUND, "the policy has no command '%s'", lua_tostring(L, 2));
    }
    if (p->user != NULL && p->user->access < def->access) {
        return vm_refusef(L, ERR_NOPERM, "`%s` needs access `%s`", def->name,
                          access_name(def->access));
    }
    vm_push_command(L, def->name);
    int command = lua_gettop(L);
    return (lua_getfield(L, command, "args") == LUA_TTABLE &&
            push_completion(L, command + 1, argument)) ||
           (lua_getfield(L, command, "options") == LUA_TTABLE &&
            push_completion(L, lua_gettop(L), argument));
}

/* tx:raw(text): JSON text to be part of an answer as it is. */
static int tx_raw(lua_State *L)
{
    self(L);
    struct policy *p = vm_of(L);
    struct span text = vm_check_span(L, 2, "the JSON text");
    struct error e;
    error_clear(&e);
    if (text.len == 0) {
        text = span_of("null"); /* attributes or metadata that were never given */
    }
    if (lua_json_check(text, &e) != 0) {
        return vm_refuse(L, &e);
    }
    buf_clear(&p->scratch);
    buf_put(&p->scratch, text.data, text.len);
    if (p->scratch.failed) {
        return vm_refusef(L, ERR_NOMEM, "no memory for JSON text");
    }
    object_push_json(L, &p->scratch);
    return 1;
}

const luaL_Reg tx_read_methods[] = {
    { "raw", tx_raw },
    { "event", tx_event },
    { "order", tx_order },
    { "chart", tx_chart },
    { "settings", tx_settings },
    { "rulesets", tx_rulesets },
    { "count", tx_count },
    { "random", tx_random },
    { "orders", tx_orders },
    { "keys", tx_keys },
    { "events", tx_events },
    { "charts", tx_charts },
    { "policy_record", tx_policy_record },
    { "policy_files", tx_policy_files },
    { "policy_default", tx_policy_default },
    { "completion", tx_completion },
    { "seats_view", tx_seats_view },
    { "best", tx_best },
    { "near", tx_near },
    { "single", tx_single },
    { "codes", tx_codes },
    { "with_codes", tx_with_codes },
    { "attempt", tx_attempt },
    { "used", tx_used },
    { "within", tx_within },
    { NULL, NULL },
};
