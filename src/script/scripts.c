/* The script VM: one sandboxed Lua state for all node scripts of a node, its runtime
 * (lua/usher/script_runtime.lua) and the node commands (lua/commands/node/ and the files
 * that the profile names). */
#define LOG_MODULE "script"
#include <string.h>

#include "base/embed.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/command_lua.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

struct scripts *script_vm(lua_State *L)
{
    struct sandbox *sb = sandbox_of(L);
    return (struct scripts *)(void *)((char *)sb - offsetof(struct scripts, sandbox));
}

static int random_word(lua_State *L, uint64_t *out)
{
    struct scripts *vm = script_vm(L);
    vm->env->ops->random(vm->env, out, sizeof *out);
    return 0;
}

/* ---- Runtime and globals ------------------------------------------------------------------- */

static void push_function(lua_State *L, struct span text, const char *name)
{
    struct error e;
    if (sandbox_compile(L, text, name, &e) != 0) {
        luaL_error(L, "%s", e.message);
    }
}

static void set_global_from(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    sandbox_set_global(L, name);
}

/* Protected: json, then the runtime, whose functions become globals. */
static int open_runtime(lua_State *L)
{
    static const char *const globals[] = { "usher", "print", "show", "sleep",
                                           "exit",  "now",   "log",  NULL };
    struct scripts *vm = script_vm(L);
    lua_json_open(L, NULL);
    sandbox_lock(L);
    sandbox_set_global(L, "json");
    const struct embed_file *file = embed_find("usher/script_runtime");
    if (file == NULL) {
        return luaL_error(L, "usher/script_runtime.lua is not compiled in");
    }
    push_function(L, span_make(file->text, file->len), "usher/script_runtime.lua");
    (void)script_push_host(L);
    lua_call(L, 1, 1);
    for (const char *const *name = globals; *name != NULL; name++) {
        set_global_from(L, lua_gettop(L), *name);
    }
    vm->runtime = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    vm->commands = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- Node commands --------------------------------------------------------------------------- */

/* [(definition on top), -1] Adds one command{...} to the registry and keeps its `run`. */
static void add_command(lua_State *L, const char *file)
{
    struct scripts *vm = script_vm(L);
    struct command_def *def;
    struct error e;
    if (command_def_from_lua(L, lua_gettop(L), COMMAND_NODE, &def, &e) != 0 ||
        registry_add(vm->registry, def, &e) != 0) {
        luaL_error(L, "%s: %s", file, e.message);
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->commands);
    lua_getfield(L, -2, "run");
    lua_setfield(L, -2, def->name);
    lua_pop(L, 2);
}

/* command{...} of a node file: a plain table, read by add_command. */
static int identity(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    return 1;
}

struct source {
    struct span text;
    const char *name;
};

/* Protected: runs one file, which returns a command or a list of them. */
static int load_file(lua_State *L)
{
    const struct source *source = lua_touserdata(L, 1);
    push_function(L, source->text, source->name);
    (void)script_push_node(L);
    lua_call(L, 1, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    lua_getfield(L, -1, "name");
    bool single = !lua_isnil(L, -1);
    lua_pop(L, 1);
    if (single) {
        add_command(L, source->name);
        return 0;
    }
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        add_command(L, source->name);
    }
    return 0;
}

static int run_protected(struct scripts *vm, lua_CFunction f, void *arg, struct error *e)
{
    lua_State *L = vm->sandbox.L;
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, arg);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) {
        return 0;
    }
    const char *text = lua_tostring(L, -1);
    (void)error_set(e, ERR_BADARG, "%s", text != NULL ? text : "a script failed without a text");
    lua_pop(L, 1);
    return ERR_BADARG;
}

static int load_commands(struct scripts *vm, struct error *e)
{
    for (const struct embed_file *f = embed_files; f->name != NULL; f++) {
        struct source source = { span_make(f->text, f->len), f->name };
        if (strncmp(f->name, "commands/node/", strlen("commands/node/")) == 0) {
            int code = run_protected(vm, load_file, &source, e);
            if (code != 0) {
                return code;
            }
        }
    }
    return 0;
}

/* The profile's own script files. */
static int load_profile_file(struct scripts *vm, const char *path, struct error *e)
{
    struct buf text = BUF_INIT;
    struct env_file *file;
    uint64_t bytes = 0;
    size_t got = 0;
    const struct env_ops *ops = vm->env->ops;
    int code = ops->file_open(vm->env, path, ENV_READ, &file, e);
    if (code != 0) {
        error_hint(e, "the profile's `scripts` names this file");
        return code;
    }
    code = ops->file_size(file, &bytes, e);
    if (code == 0 && bytes > REQUEST_BYTES_MAX) {
        code =
            error_set(e, ERR_TOOBIG, "%s: a script has at most %d bytes", path, REQUEST_BYTES_MAX);
    }
    if (code == 0 && !buf_reserve(&text, (size_t)bytes + 1)) {
        code = error_set(e, ERR_NOMEM, "out of memory");
    }
    if (code == 0) {
        code = ops->file_read(file, 0, text.data, (size_t)bytes, &got, e);
    }
    ops->file_close(file);
    if (code == 0) {
        struct source source = { span_make((const char *)text.data, got), path };
        code = run_protected(vm, load_file, &source, e);
    }
    buf_free(&text);
    return code;
}

