/* Loading: compiled-in modules and commands, and policy bundles.
 *
 * A bundle is compiled beside the active one, run (its policy.lua returns the table that
 * policy{...} made), looked through into a struct active, and only then swapped in; any
 * error leaves what was there. Loading runs under the budget like everything else: a bundle
 * that loops at load time is refused, not waited for.
 *
 * `require` finds "usher.x" among the compiled-in files (or in lua_dir) and any other name in
 * the bundle of the chunk that asks; modules run once per bundle. */
#include <stdio.h>
#include <string.h>

#include "base/embed.h"
#include "base/mem.h"
#include "base/text.h"
#include "policy/command_lua.h"
#include "policy/vm.h"

/* ---- Compiled-in files --------------------------------------------------------------- */

/* The file lua_dir/name.lua when there is one; true: `out` holds its text. */
static bool read_override(const struct policy *p, const char *name, struct buf *out)
{
    struct buf path = BUF_INIT;
    if (p->lua_dir == NULL) {
        return false;
    }
    buf_printf(&path, "%s/%s.lua", p->lua_dir, name);
    buf_put_u8(&path, 0);
    FILE *f = path.failed ? NULL : fopen((const char *)path.data, "rb");
    buf_free(&path);
    if (f == NULL) {
        return false;
    }
    char chunk[4096];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0 && out->len < REQUEST_BYTES_MAX) {
        buf_put(out, chunk, n);
    }
    bool ok = !ferror(f) && !out->failed;
    (void)fclose(f);
    return ok;
}

/* Compiles a compiled-in file. [-0, +1] or raises. */
static void push_builtin_chunk(lua_State *L, const char *name)
{
    const struct policy *p = vm_of(L);
    struct buf text = BUF_INIT;
    struct error e;
    error_clear(&e);
    struct span source = { NULL, 0 };
    const struct embed_file *file = embed_find(name);
    if (file != NULL) {
        source = span_make(file->text, file->len);
    }
    if (read_override(p, name, &text)) {
        source = span_make((const char *)text.data, text.len);
    }
    char chunk[ID_BYTES_MAX + 8];
    (void)snprintf(chunk, sizeof(chunk), "%s.lua", name);
    int rc = source.data == NULL ? error_set(&e, ERR_NOTFOUND, "module '%s' not found", name)
                                 : sandbox_compile(L, source, chunk, &e);
    buf_free(&text); /* before anything can raise */
    if (rc != 0) {
        luaL_error(L, "%s", e.message);
    }
}

/* "usher.rules" -> "usher/rules". False when it is too long. */
static bool module_path(struct span name, char *out, size_t cap)
{
    if (name.len == 0 || name.len + 1 > cap) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        out[i] = name.data[i];
        if (out[i] == '.') {
            out[i] = '/';
        }
    }
    out[name.len] = 0;
    return true;
}

/* ---- require ------------------------------------------------------------------------------ */

static void push_require(lua_State *L, int files, int loaded);

/* Refuses an unknown "usher.x" by the name that was asked for, with the nearest there is. */
static void check_module(lua_State *L, struct span name, const char *path)
{
    struct buf text = BUF_INIT;
    bool found = embed_find(path) != NULL || read_override(vm_of(L), path, &text);
    buf_free(&text);
    if (found) {
        return;
    }
    const char *best = NULL;
    unsigned least = TEXT_DISTANCE_MAX;
    for (const struct embed_file *f = embed_files; f->name != NULL; f++) {
        const char *known[] = { f->name, NULL };
        unsigned d = text_distance(span_of(path), span_of(f->name), TEXT_DISTANCE_MAX);
        if (strncmp(f->name, "usher/", 6) == 0 && d < least && text_nearest(span_of(path), known)) {
            best = f->name + 6;
            least = d;
        }
    }
    if (best != NULL) {
        luaL_error(L, "module '%s' not found; did you mean 'usher.%s'?", name.data, best);
    }
    luaL_error(L, "module '%s' not found: Usher has none of that name", name.data);
}

