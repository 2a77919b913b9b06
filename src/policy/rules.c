/* Running a policy's rules, price functions and hooks around the effects.
 *
 * The rules themselves run in Lua (lua/usher/policy_runtime.lua); here an `ask` is built for
 * them, and what must hold whatever they do is enforced:
 *
 * J1 rules, price and score functions change nothing: effects raise while `judging` is not 0.
 * J2 hooks that make effects run hooks again, at most POLICY_HOOK_DEPTH_MAX deep.
 *    Rules that ask rules (tx:best, tx:judge) are asked again, POLICY_JUDGE_DEPTH_MAX deep.
 * J3 an operation whose hook fails leaves no effect, whether or not the script catches it.
 * J4 both counters are right again after an error that a script has caught. */
#include <string.h>

#include "base/json.h"

#include "policy/lua_json.h"
#include "policy/vm.h"

const char *const rules_verbs[VERBS] = { "take", "confirm", "reseat", "extend", "wait" };

/* Calls the function under `args` arguments with `*counter` raised; errors go on as they
 * came. [-(args + 1), +results] */
static void call_counted(lua_State *L, int args, int results, int *counter)
{
    ++*counter;
    int status = lua_pcall(L, args, results, 0);
    --*counter;
    if (status != LUA_OK) {
        lua_error(L);
    }
}

void rules_call(lua_State *L, int args, int results)
{
    struct policy *p = vm_of(L);
    if (p->judging >= POLICY_JUDGE_DEPTH_MAX) {
        luaL_error(
            L,
            "rules ask rules more than %d deep: what tx:best and tx:judge find is put before "
            "this rule, too",
            POLICY_JUDGE_DEPTH_MAX);
    }
    call_counted(L, args, results, &p->judging);
}

/* ---- Rulesets -------------------------------------------------------------------- */

const struct ruleset *vm_ruleset(lua_State *L, const struct event *ev)
{
    const struct active *a = &vm_of(L)->active;
    if (ev->ruleset.len == 0) {
        return &a->sets[0];
    }
    for (size_t i = 1; i < a->sets_count; i++) {
        if (span_is(ev->ruleset, a->sets[i].name)) {
            return &a->sets[i];
        }
    }
    vm_refusef(L, ERR_CONFLICT, "event %.*s wants the rules '%.*s', which the policy '%s' lacks",
               (int)ev->id.len, ev->id.data, (int)ev->ruleset.len, ev->ruleset.data, a->name);
    return NULL;
}

bool rules_has_set(const struct active *a, struct span name)
{
    bool found = name.len == 0;
    for (size_t i = 1; i < a->sets_count && !found; i++) {
        found = span_is(name, a->sets[i].name);
    }
    return found;
}

void rules_wanted(lua_State *L, const struct places *seats, enum verb verb, bool *judge,
                  bool *price)
{
    uint32_t last = 0;
    *judge = *price = false;
    for (uint32_t i = 0; i < seats->count; i++) {
        if (i == 0 || seats->place[i].event != last) {
            last = seats->place[i].event;
            const struct ruleset *set = vm_ruleset(L, vm_event(L, last));
            *judge = *judge || set->judges[verb];
            *price = *price || set->price != LUA_NOREF;
        }
    }
}

bool rules_overbook(lua_State *L, const struct places *seats)
{
    bool any = false;
    for (uint32_t i = 0; i < seats->count; i++) {
        if (seats->place[i].number & PLACE_AREA) {
            if (!vm_ruleset(L, vm_event(L, seats->place[i].event))->overbook) {
                return false;
            }
            any = true;
        }
    }
    return any;
}

/* ---- The ask ------------------------------------------------------------------------ */

/* tx:codes() -> {code = true}: those that came with the request. */
int tx_codes(lua_State *L)
{
    (void)object_check(L, 1, OBJECT_TX);
    const struct call *call = vm_of(L)->call;
    if (vm_of(L)->with_codes) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_of(L)->codes);
        return 1;
    }
    lua_newtable(L);
    for (size_t i = 0; call != NULL && i < call->values_count; i++) {
        const struct call_value *v = &call->values[i];
        if (v->def->option && v->def->many && strcmp(v->def->name, "code") == 0) {
            vm_push_span(L, v->text);
            lua_pushboolean(L, 1);
            lua_rawset(L, -3);
        }
    }
    return 1;
}

