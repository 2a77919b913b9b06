/* Tasks: coroutines that run in slices (script_impl.h has the table of states).
 *
 * The run queue is served by a timer, one slice for each ready task per loop turn, so the
 * node's other work comes between any two slices. */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "script/script_impl.h"

static const char *const state_names[] = { "ready",    "running", "calling",
                                           "sleeping", "blocked", "done" };

const char *task_state_name(int state) { return state_names[state]; }

static void enqueue(struct task *t)
{
    struct scripts *vm = t->vm;
    t->state = TASK_READY;
    t->queue_next = NULL;
    if (vm->queue_tail != NULL) {
        vm->queue_tail->queue_next = t;
    } else {
        vm->queue_head = t;
        vm->env->ops->timer_start(vm->turn, 0);
    }
    vm->queue_tail = t;
}

static void dequeue(struct task *t)
{
    struct scripts *vm = t->vm;
    struct task *before = NULL;
    for (struct task *q = vm->queue_head; q != NULL; before = q, q = q->queue_next) {
        if (q == t) {
            *(before != NULL ? &before->queue_next : &vm->queue_head) = q->queue_next;
            vm->queue_tail = vm->queue_tail == q ? before : vm->queue_tail;
            return;
        }
    }
}

static void on_timer(void *arg) { task_wake(arg); }

struct task *task_new(struct scripts *vm, struct session *session, const char *name,
                      const struct policy_user *user)
{
    struct task *t = mem_zalloc(sizeof *t);
    if (t == NULL) {
        return NULL;
    }
    t->vm = vm;
    t->session = session;
    t->id = ++vm->next_id;
    t->started_ms = vm->env->ops->mono_ms(vm->env);
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->state = TASK_BLOCKED;
    t->budget = SCRIPT_INSTRUCTIONS_MAX;
    t->user = *user;
    t->timer = vm->env->ops->timer_new(vm->env, on_timer, t);
    t->ref = LUA_NOREF;
    t->next = vm->tasks;
    if (t->next != NULL) {
        t->next->prev = t;
    }
    vm->tasks = t;
    return t;
}

void task_drop(struct task *t)
{
    struct scripts *vm = t->vm;
    ASSERT(vm->running != t);
    if (t->state == TASK_READY) {
        dequeue(t);
    }
    if (t->await != NULL) {
        t->await->task = NULL; /* its callback frees it */
        if (!t->await->pending) {
            await_free(t->await);
        }
    }
    if (t->next != NULL) {
        t->next->prev = t->prev;
    }
    *(t->prev != NULL ? &t->prev->next : &vm->tasks) = t->next;
    if (t->timer != NULL) {
        vm->env->ops->timer_free(t->timer);
    }
    /* The coroutine is only let go, never closed: that would run its __close handlers. */
    luaL_unref(vm->sandbox.L, LUA_REGISTRYINDEX, t->ref);
    mem_free(t);
}

void task_start(struct task *t) { enqueue(t); }

void task_wake(struct task *t)
{
    if (t->state == TASK_CALLING || t->state == TASK_SLEEPING || t->state == TASK_BLOCKED) {
        enqueue(t);
    }
}

/* ---- How a task ends ------------------------------------------------------------ */

static void finish(struct task *t, int status, const struct error *e, struct span traceback)
{
    t->state = TASK_DONE;
    if (t->node_request != NULL) {
        struct span json = span_make("", 0);
        struct error own;
        if (status != 0 && e == NULL) { /* exit(n) says no more than n */
            (void)error_set(&own, ERR_BADARG, "the command ended with exit(%d)", status);
            e = &own;
        }
        if (status == 0 && lua_gettop(t->co) > 0 && lua_type(t->co, -1) == LUA_TSTRING) {
            json.data = lua_tolstring(t->co, -1, &json.len);
        }
        struct request *r = t->node_request;
        t->node_request = NULL;
        t->vm->sink.answer(t->vm->sink.arg, r, status == 0 ? 0 : e->code, e, json);
    } else if (t->on != NULL) {
        t->on->done(t->arg, status, e, traceback);
    }
    task_drop(t);
}

static void finish_error(struct task *t, struct error *e) { finish(t, 1, e, span_make("", 0)); }

/* Copies a string field of the error table on top. */
static bool error_field(lua_State *L, const char *key, char *out, size_t cap)
{
    lua_pushstring(L, key);
    lua_rawget(L, -2);
    bool found = lua_type(L, -1) == LUA_TSTRING;
    if (found) {
        (void)snprintf(out, cap, "%s", lua_tostring(L, -1));
    }
    lua_pop(L, 1);
    return found;
}

/* Runs protected (allocates): [(error value), -, text of it] */
static int describe_error(lua_State *L)
{
    sandbox_tostring(L, 1, NULL);
    return 1;
}