/* Compiles the module's chunk: upvalue 1 of require holds the bundle's files. [-0, +1] */
static void push_module_chunk(lua_State *L, struct span name, int files, int loaded)
{
    char path[ID_BYTES_MAX];
    if (!module_path(name, path, sizeof(path) - 4)) {
        luaL_error(L, "require: bad module name");
    }
    if (name.len > 6 && memcmp(name.data, "usher.", 6) == 0) {
        check_module(L, name, path);
        push_builtin_chunk(L, path);
        return;
    }
    memcpy(path + name.len, ".lua", sizeof ".lua"); /* the four bytes kept free above */
    if (lua_isnil(L, files) || lua_getfield(L, files, path) != LUA_TSTRING) {
        luaL_error(L, "module '%s' not found: there is no %s in the bundle", name.data, path);
    }
    struct error e;
    error_clear(&e);
    if (sandbox_compile(L, vm_to_span(L, -1), path, &e) != 0) {
        luaL_error(L, "%s", e.message);
    }
    push_require(L, files, loaded);
    sandbox_chunk_global(L, lua_gettop(L) - 1, "require");
    lua_remove(L, -2);
}

/* Upvalues: 1 the bundle's files (or nil), 2 its loaded modules. */
static int require(lua_State *L)
{
    struct span name = vm_check_span(L, 1, "the module's name");
    bool builtin = name.len > 6 && memcmp(name.data, "usher.", 6) == 0;
    lua_settop(L, 1);
    if (builtin) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->modules);
    } else {
        lua_pushvalue(L, lua_upvalueindex(2));
    }
    lua_pushvalue(L, 1);
    int found = lua_rawget(L, 2);
    if (found == LUA_TLIGHTUSERDATA) {
        return luaL_error(L, "module '%s' requires itself", name.data);
    }
    if (found != LUA_TNIL) {
        return 1;
    }
    lua_pop(L, 1);
    push_module_chunk(L, name, lua_upvalueindex(1), lua_upvalueindex(2)); /* 3 */
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, NULL); /* being loaded */
    lua_rawset(L, 2);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_pushvalue(L, 1);
        lua_pushnil(L);
        lua_rawset(L, 2);
        return lua_error(L);
    }
    if (lua_isnil(L, -1)) {
        lua_pushboolean(L, 1);
        lua_replace(L, -2);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
    return 1;
}

static void push_require(lua_State *L, int files, int loaded)
{
    lua_pushvalue(L, files);
    lua_pushvalue(L, loaded);
    lua_pushcclosure(L, require, 2);
}

/* command{...}: checks the definition where it is written, and gives it back. */
static int command(lua_State *L)
{
    struct command_def *def = NULL;
    struct error e;
    error_clear(&e);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (command_def_from_lua(L, 1, COMMAND_TRANSACTION, &def, &e) != 0) {
        return luaL_error(L, "%s", e.message);
    }
    command_def_free(def);
    lua_getfield(L, 1, "run");
    if (!lua_isfunction(L, -1)) {
        return luaL_error(L, "command '%s' needs run = function(tx, req) ... end",
                          (lua_getfield(L, 1, "name"), lua_tostring(L, -1)));
    }
    lua_settop(L, 1);
    return 1;
}

/* policy{...}, rule{...} and deny{...} for a bundle: calls the Lua constructor (upvalue 1) and says
 * at which line of the bundle a mistake stands. In C because `return policy{...}` is a tail call:
 * for a Lua function the line would be gone by then. */
