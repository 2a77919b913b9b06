/* The life of a policy VM: its state, its coroutine, and which policy is active.
 *
 * All Lua code runs in one coroutine that is used again and again (vm_run). When the budget
 * hook has suspended it, or it died outside of any pcall, it is dropped and a new one made.
 *
 * Loading a bundle builds a struct active and the definitions of all commands first and then
 * swaps both in; when the registry refuses one (its name is a node command's), the old
 * definitions are put back. */
#include <string.h>

#include "base/mem.h"
#include "policy/lua_json.h"
#include "policy/vm.h"

/* ---- Running Lua ------------------------------------------------------------------- */

static int vm_random(lua_State *L, uint64_t *out)
{
    struct policy *p = vm_of(L);
    if (!p->in_call) {
        return -1;
    }
    *out = random_u64(&p->random);
    return 0;
}

/* Makes a fresh coroutine; the old one, if any, is left to the collector. */
static int new_coroutine(lua_State *L)
{
    struct policy *p = vm_of(L);
    lua_State *co = lua_newthread(L);
    luaL_unref(L, LUA_REGISTRYINDEX, p->co_ref);
    p->co_ref = LUA_NOREF;
    p->co_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    p->co = co;
    return 0;
}

static int renew(struct policy *p, struct error *e)
{
    lua_State *L = p->sb.L;
    p->co = NULL;
    lua_settop(L, 0);
    lua_pushcfunction(L, new_coroutine);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        lua_settop(L, 0);
        return error_set(e, ERR_NOMEM, "no memory for a coroutine");
    }
    return 0;
}

/* What clients may ask for must not stop the node for long; operators bring whole houses. */
static uint64_t cpu_ms_max(const struct policy *p)
{
    bool operators = p->call != NULL && p->call->def->access > ACCESS_CLIENT;
    return p->in_call && !operators ? POLICY_CPU_MS_MAX : 0;
}

/* Runs a C function in the coroutine under a budget. 0, or an error that says what went
 * wrong; the function itself reports refusals by other means. */
int vm_run(struct policy *p, lua_CFunction f, uint64_t budget, struct error *e)
{
    if (p->co == NULL && renew(p, e) != 0) {
        return e->code;
    }
    lua_State *co = p->co;
    int results = 0;
    lua_settop(co, 0);
    lua_pushcfunction(co, f);
    p->sb.cpu_ms_max = cpu_ms_max(p);
    sandbox_arm(&p->sb, co, budget);
    int status = lua_resume(co, p->sb.L, 0, &results);
    sandbox_disarm(co);
    p->no_memory = p->no_memory || p->sb.no_memory;
    if (status == LUA_OK && !p->sb.over) {
        lua_settop(co, 0);
        return 0;
    }
    if (p->sb.over) {
        bool slow = p->sb.spent <= budget && p->sb.cpu_ms_max != 0;
        (void)error_set(e, ERR_INTERNAL, "ran over its budget of %llu %s at %s",
                        (unsigned long long)(slow ? p->sb.cpu_ms_max : budget),
                        slow ? "ms of computing" : "instructions",
                        p->sb.where[0] != 0 ? p->sb.where : "its start");
        error_hint(e, "the policy or command loops, or does too much at once");
    } else {
        const char *why = lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : "unknown error";
        (void)error_set(e, ERR_INTERNAL, "%s", why);
    }
    (void)renew(p, NULL);
    return ERR_INTERNAL;
}

bool policy_failed(struct policy *p, struct error *e)
{
    *e = p->untold;
    error_clear(&p->untold);
    return e->code != 0;
}

/* ---- Loading -----------------------------------------------------------------------------------
 */

/* What a load works on; lives in policy_load's frame, found through the VM. */
struct loading {
    struct span bundle;
    struct active active;
    struct load_defs defs;
    struct error error; /* code 0: fine */
};

static int load_body(lua_State *L)
{
    struct policy *p = vm_of(L);
    struct loading *l = p->loading;
    load_bundle(L, l->bundle, &l->active);
    load_defs(L, p->builtin_commands, &l->defs);
    load_defs(L, l->active.commands, &l->defs);
    return 0;
}

/* [error value] Runs where it was raised: a value that is no text has no line yet. */
static int load_located(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_type(L, 1) == LUA_TSTRING) {
        return 1;
    }
    char where[SANDBOX_WHERE_BYTES];
    sandbox_where(L, where);
    lua_pushfstring(L, "%s%s", where, where[0] != 0 ? ": " : "");
    bool told = lua_type(L, 1) == LUA_TTABLE && (lua_pushliteral(L, "message"), true) &&
                lua_rawget(L, 1) == LUA_TSTRING;
    if (!told) {
        lua_settop(L, 2);
        lua_pushliteral(L, "an error without a text");
    }
    lua_concat(L, 2);
    return 1;
}

