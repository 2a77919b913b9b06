/* The `host` functions that lua/usher/script_runtime.lua builds on. Each runs inside a task's
 * coroutine; those that wait yield and are continued by task_wake(). */
#define LOG_MODULE "script"
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

/* ---- Waiting ------------------------------------------------------------------------ */

struct await *await_new(struct task *t)
{
    struct await *a = mem_zalloc(sizeof *a);
    if (a != NULL) {
        a->task = t;
        a->vm = t->vm;
        a->pending = true;
    }
    return a;
}

void await_free(struct await *a)
{
    buf_free(&a->words);
    buf_free(&a->json);
    mem_free(a->argv);
    mem_free(a);
}

int await_yield(lua_State *L, struct await *a, lua_KFunction k)
{
    struct task *t = task_current(L);
    t->await = a;
    if (!a->pending) {
        return k(L, LUA_OK, 0);
    }
    t->state = TASK_CALLING;
    return lua_yieldk(L, 0, 0, k);
}

/* ---- host.call -------------------------------------------------------------------------- */

static void on_answer(struct request *r, int code, const struct error *e, struct span fields,
                      struct span json)
{
    struct await *a = r->arg;
    (void)fields;
    a->pending = false;
    a->code = code;
    if (code != 0) {
        a->error = *e;
    } else {
        buf_put(&a->json, json.data, json.len);
    }
    if (a->task == NULL) {
        await_free(a);
    } else if (a->task->state == TASK_CALLING) {
        task_wake(a->task);
    }
}

/* Keeps the index of the answer on top of the stack. */
static void note_index(lua_State *L, struct task *t)
{
    if (t->session != NULL && lua_istable(L, -1)) {
        lua_pushliteral(L, "index");
        lua_rawget(L, -2);
        uint64_t index = (uint64_t)lua_tointeger(L, -1);
        if (index > t->session->seen_index) {
            t->session->seen_index = index;
        }
        lua_pop(L, 1);
    }
}

static int call_done(lua_State *L, int status, lua_KContext context)
{
    struct task *t = task_current(L);
    struct await *a = t->await;
    (void)status, (void)context;
    t->await = NULL;
    lua_settop(L, 0);
    if (a->code != 0) {
        struct error e = a->error;
        int code = a->code;
        await_free(a);
        lua_pushnil(L);
        lua_pushstring(L, e.message[0] != 0 ? e.message : error_text(code));
        lua_pushstring(L, error_wire(code));
        if (e.hint[0] == 0) {
            return 3;
        }
        lua_pushstring(L, e.hint);
        return 4;
    }
    /* The text moves to the Lua side first: decoding may raise. */
    lua_pushlstring(L, a->json.len > 0 ? (const char *)a->json.data : "null",
                    a->json.len > 0 ? a->json.len : 4);
    await_free(a);
    struct span text = { NULL, 0 };
    text.data = lua_tolstring(L, 1, &text.len);
    lua_json_decode(L, text);
    note_index(L, t);
    return 1;
}

/* Words that make a local read wait for what this session has seen. */
static int freshness(struct task *t, struct await *a, lua_State *L, int n)
{
    const struct command_def *def = registry_find(t->vm->registry, a->argv[0]);
    if (t->session == NULL || t->session->seen_index == 0 || def == NULL ||
        def->read != READ_LOCAL) {
        return n;
    }
    for (int i = 1; i < n; i++) {
        if (span_is(a->argv[i], "--min-index") || span_is(a->argv[i], "--linearizable") ||
            span_is(a->argv[i], "--")) {
            return n;
        }
    }
    lua_pushfstring(L, "%I", (LUAI_UACINT)t->session->seen_index);
    a->argv[n] = span_of("--min-index");
    a->argv[n + 1].data = lua_tolstring(L, -1, &a->argv[n + 1].len);
    return n + 2;
}

