/* Node scripts: the files that the profile's `scripts` names, and the shipped ones that every
 * node loads. Each runs once at the node's start in a Lua state of its own and says there what
 * it wants: on(), every(), check(), and commands that it returns.
 *
 * How it fails: a script that cannot be read, compiled or run is reported in the log and by
 * `scripts`; the node goes on without it. reload.c swaps in new versions. */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/embed.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/lua_json.h"
#include "script/files_impl.h"

/* Loaded by every node: the commands of the older Python console. */
static const char *const shipped_scripts[] = { "scripts/classic-console", NULL };

/* ---- Reading ------------------------------------------------------------------------------ */

/* "lua/hooks/mirror.lua" -> the compiled-in "hooks/mirror", for programs without their sources. */
static const struct embed_file *embedded_of(const char *path)
{
    char name[256];
    const char *from = strncmp(path, "lua/", 4) == 0 ? path + 4 : path;
    size_t n = strlen(from);
    if (n > 4 && strcmp(from + n - 4, ".lua") == 0) {
        n -= 4;
    }
    if (n >= sizeof name) {
        return NULL;
    }
    memcpy(name, from, n);
    name[n] = 0;
    return embed_find(name);
}

bool script_is_shipped(const char *path) { return embedded_of(path) != NULL; }

/* Blocking: at the start, or on a worker. */
int script_read(struct env *env, const struct script_file *file, struct buf *out, struct error *e)
{
    const struct env_ops *ops = env->ops;
    struct env_file *f;
    uint64_t bytes = 0;
    size_t got = 0;
    if (file->embedded != NULL) {
        buf_put(out, file->embedded->text, file->embedded->len);
        return out->failed ? error_set(e, ERR_NOMEM, "out of memory") : 0;
    }
    int code = ops->file_open(env, file->path, ENV_READ, &f, e);
    if (code != 0) {
        const struct embed_file *own = code == ERR_NOTFOUND ? embedded_of(file->path) : NULL;
        if (own != NULL) {
            buf_put(out, own->text, own->len);
            return 0;
        }
        return code;
    }
    code = ops->file_size(f, &bytes, e);
    if (code == 0 && bytes > REQUEST_BYTES_MAX) {
        code = error_set(e, ERR_TOOBIG, "%s: a script has at most %d bytes", file->path,
                         REQUEST_BYTES_MAX);
    }
    if (code == 0 && !buf_reserve(out, (size_t)bytes + 1)) {
        code = error_set(e, ERR_NOMEM, "out of memory");
    }
    if (code == 0) {
        code = ops->file_read(f, 0, out->data, (size_t)bytes, &got, e);
        out->len = got;
    }
    ops->file_close(f);
    return code;
}

/* ---- Running a file once --------------------------------------------------------------------- */

/* Protected: the chunk as a coroutine, which the registry keeps. */
static int begin_protected(lua_State *L)
{
    struct load *l = lua_touserdata(L, 1);
    lua_pushfstring(L, "@%s", l->vm->name);
    if (luaL_loadbufferx(L, l->text.data, l->text.len, lua_tostring(L, -1), "t") != LUA_OK) {
        return lua_error(L);
    }
    push_script_globals(L);
    lua_setupvalue(L, -2, 1);
    l->co = lua_newthread(L);
    lua_setfield(L, LUA_REGISTRYINDEX, "loading");
    lua_xmove(L, l->co, 1);
    return 0;
}

/* Protected: what the file returned, a command or a list of them or nothing. */
static int end_protected(lua_State *L)
{
    struct load *l = lua_touserdata(L, 1);
    lua_settop(L, 0);
    if (lua_gettop(l->co) == 0 || lua_isnil(l->co, 1)) {
        return 0;
    }
    lua_settop(l->co, 1);
    lua_xmove(l->co, L, 1);
    if (!lua_istable(L, 1)) {
        return luaL_error(L,
                          "%s: returns a %s; a script returns a command, a list of commands, "
                          "or nothing",
                          l->vm->name, luaL_typename(L, 1));
    }
    lua_pushliteral(L, "name");
    if (lua_rawget(L, 1) != LUA_TNIL) {
        lua_settop(L, 1);
        command_keep(L, l->vm->name);
        return 0;
    }
    for (lua_Integer i = 1; lua_rawgeti(L, 1, i) != LUA_TNIL; i++) {
        lua_replace(L, 2);
        lua_settop(L, 2);
        command_keep(L, l->vm->name);
        lua_settop(L, 1);
        lua_pushnil(L);
    }
    return 0;
}

static int load_failed(struct load *l, struct error *e)
{
    struct sandbox *sb = &l->vm->sandbox;
    const char *text = lua_tostring(l->co, -1);
    if (sb->no_memory) {
        return error_set(e, ERR_LIMIT, "%s: needs more memory than a script may have", l->vm->name);
    }
    return error_set(e, ERR_BADARG, "%s%s%s", text == NULL ? l->vm->name : "",
                     text == NULL ? ": " : "",
                     text != NULL ? text : "raised an error without text");
}

