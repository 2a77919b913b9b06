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
    struct scripts *s = t->vm->scripts;
    t->state = TASK_READY;
    t->queue_next = NULL;
    if (s->queue_tail != NULL) {
        s->queue_tail->queue_next = t;
    } else {
        s->queue_head = t;
        script_turn_soon(s);
    }
    s->queue_tail = t;
}

static void dequeue(struct task *t)
{
    struct scripts *s = t->vm->scripts;
    struct task *before = NULL;
    for (struct task *q = s->queue_head; q != NULL; before = q, q = q->queue_next) {
        if (q == t) {
            *(before != NULL ? &before->queue_next : &s->queue_head) = q->queue_next;
            s->queue_tail = s->queue_tail == q ? before : s->queue_tail;
            return;
        }
    }
}

static void on_timer(void *arg) { task_wake(arg); }

static bool room_for_task(const struct scripts *s)
{
    size_t n = 0;
    for (const struct task *t = s->tasks; t != NULL; t = t->next) {
        n++;
    }
    return n < SCRIPT_TASKS_MAX;
}

struct task *task_new(struct vm *vm, struct session *session, const char *name,
                      const struct policy_user *user)
{
    struct scripts *s = vm->scripts;
    struct task *t = !s->halting && room_for_task(s) ? mem_zalloc(sizeof *t) : NULL;
    if (t == NULL) {
        return NULL;
    }
    t->vm = vm;
    t->session = session;
    t->id = ++s->next_id;
    t->started_ms = s->env->ops->mono_ms(s->env);
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->state = TASK_BLOCKED;
    t->budget = s->instructions_max;
    t->user = *user;
    t->timer = s->env->ops->timer_new(s->env, on_timer, t);
    t->ref = LUA_NOREF;
    t->next = s->tasks;
    if (t->next != NULL) {
        t->next->prev = t;
    }
    s->tasks = t;
    vm->tasks++;
    return t;
}

void task_drop(struct task *t)
{
    struct vm *vm = t->vm;
    struct scripts *s = vm->scripts;
    ASSERT(s->running != t);
    if (t->state == TASK_READY) {
        dequeue(t);
    }
    if (t->await != NULL) {
        t->await->task = NULL; /* its callback frees it */
        if (t->await->pending && t->await->request.impl != NULL) {
            s->sink.cancel(s->sink.arg, &t->await->request); /* no callback: a node command ends */
            t->await->pending = false;
        }
        if (!t->await->pending) {
            await_free(t->await);
        }
    }
    feeds_end(t);
    if (t->next != NULL) {
        t->next->prev = t->prev;
    }
    *(t->prev != NULL ? &t->prev->next : &s->tasks) = t->next;
    if (t->timer != NULL) {
        s->env->ops->timer_free(t->timer);
    }
    /* The coroutine is only let go, never closed: that would run its __close handlers. */
    luaL_unref(vm->sandbox.L, LUA_REGISTRYINDEX, t->ref);
    ASSERT(vm->tasks > 0);
    vm->tasks--;
    if (vm->retired && vm->tasks == 0) { /* T4: the caller may still be in its state */
        s->sweep = true;
        script_turn_soon(s);
    }
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

/* What `scripts` shows of a script: refusals its commands give on purpose do not count. */
static void note_error(struct vm *vm, const struct error *e)
{
    if (e->code == ERR_BADARG || e->code == ERR_LIMIT || e->code == ERR_INTERNAL) {
        vm->errors++;
        (void)snprintf(vm->last_error, sizeof vm->last_error, "%s", e->message);
    }
}

static void finish(struct task *t, int status, const struct error *e, struct span traceback)
{
    t->state = TASK_DONE;
    if (status != 0 && e != NULL && e->code != 0 && t->session == NULL) {
        note_error(t->vm, e);
    }
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
        struct request_sink *sink = &t->vm->scripts->sink;
        sink->answer(sink->arg, r, status == 0 ? 0 : e->code, e, json);
    } else if (t->on != NULL) {
        t->on->done(t->arg, status, e, traceback);
    }
    task_drop(t);
}