/* With an error value on top. */
static int load_finish(lua_State *L, int status, lua_KContext k)
{
    (void)k;
    struct loading *l = vm_of(L)->loading;
    if (status == LUA_OK || status == LUA_YIELD) {
        return 0;
    }
    const char *why = "an error without a text";
    if (status == LUA_ERRMEM) {
        (void)error_set(&l->error, ERR_BADARG, "%s: it ran out of memory while it was loaded",
                        vm_place_of_memory(L));
        return 0;
    } else if (lua_type(L, -1) == LUA_TSTRING) {
        why = lua_tostring(L, -1);
    }
    (void)error_set(&l->error, ERR_BADARG, "%s", why);
    return 0;
}

static int load_entry(lua_State *L)
{
    lua_pushcfunction(L, load_located);
    lua_pushcfunction(L, load_body);
    return load_finish(L, lua_pcallk(L, 0, 0, 1, 0, load_finish), 0);
}

/* Adds the definitions; on an error those already added stay. They are taken from `defs`
 * in either case. */
static int add_defs(struct policy *p, struct load_defs *defs, struct error *e)
{
    int rc = 0;
    registry_remove_kind(p->registry, COMMAND_TRANSACTION);
    for (size_t i = 0; i < defs->count; i++) {
        if (rc == 0) {
            rc = registry_add(p->registry, defs->def[i], e);
            if (rc == 0) {
                continue;
            }
        }
        command_def_free(defs->def[i]);
    }
    defs->count = 0;
    return rc;
}

/* Puts back the commands of the policy that stays active. */
static int old_defs(lua_State *L)
{
    struct policy *p = vm_of(L);
    load_defs(L, p->builtin_commands, &p->loading->defs);
    load_defs(L, p->active.commands, &p->loading->defs);
    return 0;
}

static void drop_defs(struct load_defs *defs)
{
    for (size_t i = 0; i < defs->count; i++) {
        command_def_free(defs->def[i]);
    }
    defs->count = 0;
}

/* Loads what l->bundle says into l->active and the registry. */
static int load_all(struct policy *p, struct loading *l, struct error *e)
{
    p->loading = l;
    int rc = vm_run(p, load_entry, p->budget, e);
    if (rc == 0 && l->error.code != 0) {
        *e = l->error;
        rc = e->code;
    }
    if (rc == 0) {
        rc = add_defs(p, &l->defs, e);
        if (rc != 0 && p->active.sets_count > 0) {
            struct error ignored;
            error_clear(&ignored);
            if (vm_run(p, old_defs, UINT64_MAX / 2, &ignored) == 0) {
                (void)add_defs(p, &l->defs, &ignored);
            }
        }
    }
    drop_defs(&l->defs);
    if (rc != 0) {
        load_free(p, &l->active);
    }
    p->loading = NULL;
    return rc;
}

/* A new bundle must load even when the old one has filled the memory. */
#define LOAD_ROOM_BYTES POLICY_LOADED_BYTES_MAX

int policy_load(struct policy *p, uint32_t version, struct span bundle, struct error *e)
{
    struct loading l;
    memset(&l, 0, sizeof(l));
    l.active.commands = LUA_NOREF;
    l.bundle = bundle;
    p->sb.memory_max += LOAD_ROOM_BYTES;
    int rc = load_all(p, &l, e);
    if (rc == 0) {
        struct active old = p->active;
        p->active = l.active;
        p->active.version = version;
        load_free(p, &old);
    }
    p->sb.memory_max -= LOAD_ROOM_BYTES;
    return rc;
}

/* The commands of a bundle that is only tried: what registry_add() would refuse later, on
 * every node, is refused now. */
static void try_commands(lua_State *L, const struct active *tried)
{
    struct policy *p = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, tried->commands);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        struct span name = vm_check_span(L, -2, "a command's name");
        const struct command_def *def = registry_find(p->registry, name);
        if (def != NULL && (def->kind == COMMAND_NODE || strcmp(def->group, "policy") == 0)) {
            luaL_error(L, "command '%s': that name belongs to the node; choose another",
                       lua_tostring(L, -2));
        }
        lua_pushliteral(L, "group");
        lua_rawget(L, -2);
        if (span_is(lua_isstring(L, -1) ? vm_to_span(L, -1) : span_of(""), "policy")) {
            luaL_error(L, "command '%s': the group `policy` belongs to the node; choose another",
                       lua_tostring(L, -3));
        }
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
}

/* Pushes the id of an event whose ruleset a bundle that is only tried lacks, or nil. An event
 * without its rules answers CONFLICT to whatever is asked of it. [-0, +1] */