/* Whether all places are at one event, which most requests are. */
static bool one_event(const struct places *p)
{
    for (uint32_t i = 1; i < p->count; i++) {
        if (p->place[i].event != p->place[0].event) {
            return false;
        }
    }
    return p->count > 0;
}

/* The events of the places, each once, in order of appearance. */
static void push_events(lua_State *L, const struct ask *ask)
{
    lua_newtable(L);
    int list = lua_gettop(L);
    lua_Integer n = 0;
    for (uint32_t i = 0; i < ask->seats->count; i++) {
        uint32_t event = ask->seats->place[i].event;
        bool seen = false;
        for (uint32_t k = 0; k < i && !seen; k++) {
            seen = ask->seats->place[k].event == event;
        }
        if (!seen) {
            object_push_event(L, vm_event(L, event));
            lua_rawseti(L, list, ++n);
        }
    }
}

/* Members `event` and `size` (places, areas by heads), or `events` when there are several. */
static void set_events(lua_State *L, const struct ask *ask)
{
    lua_Integer size = ask->size;
    if (ask->waits == NULL && !one_event(ask->seats)) {
        push_events(L, ask);
        lua_setfield(L, -2, "events");
        return;
    }
    for (uint32_t i = 0; i < ask->seats->count; i++) {
        size += ask->seats->place[i].count;
    }
    object_push_event(L, ask->waits != NULL ? ask->waits : vm_event(L, ask->seats->place[0].event));
    lua_setfield(L, -2, "event");
    lua_pushinteger(L, size);
    lua_setfield(L, -2, "size");
}

static void set_places(lua_State *L, const struct places *p, const char *name)
{
    if (p != NULL && p->count > 0) {
        places_push(L, p);
        lua_setfield(L, -2, name);
    } /* else the ask makes an empty list when somebody looks */
}

void rules_push_ask(lua_State *L, const struct ask *ask)
{
    struct policy *p = vm_of(L);
    lua_createtable(L, 0, 15);
    lua_pushstring(L, rules_verbs[ask->verb]);
    lua_setfield(L, -2, "verb");
    lua_pushstring(L, p->call != NULL ? p->call->def->name : "expire");
    lua_setfield(L, -2, "command");
    if (ask->after != NULL) {
        lua_pushstring(L, ask->after);
        lua_setfield(L, -2, "after");
    }
    set_places(L, ask->seats, "seats");
    if (ask->gains == ask->seats && ask->seats->count > 0) {
        lua_getfield(L, -1, "seats");
        lua_setfield(L, -2, "gains");
    } else {
        set_places(L, ask->gains, "gains");
    }
    set_places(L, ask->leaves, "leaves");
    set_events(L, ask);
    vm_push_span(L, ask->customer);
    lua_setfield(L, -2, "customer");
    if (ask->metadata.len > 0) {
        vm_push_span(L, ask->metadata);
        lua_setfield(L, -2, "metadata");
    }
    if (ask->order != 0) {
        lua_pushvalue(L, ask->order);
        lua_setfield(L, -2, "order");
    }
    if (ask->until_ms != 0) {
        lua_pushinteger(L, (lua_Integer)ask->until_ms);
        lua_setfield(L, -2, "expires_at");
    }
    if (ask->count != 0) {
        lua_pushinteger(L, ask->count);
        lua_setfield(L, -2, "count");
    }
    if (ask->exchange) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "exchange");
    }
    if (p->with_codes && p->waiting_ms >= 0) {
        lua_pushinteger(L, p->waiting_ms);
        lua_setfield(L, -2, "waiting");
    }
}

/* tx:with_codes(list|nil[, since]): whose codes count from here on, for requests that are carried
 * out later than they were made: `since` when is told to the rules. Whoever runs the command did
 * not make them: no user counts either, or a box office's exemptions would go to all who wait. */