/* A session's client has to tell exit(0) from an end, and exit(2) from a statement that goes on. */
static void tell_exit(struct task *t)
{
    char status[16];
    if (t->session != NULL && t->on != NULL) {
        (void)snprintf(status, sizeof status, "%d", t->exit_status);
        t->on->output(t->arg, "exit", span_of(status), span_make("", 0));
    }
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

/* `hold(1)`: a command that was called as if it were a function of that name. */
static void hint_at_command(const struct scripts *s, struct error *e)
{
    static const char before[] = "attempt to call a nil value (global '";
    char name[64] = "", lua[64] = "";
    const char *at = strstr(e->message, before);
    if (at == NULL || sscanf(at + sizeof before - 1, "%63[A-Za-z0-9_]", name) != 1) {
        return;
    }
    (void)snprintf(lua, sizeof lua, "%s", name);
    for (char *c = name; *c != 0; c++) {
        *c = *c == '_' ? '-' : *c;
    }
    if (registry_find(s->registry, span_of(name)) != NULL) {
        error_hint(e, "it is a command: in Lua usher.%s{...}, as a line `%s ...`", lua, name);
    }
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
    hint_at_command(t->vm->scripts, e);
}

static int make_traceback(lua_State *L)
{
    luaL_traceback(L, lua_touserdata(L, 1), NULL, 0);
    return 1;
}

/* A traceback without the frames of the runtime below the user's own. */
static void tidy_traceback(const char *text, struct buf *out)
{
    static const char runtime[] = "\tusher/script_runtime.lua:", tail_calls[] = "\t(...tail calls";
    static const char chunk[] = "in local 'chunk'";
    size_t len = strlen(text);
    for (size_t at = len; at > 0; at--) { /* the last lines first */
        if (text[at - 1] != '\n') {
            continue;
        }
        if (strncmp(text + at, runtime, sizeof runtime - 1) != 0 &&
            strncmp(text + at, tail_calls, sizeof tail_calls - 1) != 0) {
            break;
        }
        len = at - 1;
    }
    size_t tail = sizeof chunk - 1;
    bool main = len >= tail && memcmp(text + len - tail, chunk, tail) == 0;
    buf_put(out, text, main ? len - tail : len);
    buf_put_str(out, main ? "in main chunk" : "");
}

static void finish_raised(struct task *t)
{
    struct error e;
    lua_State *L = t->vm->sandbox.L;
    bool refused = lua_istable(t->co, -1);
    describe(t, &e);
    lua_pushcfunction(L, make_traceback);
    lua_pushlightuserdata(L, t->co);
    const char *text = lua_pcall(L, 1, 1, 0) == LUA_OK && !refused ? lua_tostring(L, -1) : NULL;
    struct buf trace = BUF_INIT;
    tidy_traceback(text != NULL ? text : "", &trace);
    finish(t, 1, &e, span_make((const char *)trace.data, trace.len));
    buf_free(&trace);
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
    t->used += sb->spent;
    if (rc == LUA_OK) {
        finish(t, 0, NULL, span_make("", 0));
    } else if (rc == LUA_YIELD && t->exited) {
        tell_exit(t);
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
    struct vm *vm = t->vm;
    struct scripts *s = vm->scripts;
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
    s->running = t;
    vm_memory(vm);
    vm->sandbox.slice = SCRIPT_SLICE_INSTRUCTIONS;
    vm->sandbox.slice_ns = SCRIPT_SLICE_NS;
    sandbox_arm(&vm->sandbox, t->co, t->budget);
    int rc = lua_resume(t->co, NULL, t->args, &results);
    sandbox_disarm(t->co);
    s->running = NULL;
    settle(t, rc, results);
}

static void halted_if_done(struct scripts *s)
{
    void (*cb)(void *arg) = s->halted;
    if (cb != NULL && s->tasks == NULL) {
        s->halted = NULL;
        cb(s->halted_arg);
    }
}

void tasks_kill_all(struct scripts *s)
{
    for (struct task *t = s->tasks; t != NULL; t = t->next) {
        task_kill(t, "the node is stopping");
    }
    halted_if_done(s);
}

/* One slice for each task that was ready when the turn began, within the turn's time. */
static void on_turn(void *arg)
{
    struct scripts *s = arg;
    size_t ready = 0;
    for (const struct task *t = s->queue_head; t != NULL; t = t->queue_next) {
        ready++;
    }
    uint64_t until = s->env->ops->mono_ns(s->env) + SCRIPTS_TURN_NS;
    for (; ready > 0 && s->queue_head != NULL; ready--) {
        struct task *t = s->queue_head;
        dequeue(t);
        run_slice(t);
        if (s->env->ops->mono_ns(s->env) > until) {
            break; /* the others in the next turn: many busy scripts are no busier than few */
        }
    }
    if (s->sweep) {
        vm_sweep(s, false);
    }
    if (s->queue_head != NULL) {
        s->env->ops->timer_start(s->turn, 1);
    }
    halted_if_done(s);
}

struct env_timer *script_turn_timer(struct scripts *s)
{
    return s->env->ops->timer_new(s->env, on_turn, s);
}

void script_turn_soon(struct scripts *s) { s->env->ops->timer_start(s->turn, 0); }

struct task *task_current(lua_State *L)
{
    struct task *t = script_vm(L)->scripts->running;
    if (t == NULL || t->co != L) {
        luaL_error(L, script_vm(L)->loading
                          ? "nothing can be asked or waited for while a script is loaded; "
                            "do it in on(\"start\", function() ... end)"
                          : "not in a coroutine of its own");
    }
    return t;
}

struct call_build {
    struct task *t;
    const char *name;
    int fn;
    struct span text;
    const struct policy_user *user;
};

/* Protected: the coroutine of a function of the runtime. */
static int build_call(lua_State *L)
{
    const struct call_build *b = lua_touserdata(L, 1);
    b->t->co = lua_newthread(L);
    b->t->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    push_runtime(L, b->name);
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->fn);
    lua_pushlstring(L, b->text.data, b->text.len);
    push_context(L, b->user);
    lua_xmove(L, b->t->co, 4);
    b->t->args = 3;
    return 0;
}

struct task *task_call(struct vm *vm, const char *task_name, const char *name, int fn,
                       struct span text, const struct policy_user *user,
                       const struct task_events *on, void *arg)
{
    struct error e;
    struct task *t = task_new(vm, NULL, task_name, user);
    if (t == NULL) {
        return NULL;
    }
    t->on = on;
    t->arg = arg;
    struct call_build b = { t, name, fn, text, user };
    if (vm_protected(vm, build_call, &b, &e) == 0) {
        task_start(t);
    } else {
        task_fail(t, 1, &e);
    }
    return t;
}