static void push_bereft(lua_State *L, const struct active *tried)
{
    const struct event *ev = NULL;
    while ((ev = store_event_next(vm_store(L), ev)) != NULL) {
        sandbox_charge(L, 1);
        if (!rules_has_set(tried, ev->ruleset)) {
            vm_push_span(L, ev->id);
            return;
        }
    }
    lua_pushnil(L);
}

int vm_try_bundle(lua_State *L, struct span bundle)
{
    struct policy *p = vm_of(L);
    struct active *scratch = &p->tried;
    load_free(p, scratch); /* of a run that was killed half-way */
    (void)lua_gc(L, LUA_GCCOLLECT);
    size_t before = p->sb.memory_bytes;
    load_bundle(L, bundle, scratch);
    try_commands(L, scratch);
    push_bereft(L, scratch);
    lua_pushstring(L, scratch->name);
    (void)lua_gc(L, LUA_GCCOLLECT);
    size_t kept = p->sb.memory_bytes > before ? p->sb.memory_bytes - before : 0;
    load_free(p, scratch);
    if (kept > POLICY_LOADED_BYTES_MAX) {
        luaL_error(L, "policy.lua: it keeps %d MiB once loaded; at most %d are allowed",
                   (int)(kept >> 20), (int)(POLICY_LOADED_BYTES_MAX >> 20));
    }
    return 2;
}

bool policy_exhausted(struct policy *p)
{
    if (!p->no_memory) {
        return false;
    }
    p->no_memory = false;
    (void)lua_gc(p->sb.L, LUA_GCCOLLECT); /* one greedy request leaves only garbage */
    return p->sb.memory_bytes > p->sb.memory_max / 2;
}

uint32_t policy_version(const struct policy *p) { return p->active.version; }

const char *policy_name(const struct policy *p)
{
    return p->active.name != NULL ? p->active.name : "";
}

/* ---- Life
 * ----------------------------------------------------------------------------------------- */

static int open_protected(lua_State *L)
{
    struct policy *p = vm_of(L);
    objects_open(L);
    lua_newtable(L);
    p->user_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    (void)lua_json_open(L, render_object);
    sandbox_lock(L);
    sandbox_set_global(L, "json");
    load_globals(L);
    int results = load_builtins(L);
    sandbox_strict(L);
    /* Nearly all that a call makes is dead after it. The generational collector gives the same
     * few hundred kilobytes out again and again, while the processor still has them in its cache;
     * the incremental one walks through as much memory as the loaded policy has. */
    (void)lua_gc(L, LUA_GCGEN, 0, 0);
    return results;
}

static int open_entry(lua_State *L)
{
    lua_pushcfunction(L, open_protected);
    return load_finish(L, lua_pcallk(L, 0, 0, 0, 0, load_finish), 0);
}

static int set_up(struct policy *p, struct error *e)
{
    struct loading l;
    memset(&l, 0, sizeof(l));
    p->loading = &l;
    int rc = vm_run(p, open_entry, 100 * POLICY_INSTRUCTIONS, e);
    if (rc == 0 && l.error.code != 0) {
        *e = l.error;
        rc = ERR_INTERNAL;
    }
    p->loading = NULL;
    return rc != 0 ? rc : policy_load(p, 0, span_make(NULL, 0), e);
}

int policy_new(const struct policy_options *o, struct registry *registry, struct policy **out,
               struct error *e)
{
    struct policy *p = mem_zalloc(sizeof(*p));
    if (p == NULL) {
        return error_set(e, ERR_NOMEM, "no memory for the policy VM");
    }
    p->registry = registry;
    p->budget = o->instructions_max != 0 ? o->instructions_max : POLICY_INSTRUCTIONS;
    p->co_ref = LUA_NOREF;
    p->active.commands = p->tried.commands = LUA_NOREF;
    random_init(&p->random, o->seed);
    int rc = 0;
    if (o->lua_dir != NULL) {
        p->lua_dir = mem_strndup(o->lua_dir, strlen(o->lua_dir));
        rc = p->lua_dir != NULL ? 0 : error_set(e, ERR_NOMEM, "no memory for the policy VM");
    }
    if (rc == 0) {
        rc = sandbox_open(&p->sb, o->memory_max != 0 ? o->memory_max : POLICY_MEMORY_BYTES, e);
    }
    if (rc == 0) {
        p->sb.random = vm_random;
        rc = set_up(p, e);
    }
    if (rc != 0) {
        policy_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void policy_reseed(struct policy *p, const uint64_t seed[2]) { random_init(&p->random, seed); }

void policy_free(struct policy *p)
{
    if (p == NULL) {
        return;
    }
    if (p->sb.L != NULL) {
        load_free(p, &p->active);
        load_free(p, &p->tried);
        sandbox_close(&p->sb);
    }
    buf_free(&p->scratch);
    mem_free(p->lua_dir);
    mem_free(p);
}