static int constructor(lua_State *L)
{
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    if (lua_pcall(L, lua_gettop(L) - 1, 1, 0) == LUA_OK) {
        return 1;
    }
    if (lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

void load_globals(lua_State *L)
{
    lua_newtable(L);
    vm_of(L)->modules = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pushnil(L);
    lua_newtable(L);
    lua_pushcclosure(L, require, 2);
    sandbox_set_global(L, "require");
    lua_pushcfunction(L, command);
    sandbox_set_global(L, "command");
}

/* ---- Commands -------------------------------------------------------------------------------- */

/* Adds one command table (on top) to the table of commands at `to`. [-1, +0] */
static void add_command(lua_State *L, int to, const char *from)
{
    if (lua_type(L, -1) != LUA_TTABLE || lua_getfield(L, -1, "name") != LUA_TSTRING) {
        luaL_error(L, "%s: command{...} or a list of them is expected", from);
    }
    lua_insert(L, -2);
    lua_rawset(L, to);
}

/* One command, or a list of them or of such lists, on top. [-1, +0] */
static void add_commands(lua_State *L, int to, const char *from, int depth)
{
    if (depth == 0 || lua_type(L, -1) != LUA_TTABLE) {
        luaL_error(L, "%s: command{...} or a list of them is expected", from);
    }
    lua_getfield(L, -1, "name");
    bool single = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (single) {
        add_command(L, to, from);
        return;
    }
    int list = lua_gettop(L);
    for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
        add_commands(L, to, from, depth - 1);
    }
    lua_settop(L, list - 1);
}

/* The runtime's `where`: f -> "policy.lua:5". */
static int where_defined(lua_State *L)
{
    char where[SANDBOX_WHERE_BYTES];
    luaL_checktype(L, 1, LUA_TFUNCTION);
    vm_where_defined(L, 1, where);
    lua_pushstring(L, where);
    return 1;
}

/* A reference to a function of usher.policy_runtime, which is on top. [-0, +0] */
static int runtime_function(lua_State *L, const char *name)
{
    if (lua_getfield(L, -1, name) != LUA_TFUNCTION) {
        return luaL_error(L, "usher/policy_runtime.lua has no function '%s'", name);
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Runs every compiled-in commands/NAME.lua. */
static void load_builtin_commands(lua_State *L)
{
    struct policy *p = vm_of(L);
    lua_newtable(L);
    int to = lua_gettop(L);
    for (const struct embed_file *f = embed_files; f->name != NULL; f++) {
        if (strncmp(f->name, "commands/", 9) == 0 && strchr(f->name + 9, '/') == NULL) {
            push_builtin_chunk(L, f->name);
            lua_call(L, 0, 1);
            add_commands(L, to, f->name, 2);
        }
    }
    p->builtin_commands = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The runtime, the constructors, the compiled-in commands. [nothing, +0] */
int load_builtins(lua_State *L)
{
    struct policy *p = vm_of(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, p->sb.globals);
    lua_getfield(L, -1, "require");
    lua_pushvalue(L, -1);
    lua_pushliteral(L, "usher.policy");
    lua_call(L, 1, 1);
    static const char *const names[] = { "policy", "rule", "deny", NULL };
    for (const char *const *name = names; *name != NULL; name++) {
        if (lua_getfield(L, -1, *name) != LUA_TFUNCTION) {
            return luaL_error(L, "usher/policy.lua has no function '%s'", *name);
        }
        lua_pushcclosure(L, constructor, 1);
        sandbox_set_global(L, *name);
    }
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_pushliteral(L, "usher.policy_runtime");
    lua_call(L, 1, 1);
    lua_pushcfunction(L, where_defined);
    lua_setfield(L, -2, "where");
    p->complete = runtime_function(L, "complete");
    p->judge = runtime_function(L, "judge");
    p->filter = runtime_function(L, "filter");
    p->alternative = runtime_function(L, "alternative");
    lua_pop(L, 1);
    lua_pushliteral(L, "usher.waiting");
    lua_call(L, 1, 1);
    if (lua_getfield(L, -1, "serve") != LUA_TFUNCTION) {
        return luaL_error(L, "usher/waiting.lua has no function 'serve'");
    }
    p->serve = luaL_ref(L, LUA_REGISTRYINDEX);
    load_builtin_commands(L);
    return 0;
}

/* ---- A policy table -> struct active ------------------------------------------------------------
 */

static char *copy_name(lua_State *L, struct span name)
{
    char *copy = mem_strndup(name.data, name.len);
    if (copy == NULL) {
        luaL_error(L, "no memory for a policy");
    }
    return copy;
}

static uint64_t get_ms(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    lua_Integer ms = lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (ms <= 0) {
        luaL_error(L, "policy: %s must be a duration", name);
    }
    return (uint64_t)ms;
}

/* Reference of the function in field `name` of the table on top. [-0, +0] */
static int get_function(lua_State *L, const char *name)
{
    if (lua_getfield(L, -1, name) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return LUA_NOREF;
    }
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void read_rules(lua_State *L, int table, struct ruleset *set)
{
    if (lua_getfield(L, table, "rules") != LUA_TTABLE) {
        luaL_error(L, "policy: rules must be a list");
    }
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) == LUA_TTABLE; i++) {
        if (lua_getfield(L, -1, "on") != LUA_TTABLE) {
            luaL_error(L, "policy: rule %d was not made by rule{...}", (int)i);
        }
        for (int v = 0; v < VERBS; v++) {
            lua_getfield(L, -1, rules_verbs[v]);
            set->judges[v] = set->judges[v] || lua_toboolean(L, -1);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
        lua_getfield(L, -1, "seat");
        set->seat_rules = set->seat_rules || lua_isfunction(L, -1);
        lua_getfield(L, -2, "overbook");
        set->overbook = set->overbook || lua_toboolean(L, -1);
        lua_pop(L, 3);
    }
    lua_pop(L, 2);
}

/* Fills a ruleset from the table on top, and takes it. [-1, +0] */
static void read_ruleset(lua_State *L, struct ruleset *set, struct span name, bool *any_hook)
{
    static const char *const hooks[HOOKS] = { "take",    "confirm", "reseat",
                                              "release", "cancel",  "expire" };
    int table = lua_gettop(L);
    set->ref = set->price = LUA_NOREF; /* load_free() may come at any time from here on */
    for (int i = 0; i < HOOKS; i++) {
        set->hooks[i] = LUA_NOREF;
    }
    vm_check_type(L, table, LUA_TTABLE, "policy: a ruleset");
    set->name = copy_name(L, name);
    set->hold_ttl_ms = get_ms(L, table, "hold_ttl");
    set->hold_max_ms = get_ms(L, table, "hold_max");
    read_rules(L, table, set);
    set->price = get_function(L, "price");
    if (lua_getfield(L, table, "hooks") == LUA_TTABLE) {
        for (int i = 0; i < HOOKS; i++) {
            set->hooks[i] = get_function(L, hooks[i]);
            *any_hook = *any_hook || set->hooks[i] != LUA_NOREF;
        }
    }
    lua_settop(L, table);
    set->ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static lua_Integer count_keys(lua_State *L, int table)
{
    lua_Integer n = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        n++;
    }
    return n;
}

/* Fills `out` from the policy table at index `t`. What it has got so far is freed by the
 * caller with load_free() if this raises. */
static void read_active(lua_State *L, int t, struct active *out)
{
    lua_getfield(L, t, "name");
    out->name = copy_name(L, lua_isstring(L, -1) ? vm_to_span(L, -1) : span_of("policy"));
    lua_pop(L, 1);
    lua_Integer n = 0;
    if (lua_getfield(L, t, "rulesets") == LUA_TTABLE) {
        n = count_keys(L, lua_gettop(L));
    }
    out->sets = mem_zalloc((size_t)(n + 1) * sizeof(*out->sets));
    if (out->sets == NULL) {
        luaL_error(L, "no memory for a policy");
        return; /* never reached */
    }
    lua_pushvalue(L, t);
    read_ruleset(L, &out->sets[out->sets_count++], span_of(""), &out->hooks);
    if (n > 0) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            if (lua_type(L, -2) != LUA_TSTRING) {
                luaL_error(L, "policy: rulesets have names");
            }
            read_ruleset(L, &out->sets[out->sets_count++], vm_to_span(L, -2), &out->hooks);
        }
    }
    lua_pop(L, 1);
    lua_newtable(L);
    int commands = lua_gettop(L);
    if (lua_getfield(L, t, "commands") == LUA_TTABLE) {
        int list = lua_gettop(L);
        for (lua_Integer i = 1; lua_rawgeti(L, list, i) != LUA_TNIL; i++) {
            add_commands(L, commands, "policy: commands", 3);
        }
    }
    lua_settop(L, commands);
    lua_pushnil(L);
    out->any_command = lua_next(L, commands) != 0;
    lua_settop(L, commands);
    out->commands = luaL_ref(L, LUA_REGISTRYINDEX);
}

void load_free(struct policy *p, struct active *a)
{
    lua_State *L = p->sb.L;
    for (size_t i = 0; i < a->sets_count; i++) {
        struct ruleset *set = &a->sets[i];
        luaL_unref(L, LUA_REGISTRYINDEX, set->ref);
        luaL_unref(L, LUA_REGISTRYINDEX, set->price);
        for (int h = 0; h < HOOKS; h++) {
            luaL_unref(L, LUA_REGISTRYINDEX, set->hooks[h]);
        }
        mem_free(set->name);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, a->commands);
    mem_free(a->sets);
    mem_free(a->name);
    memset(a, 0, sizeof(*a));
    a->commands = LUA_NOREF;
}

/* ---- Bundles --------------------------------------------------------------------------------- */

/* [-0, +1] {file name = text} */
static void push_files(lua_State *L, struct span bundle)
{
    struct reader r;
    struct span name, text;
    reader_init(&r, bundle.data, bundle.len);
    lua_newtable(L);
    while (policy_bundle_next(&r, &name, &text) == 0) {
        vm_push_span(L, name);
        vm_push_span(L, text);
        lua_rawset(L, -3);
    }
    if (r.failed || reader_left(&r) > 0) {
        luaL_error(L, "the bundle is damaged");
    }
}

/* The chunk to start with: policy.lua, or the only file. [-0, +1] */
static void push_main_chunk(lua_State *L, int files)
{
    const char *name = "policy.lua";
    if (lua_getfield(L, files, name) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushnil(L);
        if (!lua_next(L, files)) {
            luaL_error(L, "the bundle is empty");
        }
        name = lua_tostring(L, -2); /* stays alive in `files` */
        lua_pushvalue(L, -2);
        if (lua_next(L, files)) {
            luaL_error(L, "the bundle has no policy.lua");
        }
        lua_remove(L, -2);
    }
    struct error e;
    error_clear(&e);
    if (sandbox_compile(L, vm_to_span(L, -1), name, &e) != 0) {
        luaL_error(L, "%s", e.message);
    }
    lua_remove(L, -2);
}

void load_bundle(lua_State *L, struct span bundle, struct active *out)
{
    int top = lua_gettop(L);
    if (bundle.data == NULL) {
        push_builtin_chunk(L, "policy/default/policy");
        lua_pushliteral(L, "policy");
    } else {
        push_files(L, bundle); /* top + 1 */
        lua_newtable(L);       /* top + 2: its loaded modules */
        push_main_chunk(L, top + 1);
        push_require(L, top + 1, top + 2);
        sandbox_chunk_global(L, lua_gettop(L) - 1, "require");
        lua_pushliteral(L, "policy");
    }
    lua_call(L, 1, 1);
    if (lua_type(L, -1) != LUA_TTABLE || lua_getfield(L, -1, "rulesets") != LUA_TTABLE) {
        luaL_error(L, "policy.lua must return policy{...}");
    }
    lua_pop(L, 1);
    read_active(L, lua_gettop(L), out);
    lua_settop(L, top);
}

/* ---- Into the registry --------------------------------------------------------------------------
 */

/* A list of definitions being collected; freed by the caller when something raises. */
void load_defs(lua_State *L, int commands, struct load_defs *out)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, commands);
    int table = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, table)) {
        struct command_def *def = NULL;
        struct error e;
        error_clear(&e);
        if (out->count == LOAD_DEFS_MAX) {
            luaL_error(L, "more than %d commands", LOAD_DEFS_MAX);
        }
        if (command_def_from_lua(L, lua_gettop(L), COMMAND_TRANSACTION, &def, &e) != 0) {
            luaL_error(L, "%s", e.message);
        }
        out->def[out->count++] = def;
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}