int tx_with_codes(lua_State *L)
{
    struct policy *p = vm_of(L);
    (void)object_check(L, 1, OBJECT_TX);
    lua_settop(L, 3);
    p->waiting_ms = lua_isnil(L, 3) ? -1 : luaL_checkinteger(L, 3);
    lua_settop(L, 2);
    p->with_codes = !lua_isnil(L, 2);
    p->user_epoch = 0; /* tx.user is made anew */
    if (!p->with_codes) {
        return 0;
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_newtable(L);
    for (lua_Integer i = 1; lua_rawgeti(L, 2, i) != LUA_TNIL; i++) {
        (void)vm_check_span(L, -1, "a code");
        lua_pushboolean(L, 1);
        lua_rawset(L, 3);
    }
    lua_settop(L, 3);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &p->codes);
    return 0;
}

/* ---- Judging -------------------------------------------------------------------------- */

void rules_try(lua_State *L, int ask, bool traced)
{
    struct policy *p = vm_of(L);
    ask = lua_absindex(L, ask);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->judge);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    lua_pushvalue(L, ask);
    if (traced && p->dry_run) {
        lua_rawgetp(L, LUA_REGISTRYINDEX, &p->trace);
    } else {
        lua_pushnil(L);
    }
    rules_call(L, 3, 1);
}

void rules_judge(lua_State *L, int ask)
{
    struct policy *p = vm_of(L);
    ask = lua_absindex(L, ask);
    rules_try(L, ask, true);
    if (!lua_isnil(L, -1)) {
        int denial = lua_gettop(L);
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->alternative);
        lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
        lua_pushvalue(L, ask);
        lua_pushvalue(L, denial);
        rules_call(L, 3, 0);
        lua_error(L);
    }
    lua_pop(L, 1);
}

/* The value on top is no price. */
static void refuse_price(lua_State *L, const struct ruleset *set)
{
    char where[SANDBOX_WHERE_BYTES];
    bool text = lua_type(L, -1) == LUA_TSTRING;
    const char *value = sandbox_tostring(L, -1, NULL);
    lua_rawgeti(L, LUA_REGISTRYINDEX, set->price);
    vm_where_defined(L, -1, where);
    luaL_error(L,
               "a price function must return a whole number of minor units, 0 or more; that of %s "
               "returned %s%s%s",
               where, text ? "the text '" : "", value, text ? "'" : "");
}

static int64_t price_of(lua_State *L, int ask, const struct ruleset *set, const struct places *all,
                        uint32_t i)
{
    struct policy *p = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, set->price);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    lua_pushvalue(L, ask);
    object_push_place(L, &all->place[i], all->type[i], place_data(all, i));
    rules_call(L, 3, 1);
    int exact = lua_type(L, -1) == LUA_TNUMBER; /* "5" is no price: prices are not parsed */
    lua_Integer each = exact ? lua_tointegerx(L, -1, &exact) : 0;
    if (!exact || each < 0 || each > INT64_MAX / 1000000) {
        refuse_price(L, set);
    }
    lua_pop(L, 1);
    return each * all->place[i].count;
}

/* What an ask has besides its fields it gets from the first judgement; where no rule judges, here.
 */
static void complete(lua_State *L, int ask)
{
    struct policy *p = vm_of(L);
    if (lua_getmetatable(L, ask)) {
        lua_pop(L, 1);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->complete);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    lua_pushvalue(L, ask);
    rules_call(L, 2, 0);
}

int64_t rules_price(lua_State *L, int ask, struct places *seats)
{
    int64_t total = 0;
    ask = lua_absindex(L, ask);
    for (uint32_t i = 0; i < seats->count; i++) {
        const struct ruleset *set = vm_ruleset(L, vm_event(L, seats->place[i].event));
        if (set->price != LUA_NOREF) {
            complete(L, ask);
            seats->place[i].price = price_of(L, ask, set, seats, i);
        }
        if (total > INT64_MAX - seats->place[i].price) {
            luaL_error(L, "the price is too large");
        }
        total += seats->place[i].price;
    }
    return total;
}