/* One slice of it, or all (`whole`). */
int load_step(struct load *l, bool whole, struct error *e)
{
    struct sandbox *sb = &l->vm->sandbox;
    int results = 0;
    vm_memory(l->vm);
    sb->slice = whole ? 0 : SCRIPT_SLICE_INSTRUCTIONS;
    sb->slice_ns = SCRIPT_SLICE_NS;
    sandbox_arm(sb, l->co, l->budget);
    int rc = lua_resume(l->co, NULL, 0, &results);
    sandbox_disarm(l->co);
    l->budget -= sb->spent < l->budget ? sb->spent : l->budget;
    if (rc == LUA_YIELD && sb->sliced && !sb->over) {
        lua_pop(l->co, results);
        return 0;
    }
    l->done = true;
    if (rc == LUA_YIELD || sb->over) {
        return error_set(e, ERR_LIMIT, "%s: %s: computes for too long while it is loaded",
                         l->vm->name, sb->where);
    }
    if (rc != LUA_OK) {
        return load_failed(l, e);
    }
    return vm_protected(l->vm, end_protected, l, e);
}

int load_begin(struct scripts *s, const struct script_file *file, struct span text, struct load *l,
               struct error *e)
{
    if (text.len > 2 && text.data[0] == '#' && text.data[1] == '!') {
        const char *end = memchr(text.data, '\n', text.len);
        size_t skip = end != NULL ? (size_t)(end - text.data) : text.len;
        text = span_make(text.data + skip, text.len - skip);
    }
    *l = (struct load){ .text = text, .budget = SCRIPT_LOAD_INSTRUCTIONS };
    l->vm = vm_new(s, VM_SCRIPT, file->path, e);
    if (l->vm == NULL) {
        return e->code;
    }
    l->vm->loading = true;
    l->vm->loaded_ms = s->env->ops->wall_ms(s->env);
    return vm_protected(l->vm, begin_protected, l, e);
}

/* ---- At the start ---------------------------------------------------------------------------- */

static bool add_file(struct scripts *s, const char *path, const struct embed_file *embedded)
{
    size_t bytes = (s->files_count + 1) * sizeof *s->files;
    struct script_file *files = mem_realloc(s->files, bytes);
    if (files == NULL) {
        return false;
    }
    s->files = files;
    struct script_file *f = &s->files[s->files_count];
    *f = (struct script_file){ .path = mem_strndup(path, strlen(path)), .embedded = embedded };
    s->files_count += f->path != NULL;
    return f->path != NULL;
}

static void load_at_start(struct scripts *s, struct script_file *file)
{
    struct buf text = BUF_INIT;
    struct error e;
    struct load l = { .vm = NULL };
    error_clear(&e);
    int code = script_read(s->env, file, &text, &e);
    if (code == 0) {
        code = load_begin(s, file, span_make((const char *)text.data, text.len), &l, &e);
    }
    code = code != 0 ? code : load_step(&l, true, &e);
    if (code == 0) {
        file->vm = l.vm;
        l.vm->loading = false;
        code = commands_publish(s, &e);
    }
    if (code != 0) {
        file->vm = NULL;
        if (l.vm != NULL) {
            l.vm->loading = true; /* it gives no command any more */
            vm_retire(l.vm);
        }
        (void)commands_publish(s, NULL);
        (void)snprintf(file->error, sizeof file->error, "%s", e.message);
        log_error("%s; the node goes on without this script: correct it, then `scripts reload`",
                  e.message);
    } else {
        hooks_activate(file->vm);
    }
    buf_free(&text);
}

int files_load(struct scripts *s, const char *const *paths, struct error *e)
{
    for (const char *const *name = shipped_scripts; *name != NULL; name++) {
        const struct embed_file *f = embed_find(*name);
        if (f != NULL && !add_file(s, *name, f)) {
            return error_set(e, ERR_NOMEM, "out of memory");
        }
    }
    for (; paths != NULL && *paths != NULL; paths++) {
        if (!add_file(s, *paths, NULL)) {
            return error_set(e, ERR_NOMEM, "out of memory");
        }
    }
    for (size_t i = 0; i < s->files_count; i++) {
        load_at_start(s, &s->files[i]);
    }
    return 0;
}

void files_free(struct scripts *s)
{
    for (size_t i = 0; i < s->files_count; i++) {
        mem_free(s->files[i].path);
    }
    mem_free(s->files);
}

/* ---- Listing
 * ---------------------------------------------------------------------------------------- */

static void set_string(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void set_integer(lua_State *L, const char *key, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, key);
}

static void push_script(lua_State *L, const struct script_file *file)
{
    const struct vm *vm = file->vm;
    lua_createtable(L, 0, 10);
    set_string(L, "script", file->path);
    set_string(L, "state", vm != NULL ? "running" : "failed");
    if (vm == NULL) {
        set_string(L, "last_error", file->error);
        return;
    }
    set_integer(L, "memory", vm->sandbox.memory_bytes);
    set_integer(L, "loaded", vm->loaded_ms);
    set_integer(L, "errors", vm->errors);
    set_integer(L, "checks", vm->checks_count);
    set_integer(L, "tasks", vm->tasks);
    if (vm->last_error[0] != 0) {
        set_string(L, "last_error", vm->last_error);
    }
    lua_createtable(L, (int)vm->defs_count, 0);
    for (size_t i = 0; i < vm->defs_count; i++) {
        lua_pushstring(L, vm->defs[i]->name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_json_mark_list(L);
    lua_setfield(L, -2, "commands");
    lua_newtable(L);
    push_handlers(L, vm, NULL);
    lua_json_mark_list(L);
    lua_setfield(L, -2, "handlers");
}

/* node.scripts() -> the node's scripts, in the order they were loaded */
int node_scripts(lua_State *L)
{
    const struct scripts *s = script_vm(L)->scripts;
    lua_createtable(L, (int)s->files_count, 0);
    for (size_t i = 0; i < s->files_count; i++) {
        push_script(L, &s->files[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_json_mark_list(L);
    return 1;
}