/* Protected: the globals that only definitions need. */
static int open_definitions(lua_State *L)
{
    lua_pushcfunction(L, identity);
    sandbox_set_global(L, "command");
    return 0;
}

int scripts_new(const struct scripts_options *o, struct scripts **out, struct error *e)
{
    struct scripts *vm = mem_zalloc(sizeof *vm);
    if (vm == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    vm->env = o->env;
    vm->registry = o->registry;
    vm->started_ms = o->env->ops->mono_ms(o->env);
    vm->profile = mem_strndup(o->profile, strlen(o->profile));
    vm->version = mem_strndup(o->version, strlen(o->version));
    vm->config_json = mem_strndup(o->config_json.data, o->config_json.len);
    int code = sandbox_open(&vm->sandbox, SCRIPT_MEMORY_BYTES_MAX, e);
    if (code == 0) {
        vm->sandbox.random = random_word;
        vm->turn = script_turn_timer(vm);
        code = run_protected(vm, open_runtime, NULL, e);
    }
    if (code == 0) {
        code = run_protected(vm, open_definitions, NULL, e);
    }
    if (code == 0) {
        code = load_commands(vm, e);
    }
    for (const char *const *file = o->files; code == 0 && file != NULL && *file != NULL; file++) {
        code = load_profile_file(vm, *file, e);
    }
    if (code != 0) {
        scripts_free(vm);
        return code;
    }
    *out = vm;
    return 0;
}

void scripts_free(struct scripts *vm)
{
    while (vm->tasks != NULL) {
        task_drop(vm->tasks);
    }
    if (vm->turn != NULL) {
        vm->env->ops->timer_free(vm->turn);
    }
    sandbox_close(&vm->sandbox);
    buf_free(&vm->scratch);
    mem_free(vm->profile);
    mem_free(vm->version);
    mem_free(vm->config_json);
    mem_free(vm);
}

void scripts_attach(struct scripts *vm, const struct request_sink *sink, struct cluster *cluster)
{
    vm->sink = *sink;
    vm->cluster = cluster;
}

/* ---- Running a node command -------------------------------------------------------------------
 */

static void push_value(lua_State *L, const struct call_value *v)
{
    switch (v->def->type) {
    case ARG_INT:
    case ARG_MONEY:
    case ARG_DURATION:
    case ARG_TIME: lua_pushinteger(L, (lua_Integer)v->number); break;
    case ARG_BOOL: lua_pushboolean(L, v->number != 0); break;
    default: lua_pushlstring(L, v->text.data, v->text.len); break;
    }
}

/* [-0, +1] The arguments by name (hyphens become underscores). */
static void push_request(lua_State *L, const struct call *call)
{
    lua_newtable(L);
    for (size_t i = 0; i < call->values_count; i++) {
        const struct call_value *v = &call->values[i];
        luaL_gsub(L, v->def->name, "-", "_");
        if (!v->def->many) {
            push_value(L, v);
            lua_settable(L, -3);
            continue;
        }
        lua_pushvalue(L, -1);
        if (lua_gettable(L, -3) == LUA_TNIL) {
            lua_pop(L, 1);
            lua_newtable(L);
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_settable(L, -5);
        }
        push_value(L, v);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
        lua_pop(L, 2);
    }
}

/* [-0, +1] ctx: who asks. */
static void push_context(lua_State *L, const struct policy_user *user)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_pushlstring(L, user->name.data != NULL ? user->name.data : "", user->name.len);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, access_name(user->access));
    lua_setfield(L, -2, "access");
    lua_newtable(L);
    for (lua_Integer i = 0; user->roles != NULL && user->roles[i] != NULL; i++) {
        lua_pushstring(L, user->roles[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "roles");
    lua_setfield(L, -2, "user");
}

/* Protected: the coroutine of a node command. */
static int build_command(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    struct scripts *vm = t->vm;
    t->co = lua_newthread(L);
    t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->runtime);
    lua_getfield(L, -1, "node_command");
    lua_remove(L, -2);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->commands);
    lua_getfield(L, -1, t->node_call->def->name);
    lua_remove(L, -2);
    push_context(L, &t->user);
    push_request(L, t->node_call);
    lua_xmove(L, t->co, 4);
    t->args = 3;
    return 0;
}

void scripts_node_command(void *arg, struct request *r, const struct call *call)
{
    struct scripts *vm = arg;
    struct error e;
    struct task *t = task_new(vm, NULL, call->def->name, &r->user);
    if (t == NULL) {
        (void)error_set(&e, ERR_NOMEM, "out of memory");
        vm->sink.answer(vm->sink.arg, r, e.code, &e, span_make("", 0));
        return;
    }
    t->node_request = r;
    t->node_call = call;
    if (run_protected(vm, build_command, t, &e) == 0) {
        task_start(t);
    } else {
        task_fail(t, 1, &e);
    }
}

void scripts_node_cancel(void *arg, struct request *r)
{
    struct scripts *vm = arg;
    for (struct task *t = vm->tasks; t != NULL; t = t->next) {
        if (t->node_request == r) {
            task_kill(t, "its client went away");
        }
    }
}