/* [ask, places] */
static int price_entry(lua_State *L)
{
    (void)rules_price(L, 1, lua_touserdata(L, 2));
    return 0;
}

void rules_try_price(lua_State *L, int ask, struct places *seats)
{
    ask = lua_absindex(L, ask);
    lua_pushcfunction(L, price_entry);
    lua_pushvalue(L, ask);
    lua_pushlightuserdata(L, seats);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) {
        lua_pushnil(L);
    } else if (lua_type(L, -1) != LUA_TTABLE) { /* a mistake, or the end of the budget */
        lua_error(L);
    }
}

void rules_put_trace(lua_State *L, struct buf *out)
{
    struct policy *p = vm_of(L);
    json_field_bool(out, "dry_run", true);
    json_put_key(out, "rules");
    lua_rawgetp(L, LUA_REGISTRYINDEX, &p->trace);
    lua_json_encode(L, -1, out, render_object);
    lua_pop(L, 1);
}

/* Appends as much as there is room for. */
static size_t append(char *out, size_t cap, size_t n, struct span text)
{
    size_t len = text.len < cap - 1 - n ? text.len : cap - 1 - n;
    memcpy(out + n, text.data, len);
    out[n + len] = 0;
    return n + len;
}

size_t rules_trace_text(lua_State *L, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &vm_of(L)->trace);
    lua_Integer count = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        lua_getfield(L, -1, "rule");
        lua_getfield(L, -2, "ok");
        bool exempt = lua_getfield(L, -3, "exempt") != LUA_TNIL;
        lua_pop(L, 1);
        n = append(out, cap, n, span_of(i == 1 ? "dry run: " : ", "));
        n = append(out, cap, n, vm_to_span(L, -2));
        n = append(out, cap, n, span_of(exempt ? " exempt" : lua_toboolean(L, -1) ? " ok" : " no"));
        lua_pop(L, 3);
    }
    lua_pop(L, 1);
    return n;
}

/* ---- Hooks ------------------------------------------------------------------------------- */

int rules_atomic(lua_State *L, lua_CFunction f)
{
    struct policy *p = vm_of(L);
    if (!p->active.hooks || !p->in_call || p->read_only) {
        return f(L);
    }
    size_t mark = store_tx_mark(p->store);
    lua_pushcfunction(L, f);
    lua_insert(L, 1);
    if (lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0) != LUA_OK) {
        store_tx_undo_to(p->store, mark);
        return lua_error(L);
    }
    return lua_gettop(L);
}

static void run_hook(lua_State *L, const struct ruleset *set, enum hook hook, int order)
{
    struct policy *p = vm_of(L);
    if (p->hook_depth >= POLICY_HOOK_DEPTH_MAX) {
        luaL_error(L, "hooks run hooks more than %d deep", POLICY_HOOK_DEPTH_MAX);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, set->hooks[hook]);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->tx);
    lua_pushvalue(L, order);
    call_counted(L, 2, 0, &p->hook_depth);
}

void rules_hook(lua_State *L, enum hook hook, int order)
{
    const struct ruleset *ran[8];
    size_t n = 0;
    if (!vm_of(L)->active.hooks) {
        return;
    }
    order = lua_absindex(L, order);
    /* The order may change or go while hooks run: which ones to run is decided first. */
    const struct order *o = object_order(L, order);
    for (uint32_t i = 0; i < o->places_count && n < 8; i++) {
        if (i > 0 && o->places[i].event == o->places[i - 1].event) {
            continue;
        }
        const struct event *ev = store_event_number(vm_store(L), o->places[i].event);
        const struct ruleset *set = ev != NULL ? vm_ruleset(L, ev) : NULL;
        bool seen = set == NULL || set->hooks[hook] == LUA_NOREF;
        for (size_t k = 0; k < n && !seen; k++) {
            seen = ran[k] == set;
        }
        if (!seen) {
            ran[n++] = set;
        }
    }
    for (size_t i = 0; i < n; i++) {
        run_hook(L, ran[i], hook, order);
    }
}