static int host_call(lua_State *L)
{
    struct task *t = task_current(L);
    int n = lua_gettop(L);
    luaL_argcheck(L, n >= 1 && n <= REQUEST_ARGS_MAX, 1,
                  "a command and at most 4,095 words are wanted");
    for (int i = 1; i <= n; i++) {
        (void)luaL_checkstring(L, i);
    }
    if (!lua_isyieldable(L)) {
        return luaL_error(L, "a command cannot be called from inside a sort or gsub callback");
    }
    struct await *a = await_new(t);
    if (a == NULL || (a->argv = mem_zalloc(((size_t)n + 2) * sizeof *a->argv)) == NULL) {
        mem_free(a);
        return luaL_error(L, "out of memory");
    }
    for (int i = 0; i < n; i++) { /* the strings stay on the stack until the answer */
        a->argv[i].data = lua_tolstring(L, i + 1, &a->argv[i].len);
    }
    n = freshness(t, a, L, n);
    a->request = (struct request){ .argv = a->argv,
                                   .argc = (size_t)n,
                                   .user = t->user,
                                   .cb = on_answer,
                                   .arg = a,
                                   .client = t->id };
    t->await = a;
    t->vm->sink.submit(t->vm->sink.arg, &a->request);
    return await_yield(L, a, call_done);
}

/* ---- The rest -------------------------------------------------------------------------------- */

static int emit_done(lua_State *L, int status, lua_KContext context)
{
    (void)L, (void)status, (void)context;
    return 0;
}

static int host_emit(lua_State *L)
{
    struct task *t = task_current(L);
    struct span text, columns;
    const char *kind = luaL_checkstring(L, 1);
    text.data = luaL_checklstring(L, 2, &text.len);
    columns.data = luaL_optlstring(L, 3, "", &columns.len);
    sandbox_charge(L, text.len / 16);
    if (t->on != NULL) {
        t->on->output(t->arg, kind, text, columns);
    }
    if (t->paused && lua_isyieldable(L)) {
        t->state = TASK_BLOCKED;
        return lua_yieldk(L, 0, 0, emit_done);
    }
    return 0;
}

static int host_sleep(lua_State *L)
{
    struct task *t = task_current(L);
    lua_Integer ms = luaL_checkinteger(L, 1);
    luaL_argcheck(L, ms >= 0 && ms <= 7 * 86400000LL, 1, "at most 7 days");
    if (!lua_isyieldable(L)) {
        return luaL_error(L, "cannot sleep inside a sort or gsub callback");
    }
    t->state = TASK_SLEEPING;
    t->vm->env->ops->timer_start(t->timer, (uint64_t)ms);
    return lua_yieldk(L, 0, 0, emit_done);
}

static int host_exit(lua_State *L)
{
    struct task *t = task_current(L);
    lua_Integer status = luaL_checkinteger(L, 1);
    luaL_argcheck(L, status >= 0 && status <= 255, 1, "an exit status is 0 to 255");
    if (!lua_isyieldable(L)) {
        return luaL_error(L, "cannot exit inside a sort or gsub callback");
    }
    t->exited = true;
    t->exit_status = (int)status;
    return lua_yield(L, 0); /* never resumed: no pcall can hold it up */
}

static int host_now(lua_State *L)
{
    struct scripts *vm = script_vm(L);
    lua_pushinteger(L, (lua_Integer)vm->env->ops->wall_ms(vm->env));
    return 1;
}

static int host_log(lua_State *L)
{
    static const char *const names[] = { "debug", "info", "warn", "error", NULL };
    int level = luaL_checkoption(L, 1, "info", names);
    log_write((enum log_level)level, LOG_MODULE, "%s: %s", task_current(L)->name,
              luaL_checkstring(L, 2));
    return 0;
}

static int host_define(lua_State *L)
{
    struct scripts *vm = script_vm(L);
    struct span name;
    name.data = luaL_checklstring(L, 1, &name.len);
    const struct command_def *def = registry_find(vm->registry, name);
    if (def == NULL) {
        return 0;
    }
    script_push_definition(L, def);
    return 1;
}

void script_push_definition(lua_State *L, const struct command_def *def)
{
    struct buf *json = &script_vm(L)->scratch;
    buf_clear(json);
    command_json(def, json);
    lua_json_decode(L, span_make((const char *)json->data, json->len));
}

int script_push_host(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "call", host_call },     { "emit", host_emit }, { "sleep", host_sleep },
        { "exit", host_exit },     { "now", host_now },   { "log", host_log },
        { "define", host_define }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
    return 1;
}
