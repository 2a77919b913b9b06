/* The `host` functions that lua/usher/script_runtime.lua builds on. Each runs inside a task's
 * coroutine; those that wait yield and are continued by task_wake(). */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

/* Between two tries of a command whose outcome is not known. */
#define CALL_PAUSE_MS 50
/* Between two looks at a reader that is slow. */
#define EMIT_PAUSE_MS 20

/* ---- Waiting ------------------------------------------------------------------------ */

struct await *await_new(struct task *t)
{
    struct await *a = mem_zalloc(sizeof *a);
    if (a != NULL) {
        a->task = t;
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

void await_ready(struct await *a)
{
    a->pending = false;
    if (a->task == NULL) {
        await_free(a);
    } else if (a->task->state == TASK_CALLING) {
        task_wake(a->task);
    }
}

struct await *await_end(lua_State *L)
{
    struct task *t = task_current(L);
    struct await *a = t->await;
    t->await = NULL;
    lua_settop(L, 0);
    return a;
}

int await_error(lua_State *L, struct await *a)
{
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

int await_true(lua_State *L, struct await *a)
{
    if (a->code != 0) {
        return await_error(L, a);
    }
    await_free(a);
    lua_pushboolean(L, 1);
    return 1;
}

int await_json(lua_State *L, struct await *a, const char *none)
{
    if (a->code != 0) {
        return await_error(L, a);
    }
    /* The text moves to the Lua side first: decoding may raise. */
    lua_pushlstring(L, a->json.len > 0 ? (const char *)a->json.data : none,
                    a->json.len > 0 ? a->json.len : strlen(none));
    await_free(a);
    struct span text = { NULL, 0 };
    text.data = lua_tolstring(L, 1, &text.len);
    lua_json_decode(L, text);
    return 1;
}

/* ---- host.call -------------------------------------------------------------------------- */

static void on_answer(struct request *r, int code, const struct error *e, struct span fields,
                      struct span json)
{
    struct await *a = r->arg;
    (void)fields;
    a->code = code;
    if (code != 0) {
        a->error = *e;
    } else {
        buf_put(&a->json, json.data, json.len);
    }
    await_ready(a);
}

/* What a node command says while it runs goes on to this script's own reader. */
static void on_frame(struct request *r, const char *kind, struct span text)
{
    struct await *a = r->arg;
    if (a->task != NULL && a->task->on != NULL) {
        a->task->on->output(a->task->arg, kind, text, span_make("", 0));
    }
}

static bool has_room(struct request *r)
{
    struct await *a = r->arg;
    return a->task == NULL || !a->task->paused;
}

static int call_done(lua_State *L, int status, lua_KContext context);

static void submit(struct task *t, struct await *a)
{
    struct request_sink *sink = &t->vm->scripts->sink;
    a->pending = true;
    sink->submit(sink->arg, &a->request);
}

static int call_again(lua_State *L, int status, lua_KContext context)
{
    struct task *t = task_current(L);
    (void)status, (void)context;
    t->await->code = 0;
    submit(t, t->await);
    return await_yield(L, t->await, call_done);
}

/* A command whose outcome is not known (its leader died) is asked again with the same request
 * id until the outcome is known; what was not done for certain is the script's to decide. */
static bool worth_again(struct task *t, struct await *a)
{
    bool open = a->code == ERR_UNKNOWN;
    bool later = a->code == ERR_NOQUORUM || a->code == ERR_NOTREADY || a->code == ERR_BUSY;
    struct env *env = t->vm->scripts->env;
    if (!a->again || !(open || (later && a->maybe))) {
        return false;
    }
    if (open) {
        a->maybe = true;
        a->first = a->error;
    }
    if (env->ops->mono_ms(env) + CALL_PAUSE_MS < a->deadline_ms) {
        return true;
    }
    a->error = a->first;
    a->code = ERR_UNKNOWN;
    return false;
}

static int call_done(lua_State *L, int status, lua_KContext context)
{
    struct task *t = task_current(L);
    struct await *a = t->await;
    (void)status, (void)context;
    if (a->code != 0 && worth_again(t, a)) {
        t->state = TASK_SLEEPING;
        t->vm->scripts->env->ops->timer_start(t->timer, CALL_PAUSE_MS);
        return lua_yieldk(L, 0, 0, call_again);
    }
    bool raw = a->raw, failed = a->code != 0;
    int values = await_json(L, await_end(L), "null"); /* the text stays below the value */
    return raw && !failed ? 2 : values;
}

/* Gives a command that writes a request id, unless it has one. */
static int identify(struct task *t, struct await *a, int n)
{
    struct scripts *s = t->vm->scripts;
    const struct command_def *def = registry_find(s->registry, a->argv[0]);
    a->again = def != NULL && def->kind == COMMAND_TRANSACTION;
    if (!a->again || def->read != READ_NONE) {
        return n;
    }
    for (int i = 1; i < n && !span_is(a->argv[i], "--"); i++) {
        if (command_names_request(a->argv[i])) {
            return n;
        }
    }
    uint64_t random[2];
    s->env->ops->random(s->env, random, sizeof random);
    (void)snprintf(a->id, sizeof a->id, "%016llx%016llx", (unsigned long long)random[0],
                   (unsigned long long)random[1]);
    /* In front of any `--`, which would end the options. */
    memmove(a->argv + 3, a->argv + 1, (size_t)(n - 1) * sizeof *a->argv);
    a->argv[1] = span_of("--request");
    a->argv[2] = span_of(a->id);
    return n + 2;
}

/* Whose writes its reads have to show: the session's, the client's of a node command, its own. */
static uint64_t *seen_by(struct task *t)
{
    if (t->session != NULL) {
        return &t->session->seen_index;
    }
    return t->node_request != NULL ? t->node_request->seen_index : &t->seen_index;
}

static int call(lua_State *L, bool raw)
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
    if (a == NULL || (a->argv = mem_zalloc(((size_t)n + 4) * sizeof *a->argv)) == NULL) {
        mem_free(a);
        return luaL_error(L, "out of memory");
    }
    for (int i = 0; i < n; i++) { /* the strings stay on the stack until the answer */
        a->argv[i].data = lua_tolstring(L, i + 1, &a->argv[i].len);
    }
    a->raw = raw;
    n = identify(t, a, n);
    struct env *env = t->vm->scripts->env;
    a->deadline_ms = env->ops->mono_ms(env) + REQUEST_DEADLINE_MS;
    a->request = (struct request){ .argv = a->argv,
                                   .argc = (size_t)n,
                                   .user = t->user,
                                   .cb = on_answer,
                                   .arg = a,
                                   .client = t->id,
                                   .seen_index = seen_by(t) };
    if (t->on != NULL && t->session != NULL) {
        a->request.output = on_frame;
        a->request.room = has_room;
    }
    t->await = a;
    submit(t, a);
    return await_yield(L, a, call_done);
}

static int host_call(lua_State *L) { return call(L, false); }

/* As host.call, but -> answer as JSON text, answer decoded (where null is nil) */
static int host_ask(lua_State *L) { return call(L, true); }

/* ---- The rest -------------------------------------------------------------------------------- */

static int emit_done(lua_State *L, int status, lua_KContext context)
{
    (void)L, (void)status, (void)context;
    return 0;
}

/* A node command's output goes to whoever called it; while that reader is slow it waits. */
static int caller_has_room(lua_State *L, int status, lua_KContext context)
{
    struct task *t = task_current(L);
    struct scripts *s = t->vm->scripts;
    struct request_sink *sink = &s->sink;
    (void)status, (void)context;
    if (sink->output == NULL ||
        sink->output(sink->arg, t->node_request, "", (struct span){ NULL, 0 })) {
        return 0;
    }
    t->state = TASK_SLEEPING;
    s->env->ops->timer_start(t->timer, EMIT_PAUSE_MS);
    return lua_yieldk(L, 0, 0, caller_has_room);
}

static int emit_to_caller(lua_State *L, struct task *t, const char *kind, struct span text)
{
    struct request_sink *sink = &t->vm->scripts->sink;
    if (sink->output == NULL || sink->output(sink->arg, t->node_request, kind, text) ||
        !lua_isyieldable(L)) {
        return 0;
    }
    return caller_has_room(L, LUA_OK, 0);
}

/* host.listens() -> whether somebody takes this command's output as it comes */
static int host_listens(lua_State *L)
{
    struct task *t = task_current(L);
    struct request_sink *sink = &t->vm->scripts->sink;
    lua_pushboolean(L, t->node_request != NULL && sink->listens != NULL &&
                           sink->listens(sink->arg, t->node_request));
    return 1;
}

static int host_emit(lua_State *L)
{
    struct span text, columns;
    if (script_vm(L)->loading) { /* print() at the top level of a node script */
        log_info("%s: %s", script_vm(L)->name, luaL_checkstring(L, 2));
        return 0;
    }
    struct task *t = task_current(L);
    const char *kind = luaL_checkstring(L, 1);
    text.data = luaL_checklstring(L, 2, &text.len);
    columns.data = luaL_optlstring(L, 3, "", &columns.len);
    sandbox_charge(L, text.len / 16);
    if (t->on != NULL) {
        t->on->output(t->arg, kind, text, columns);
    } else if (t->node_request != NULL) {
        return emit_to_caller(L, t, kind, text);
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
    /* Never 0: timers that are due at once run in the same turn of the loop, so a script that
     * sleeps for nothing in a loop would never let the node go on. */
    t->vm->scripts->env->ops->timer_start(t->timer, ms > 0 ? (uint64_t)ms : 1);
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
    struct scripts *s = script_vm(L)->scripts;
    lua_pushinteger(L, (lua_Integer)s->env->ops->wall_ms(s->env));
    return 1;
}

static int host_log(lua_State *L)
{
    static const char *const names[] = { "debug", "info", "warn", "error", NULL };
    int level = luaL_checkoption(L, 1, "info", names);
    const struct task *t = script_vm(L)->scripts->running;
    log_write((enum log_level)level, LOG_MODULE, "%s: %s",
              t != NULL && t->co == L ? t->name : script_vm(L)->name, luaL_checkstring(L, 2));
    return 0;
}

static int host_define(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    struct span name;
    name.data = luaL_checklstring(L, 1, &name.len);
    const struct command_def *def = registry_find(s->registry, name);
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

/* host.guard(f, ...) -> true, ... | false, error value, traceback. A pcall that shows where */
static int guard_message(lua_State *L)
{
    if (!lua_istable(L, 1)) { /* a refusal needs no traceback */
        sandbox_tostring(L, 1, NULL);
        luaL_traceback(L, L, NULL, 1);
        lua_createtable(L, 2, 0);
        lua_insert(L, -3);
        lua_rawseti(L, -3, 2);
        lua_rawseti(L, -2, 1);
    }
    return 1;
}

static int guard_done(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD) {
        lua_pushboolean(L, 1);
        lua_replace(L, 1); /* where the message handler was */
        return lua_gettop(L);
    }
    lua_pushboolean(L, 0);
    lua_insert(L, -2);
    return 2;
}

int host_guard(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    int arguments = lua_gettop(L) - 1;
    lua_pushcfunction(L, guard_message);
    lua_insert(L, 1);
    return guard_done(L, lua_pcallk(L, arguments, LUA_MULTRET, 1, 0, guard_done), 0);
}

int script_push_host(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "call", host_call },       { "ask", host_ask },       { "emit", host_emit },
        { "listens", host_listens }, { "sleep", host_sleep },   { "exit", host_exit },
        { "now", host_now },         { "log", host_log },       { "define", host_define },
        { "on", host_on },           { "every", host_every },   { "next", host_next },
        { "guard", host_guard },     { "failed", host_failed }, { "append", host_append },
        { "check", host_check },     { "zone", host_zone },     { NULL, NULL },
    };
    luaL_newlib(L, functions);
    return 1;
}