static void describe(struct task *t, struct error *e)
{
    lua_State *co = t->co;
    char code[32], message[ERROR_MESSAGE_BYTES], hint[ERROR_HINT_BYTES];
    if (lua_istable(co, -1) && lua_checkstack(co, 4) &&
        error_field(co, "code", code, sizeof code)) {
        int known = error_from_wire(code, strlen(code));
        bool has = error_field(co, "message", message, sizeof message);
        (void)error_set(e, known != 0 ? known : ERR_INTERNAL, "%s", has ? message : "refused");
        if (error_field(co, "hint", hint, sizeof hint)) {
            error_hint(e, "%s", hint);
        }
        return;
    }
    lua_State *L = t->vm->sandbox.L;
    lua_pushcfunction(L, describe_error);
    lua_xmove(co, L, 1);
    const char *text = lua_pcall(L, 1, 1, 0) == LUA_OK ? lua_tostring(L, -1) : NULL;
    (void)error_set(e, t->vm->sandbox.no_memory ? ERR_LIMIT : ERR_BADARG, "%s",
                    text != NULL ? text : "an error without text");
    lua_pop(L, 1);
}

static int make_traceback(lua_State *L)
{
    luaL_traceback(L, lua_touserdata(L, 1), NULL, 0);
    return 1;
}

static void finish_raised(struct task *t)
{
    struct error e;
    lua_State *L = t->vm->sandbox.L;
    bool refused = lua_istable(t->co, -1);
    describe(t, &e);
    lua_pushcfunction(L, make_traceback);
    lua_pushlightuserdata(L, t->co);
    const char *text = lua_pcall(L, 1, 1, 0) == LUA_OK && !refused ? lua_tostring(L, -1) : "";
    finish(t, 1, &e, span_of(text != NULL ? text : ""));
    lua_pop(L, 1);
}

void task_fail(struct task *t, int status, const struct error *e)
{
    t->failed_early = true;
    t->exit_status = status;
    t->early = *e;
    enqueue(t);
}

void task_kill(struct task *t, const char *why)
{
    (void)snprintf(t->kill_why, sizeof t->kill_why, "%s", why);
    t->ending = true;
    if (t->state != TASK_RUNNING && t->state != TASK_READY) {
        enqueue(t); /* T3: done() comes from the queue */
    }
}

/* ---- Running ---------------------------------------------------------------------- */

/* What a resume ended with: the one place that turns every outcome into a move. */
static void settle(struct task *t, int rc, int results)
{
    struct sandbox *sb = &t->vm->sandbox;
    struct error e;
    t->budget -= sb->spent < t->budget ? sb->spent : t->budget;
    if (rc == LUA_OK) {
        finish(t, 0, NULL, span_make("", 0));
    } else if (rc == LUA_YIELD && t->exited) {
        finish(t, t->exit_status, NULL, span_make("", 0));
    } else if (sb->over) {
        (void)error_set(&e, ERR_LIMIT, "%s: the script used up its budget", sb->where);
        finish_error(t, &e);
    } else if (rc == LUA_YIELD) {
        lua_pop(t->co, results);
        t->args = 0;
        if (sb->sliced || t->ending) {
            enqueue(t);
        } else {
            ASSERT(t->state != TASK_RUNNING);
        }
    } else {
        finish_raised(t);
    }
}

static void run_slice(struct task *t)
{
    struct scripts *vm = t->vm;
    struct error e;
    if (t->failed_early) {
        e = t->early;
        finish(t, t->exit_status, &e, span_make("", 0));
        return;
    }
    if (t->ending) {
        (void)error_set(&e, ERR_CANCELED, "%s", t->kill_why);
        finish_error(t, &e);
        return;
    }
    int results = 0;
    t->state = TASK_RUNNING;
    vm->running = t;
    vm->sandbox.slice = SCRIPT_SLICE_INSTRUCTIONS;
    sandbox_arm(&vm->sandbox, t->co, t->budget);
    int rc = lua_resume(t->co, NULL, t->args, &results);
    sandbox_disarm(t->co);
    vm->running = NULL;
    settle(t, rc, results);
}

/* One slice for each task that was ready when the turn began. */
static void on_turn(void *arg)
{
    struct scripts *vm = arg;
    size_t ready = 0;
    for (const struct task *t = vm->queue_head; t != NULL; t = t->queue_next) {
        ready++;
    }
    for (; ready > 0 && vm->queue_head != NULL; ready--) {
        struct task *t = vm->queue_head;
        dequeue(t);
        run_slice(t);
    }
    if (vm->queue_head != NULL) {
        vm->env->ops->timer_start(vm->turn, 1);
    }
}

struct env_timer *script_turn_timer(struct scripts *vm)
{
    return vm->env->ops->timer_new(vm->env, on_turn, vm);
}

struct task *task_current(lua_State *L)
{
    struct task *t = script_vm(L)->running;
    if (t == NULL || t->co != L) {
        luaL_error(L, "not in a coroutine of its own");
    }
    return t;
}
