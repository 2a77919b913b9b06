/* Functions of scripts that a command asks: doctor checks (check(name, fn)), which run as the
 * user `script`, and the completion of a command's arguments, which runs as whoever asks for it.
 * Each runs as a task in its own script's state; answers come as JSON. One that fails or takes
 * longer than SCRIPT_CHECK_MS has its failure as the answer. */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/limits.h"
#include "base/mem.h"
#include "policy/lua_json.h"
#include "script/script_impl.h"

struct probe;

struct question {
    struct probe *probe;
    struct vm *vm; /* valid while task is not NULL */
    struct task *task;
    int fn;
    char name[128];
    struct buf answer;
    struct error error;
};

/* All questions of one command. It frees itself when the last has been answered. */
struct probe {
    struct scripts *s;
    struct await *await;
    struct env_timer *timer;
    struct question *questions;
    size_t room, count, left;
    bool checks;
    struct kept_user user; /* as whom they run: who asks may be gone before they end */
};

/* check(name, fn) */
int host_check(lua_State *L)
{
    struct vm *vm = script_vm(L);
    luaL_checkstring(L, 1);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    if (!vm->loading) {
        return luaL_error(L, "check() belongs to the top level of a node script: a file named in "
                             "the profile's `scripts`, then `scripts reload`");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->checks);
    lua_pushvalue(L, 1);
    if (lua_rawget(L, -2) != LUA_TNIL) {
        return luaL_error(L, "the check '%s' is there already", lua_tostring(L, 1));
    }
    lua_pop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_rawset(L, -3);
    vm->checks_count++;
    return 0;
}

/* ---- Answers ------------------------------------------------------------------------------- */

static void put_check(struct buf *b, const struct question *q)
{
    json_put_comma(b);
    if (q->error.code == 0 && q->answer.len > 1) { /* {"status":...}: its name goes in front */
        buf_put_u8(b, '{');
        json_field_string(b, "name", span_of(q->name));
        buf_put_u8(b, ',');
        buf_put(b, q->answer.data + 1, q->answer.len - 1);
        return;
    }
    buf_put_u8(b, '{');
    json_field_string(b, "name", span_of(q->name));
    json_field_string(b, "status", span_of("error"));
    json_field_string(b, "text",
                      span_of(q->error.code != 0 ? q->error.message : "the check said nothing"));
    json_field_string(b, "advice", span_of("correct the script, then `scripts reload`"));
    buf_put_u8(b, '}');
}

static void probe_end(struct probe *p)
{
    struct await *a = p->await;
    if (p->checks) {
        buf_put_u8(&a->json, '[');
        for (size_t i = 0; i < p->count; i++) {
            put_check(&a->json, &p->questions[i]);
        }
        buf_put_u8(&a->json, ']');
    } else if (p->count == 1 && p->questions[0].error.code == 0) {
        buf_put(&a->json, p->questions[0].answer.data, p->questions[0].answer.len);
    } else if (p->count == 1) {
        a->code = p->questions[0].error.code;
        a->error = p->questions[0].error;
    }
    for (size_t i = 0; i < p->count; i++) {
        buf_free(&p->questions[i].answer);
    }
    p->s->env->ops->timer_free(p->timer);
    user_drop(&p->user);
    mem_free(p->questions);
    mem_free(p);
    await_ready(a);
}

static void on_output(void *arg, const char *kind, struct span text, struct span columns)
{
    struct question *q = arg;
    (void)columns;
    if (strcmp(kind, "value") == 0) {
        buf_clear(&q->answer);
        buf_put(&q->answer, text.data, text.len);
    }
}

static void on_done(void *arg, int status, const struct error *e, struct span traceback)
{
    struct question *q = arg;
    (void)traceback;
    luaL_unref(q->vm->sandbox.L, LUA_REGISTRYINDEX, q->fn);
    q->task = NULL;
    if (status != 0 && e != NULL) {
        q->error = *e;
    } else if (status != 0) {
        (void)error_set(&q->error, ERR_INTERNAL, "it called exit(%d)", status);
    }
    if (--q->probe->left == 0) {
        probe_end(q->probe);
    }
}

static const struct task_events events = { on_output, on_done };

static void on_late(void *arg)
{
    struct probe *p = arg;
    for (size_t i = 0; i < p->count; i++) {
        if (p->questions[i].task != NULL) {
            task_kill(p->questions[i].task, "took longer than 5 s");
        }
    }
}

/* ---- Asking --------------------------------------------------------------------------------- */

