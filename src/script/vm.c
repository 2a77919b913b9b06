/* One Lua state: a sandbox, the runtime (lua/usher/script_runtime.lua) and its globals.
 *
 * Everything here runs on a state's main thread under a pcall and executes only code that is
 * compiled in; scripts run as coroutines (task.c) or while they are loaded (files.c).
 * How it fails: out of memory while a state is made; then there is no such state. */
#define LOG_MODULE "script"
#include <string.h>

#include "base/assert.h"
#include "base/embed.h"
#include "base/limits.h"
#include "base/mem.h"
#include "policy/command_lua.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

struct vm *script_vm(lua_State *L)
{
    return (struct vm *)(void *)sandbox_of(L); /* the sandbox is its first member */
}

static int random_word(lua_State *L, uint64_t *out)
{
    struct scripts *s = script_vm(L)->scripts;
    s->env->ops->random(s->env, out, sizeof *out);
    return 0;
}

static void set_global_from(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    sandbox_set_global(L, name);
}

/* command{...} of a node file: checks the definition where it is written, which the error says, and
 * gives the table back: command_keep reads it once the file returns it. */
static int command(lua_State *L)
{
    struct command_def *def = NULL;
    struct error e;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    if (command_def_from_lua(L, 1, COMMAND_NODE, &def, &e) != 0) {
        return luaL_error(L, "%s", e.message);
    }
    command_def_free(def);
    if (lua_getfield(L, 1, "run") != LUA_TFUNCTION) {
        (void)lua_getfield(L, 1, "name");
        return luaL_error(L, "command %s: `run` must be a function(ctx, req)", lua_tostring(L, -1));
    }
    lua_settop(L, 1);
    return 1;
}

/* Protected: json, then the runtime, whose functions become globals. */
static int open_runtime(lua_State *L)
{
    static const char *const globals[] = { "usher", "print",  "show", "sleep", "exit",
                                           "now",   "time",   "log",  "on",    "every",
                                           "check", "append", NULL };
    struct vm *vm = script_vm(L);
    struct error e;
    lua_json_open(L, NULL);
    sandbox_lock(L);
    sandbox_set_global(L, "json");
    const struct embed_file *file = embed_find("usher/script_runtime");
    if (file == NULL ||
        sandbox_compile(L, span_make(file->text, file->len), "usher/script_runtime.lua", &e) != 0) {
        return luaL_error(L, "usher/script_runtime.lua: %s", file != NULL ? e.message : "missing");
    }
    (void)script_push_host(L);
    const struct embed_file *zone = embed_find("usher/zone");
    if (zone == NULL ||
        sandbox_compile(L, span_make(zone->text, zone->len), "usher/zone.lua", &e) != 0) {
        return luaL_error(L, "usher/zone.lua: %s", zone != NULL ? e.message : "missing");
    }
    lua_call(L, 0, 1);
    lua_call(L, 2, 1);
    int runtime = lua_gettop(L);
    for (const char *const *name = globals; *name != NULL; name++) {
        set_global_from(L, runtime, *name);
    }
    lua_pushcfunction(L, command);
    sandbox_set_global(L, "command");
    vm->runtime = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    vm->commands = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    vm->checks = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

int vm_protected(struct vm *vm, lua_CFunction f, void *arg, struct error *e)
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

static void vm_free(struct vm *vm)
{
    ASSERT(vm->tasks == 0);
    hooks_free_vm(vm);
    for (size_t i = 0; i < vm->defs_count; i++) {
        command_def_free(vm->defs[i]);
    }
    mem_free(vm->defs);
    sandbox_close(&vm->sandbox);
    buf_free(&vm->scratch);
    mem_free(vm->name);
    mem_free(vm);
}

size_t vm_memory_all(const struct scripts *s)
{
    size_t sum = 0;
    for (const struct vm *vm = s->vms; vm != NULL; vm = vm->next) {
        sum += vm->sandbox.memory_bytes;
    }
    return sum;
}

void vm_memory(struct vm *vm)
{
    struct scripts *s = vm->scripts;
    size_t all = vm_memory_all(s);
    size_t left = all < SCRIPTS_MEMORY_BYTES_MAX ? SCRIPTS_MEMORY_BYTES_MAX - all : 0;
    size_t own = vm->sandbox.memory_bytes;
    vm->sandbox.memory_max = own + left < s->memory_max ? own + left : s->memory_max;
}

struct vm *vm_new(struct scripts *s, enum vm_kind kind, const char *name, struct error *e)
{
    struct vm *vm = mem_zalloc(sizeof *vm);
    if (vm == NULL) {
        (void)error_set(e, ERR_NOMEM, "out of memory");
        return NULL;
    }
    vm->scripts = s;
    vm->kind = kind;
    vm->name = mem_strndup(name, strlen(name));
    if (vm->name == NULL || sandbox_open(&vm->sandbox, s->memory_max, e) != 0) {
        (void)error_set(e, ERR_NOMEM, "out of memory");
        mem_free(vm->name);
        mem_free(vm);
        return NULL;
    }
    vm->sandbox.random = random_word;
    if (vm_protected(vm, open_runtime, NULL, e) != 0) {
        vm_free(vm);
        return NULL;
    }
    vm->next = s->vms;
    s->vms = vm;
    return vm;
}

void vm_retire(struct vm *vm)
{
    vm->retired = true;
    vm->scripts->sweep = true;
    script_turn_soon(vm->scripts);
}

void vm_sweep(struct scripts *s, bool all)
{
    s->sweep = false;
    for (struct vm **at = &s->vms; *at != NULL;) {
        struct vm *vm = *at;
        if (all || (vm->retired && vm->tasks == 0)) {
            *at = vm->next;
            vm_free(vm);
        } else {
            at = &vm->next;
        }
    }
}

void push_runtime(lua_State *L, const char *name)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, script_vm(L)->runtime);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}