static struct probe *probe_new(lua_State *L, size_t count, bool checks)
{
    struct task *t = task_current(L);
    struct scripts *s = t->vm->scripts;
    struct probe *p = mem_zalloc(sizeof *p);
    struct question *questions = mem_zalloc((count + 1) * sizeof *questions);
    struct await *a = await_new(t);
    if (p == NULL || questions == NULL || a == NULL) {
        mem_free(p);
        mem_free(questions);
        mem_free(a);
        luaL_error(L, "out of memory");
        return NULL; /* never: the analyser does not know it */
    }
    *p = (struct probe){
        .s = s, .await = a, .questions = questions, .room = count, .checks = checks
    };
    user_keep(&p->user, checks ? &s->user : &t->user);
    p->timer = s->env->ops->timer_new(s->env, on_late, p);
    s->env->ops->timer_start(p->timer, SCRIPT_CHECK_MS);
    return p;
}

/* A kill of an asking task leaves the probe to end by itself. */
static void ask(struct probe *p, struct vm *vm, const char *what, const char *function, int fn,
                struct span text)
{
    struct question *q = &p->questions[p->count];
    *q = (struct question){ .probe = p, .vm = vm, .fn = fn };
    (void)snprintf(q->name, sizeof q->name, "%s", what);
    q->task = task_call(vm, what, function, fn, text, &p->user.user, &events, q);
    p->count++;
    if (q->task == NULL) {
        (void)error_set(&q->error, ERR_BUSY, "too many scripts are at work on this node");
        return;
    }
    q->task->budget = SCRIPT_HOOK_INSTRUCTIONS;
    p->left++;
}

/* -> decoded answer | nil, message, code */
static int probe_done(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return await_json(L, await_end(L), "[]");
}

static int wait_for(lua_State *L, struct probe *p)
{
    struct await *a = p->await;
    if (p->left == 0) {
        probe_end(p);
    }
    return await_yield(L, a, probe_done);
}

/* Protected, in the script's own state: asks each of its checks. */
static int ask_checks(lua_State *L)
{
    struct probe *p = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, script_vm(L)->checks);
    int checks = lua_gettop(L);
    lua_pushnil(L);
    while (p->count < p->room && lua_next(L, checks) != 0) {
        int fn = luaL_ref(L, LUA_REGISTRYINDEX);
        ask(p, script_vm(L), lua_tostring(L, -1), "check_run", fn, span_make("", 0));
    }
    return 0;
}

/* node.checks() -> {{name, status, text, advice}} of all scripts' checks */
int node_checks(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    size_t count = 0;
    struct error e;
    for (size_t i = 0; i < s->files_count; i++) {
        count += s->files[i].vm != NULL ? s->files[i].vm->checks_count : 0;
    }
    struct probe *p = probe_new(L, count, true);
    for (size_t i = 0; i < s->files_count; i++) {
        struct vm *vm = s->files[i].vm;
        if (vm != NULL && vm->checks_count > 0) {
            (void)vm_protected(vm, ask_checks, p, &e); /* out of memory: some are not asked */
        }
    }
    return wait_for(L, p);
}

struct find {
    const char *command, *argument;
    int fn;
};

/* Protected, in the command's own state. */
static int find_complete(lua_State *L)
{
    struct find *f = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, script_vm(L)->commands);
    if (lua_getfield(L, -1, f->command) == LUA_TTABLE &&
        lua_getfield(L, -1, "complete") == LUA_TTABLE &&
        lua_getfield(L, -1, f->argument) == LUA_TFUNCTION) {
        f->fn = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return 0;
}

/* node.complete(command, argument, prefix) -> list of strings, or nil when the argument has
 * no completion of its own; nil, message, code when it failed */
int node_complete(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    struct error e;
    struct span name, prefix;
    struct find f = { .argument = luaL_checkstring(L, 2), .fn = LUA_NOREF };
    name.data = luaL_checklstring(L, 1, &name.len);
    prefix.data = luaL_checklstring(L, 3, &prefix.len);
    const struct command_def *def = registry_find(s->registry, name);
    struct vm *vm = def != NULL ? command_vm(s, def) : NULL;
    if (vm == NULL) {
        return 0;
    }
    f.command = def->name;
    if (vm_protected(vm, find_complete, &f, &e) != 0 || f.fn == LUA_NOREF) {
        return 0;
    }
    struct probe *p = probe_new(L, 1, false);
    ask(p, vm, "complete", "complete_run", f.fn, prefix);
    return wait_for(L, p);
}
