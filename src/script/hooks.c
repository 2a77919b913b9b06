/* Hooks and timers: on(name, fn) and every(duration, fn) of node scripts (docs/lua.md 4).
 *
 * What happens: an event becomes one JSON text, shared by a reference in the queue of every
 * handler that wants it. Each handler has one coroutine that takes from its queue, so a handler
 * never overlaps itself and gets things in order; it runs in slices like any script, so a slow
 * one holds up nobody but itself.
 *
 * How it fails: a queue that is full leaves newer things out and tells the handler how many
 * with the next one it gets (`missed`). A handler that raises is counted and logged, the next
 * event comes all the same; one that goes over its budget or is killed loses its coroutine and
 * gets another.
 *
 * Commits, where="each": told on every node, in order, at least once. After a restart the log
 * is applied again; what all handlers had done with (s->place, kept in the file `hooks`) is
 * not told again. where="leader": told on the node that proposed the entry, at most once.
 *
 * H1 one coroutine per handler, and `working` is the item it is at
 * H2 s->place is below every item that is queued or being worked at, of commits everywhere
 * H3 a handler is freed with its vm, which outlives its tasks */
#define LOG_MODULE "script"
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/json.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "policy/lua_json.h"
#include "script/hook.h"
#include "script/hooks_impl.h"

static const char *const hook_names[] = { "commit", "leader",  "member",   "start", "stop",
                                          "policy", "restore", "snapshot", NULL };

/* ---- Items ------------------------------------------------------------------------------- */

struct payload *payload_new(struct span text, uint64_t index)
{
    struct payload *p = mem_zalloc(sizeof *p + text.len);
    if (p != NULL) {
        p->refs = 1;
        p->index = index;
        p->len = text.len;
        memcpy(p->text, text.data, text.len);
    }
    return p;
}

void hook_payload_unref(struct payload *p)
{
    if (p != NULL && --p->refs == 0) {
        mem_free(p);
    }
}

static void item_free(struct item *it)
{
    hook_payload_unref(it->payload);
    mem_free(it);
}

static const struct task_events handler_events;

static void start_runner(struct handler *h)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s %s", h->name, h->vm->name);
    h->task = task_call(h->vm, name, "handler", h->fn, span_make("", 0), &h->vm->scripts->user,
                        &handler_events, h);
    if (h->task != NULL) {
        h->task->handler = h;
    }
}

void handler_give(struct handler *h, struct payload *p)
{
    if (h->vm->scripts->halting) {
        return;
    }
    struct item *it = h->queued < HOOK_QUEUE_MAX && h->queued_bytes < HOOK_QUEUE_BYTES_MAX
                          ? mem_zalloc(sizeof *it)
                          : NULL;
    if (it == NULL) {
        if (h->missed_now++ == 0) {
            log_warn("%s: on %s is behind by %zu; newer ones are left out until it has caught up",
                     h->where, h->name, h->queued);
        }
        h->missed++;
        return;
    }
    p->refs++;
    it->payload = p;
    it->missed = h->missed_now;
    h->missed_now = 0;
    *(h->last != NULL ? &h->last->next : &h->first) = it;
    h->last = it;
    h->queued++;
    h->queued_bytes += p->len;
    if (h->task == NULL) {
        start_runner(h);
    } else if (h->task->state == TASK_BLOCKED) {
        task_wake(h->task);
    }
}

static void finish_item(struct handler *h)
{
    if (h->working != NULL) {
        item_free(h->working);
        h->working = NULL;
        h->calls++;
    }
}

static struct item *take_item(struct handler *h)
{
    struct item *it = h->first;
    if (it != NULL) {
        h->first = it->next;
        h->last = h->first == NULL ? NULL : h->last;
        h->queued--;
        h->queued_bytes -= it->payload->len;
    }
    return it;
}

bool handler_idle(const struct handler *h) { return h->working == NULL && h->first == NULL; }

/* ---- The handler's coroutine -------------------------------------------------------------- */

static int next_continue(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    struct task *t = task_current(L);
    struct handler *h = t->handler;
    if (h->first == NULL) {
        t->state = TASK_BLOCKED;
        return lua_yieldk(L, 0, 0, next_continue);
    }
    h->working = take_item(h);
    t->budget = SCRIPT_HOOK_INSTRUCTIONS;
    t->used = 0;
    t->started_ms = t->vm->scripts->env->ops->mono_ms(t->vm->scripts->env);
    lua_settop(L, 0);
    lua_pushlstring(L, h->working->payload->text, h->working->payload->len);
    lua_pushinteger(L, (lua_Integer)h->working->missed);
    return 2;
}

/* host.next() -> payload as JSON ("" for a timer), how many were missed before it */
int host_next(lua_State *L)
{
    struct task *t = task_current(L);
    if (t->handler == NULL) {
        return luaL_error(L, "not a handler");
    }
    finish_item(t->handler);
    return next_continue(L, LUA_OK, 0);
}

static void note_failure(struct handler *h, const char *message)
{
    struct scripts *s = h->vm->scripts;
    h->errors++;
    (void)snprintf(h->last_error, sizeof h->last_error, "%s", message);
    if (log_allowed(&h->loud, s->env->ops->mono_ms(s->env), 1000)) {
        log_error("%s: on %s: %s", h->where, h->name, message);
    }
}

/* host.failed(message): the handler raised */
int host_failed(lua_State *L)
{
    struct task *t = task_current(L);
    struct vm *vm = t->vm;
    const char *message = luaL_checkstring(L, 1);
    if (t->handler != NULL) {
        note_failure(t->handler, message);
    }
    vm->errors++;
    (void)snprintf(vm->last_error, sizeof vm->last_error, "%s", message);
    return 0;
}

/* What a handler prints goes to the node's log. */
static void handler_output(void *arg, const char *kind, struct span text, struct span columns)
{
    const struct handler *h = arg;
    (void)kind, (void)columns;
    while (text.len > 0 && text.data[text.len - 1] == '\n') {
        text.len--;
    }
    log_info("%s: %.*s", h->vm->name, (int)(text.len < 2000 ? text.len : 2000), text.data);
}

static void handler_done(void *arg, int status, const struct error *e, struct span traceback)
{
    struct handler *h = arg;
    (void)traceback;
    h->task = NULL;
    if (h->vm->scripts->halting) {
        return;
    }
    finish_item(h);
    if (status != 0 && e != NULL && !h->vm->retired) {
        note_failure(h, e->message);
    }
    if (!h->vm->retired && h->first != NULL) {
        start_runner(h);
    }
}

static const struct task_events handler_events = { handler_output, handler_done };

/* ---- Defining ------------------------------------------------------------------------------- */

static bool known_hook(const char *name)
{
    for (const char *const *n = hook_names; *n != NULL; n++) {
        if (strcmp(*n, name) == 0) {
            return true;
        }
    }
    return false;
}

/* [(options at `index`)] where = "leader" | "each"; true for leader. */
static bool leader_option(lua_State *L, int index)
{
    static const char *const choices[] = { "each", "leader", NULL };
    if (lua_isnoneornil(L, index)) {
        return false;
    }
    luaL_checktype(L, index, LUA_TTABLE);
    lua_getfield(L, index, "where");
    bool leader = luaL_checkoption(L, -1, "each", choices) == 1;
    lua_pop(L, 1);
    return leader;
}

static void require_loading(lua_State *L, const char *what)
{
    if (script_vm(L)->kind == VM_SESSION) {
        luaL_error(L,
                   "%s belongs into a node script: a file named in the profile's `scripts`, "
                   "then `scripts reload`",
                   what);
    } else if (!script_vm(L)->loading) {
        luaL_error(L, "%s belongs at the top level of a node script, not into a function", what);
    }
}

static struct handler *handler_new(lua_State *L, const char *name, bool leader_only)
{
    struct vm *vm = script_vm(L);
    luaL_where(L, 2); /* above the runtime's own function */
    struct handler *h = mem_zalloc(sizeof *h);
    if (h == NULL) {
        luaL_error(L, "out of memory");
    }
    ASSERT(h != NULL);
    (void)snprintf(h->where, sizeof h->where, "%s", lua_tostring(L, -1));
    size_t n = strlen(h->where);
    while (n > 0 && (h->where[n - 1] == ' ' || h->where[n - 1] == ':')) {
        h->where[--n] = 0;
    }
    (void)snprintf(h->name, sizeof h->name, "%s", name);
    h->vm = vm;
    h->leader_only = leader_only;
    h->fn = LUA_NOREF;
    struct handler **at = &vm->handlers;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    *at = h;
    lua_pop(L, 1);
    lua_pushvalue(L, 2);
    h->fn = luaL_ref(L, LUA_REGISTRYINDEX);
    return h;
}

/* on(name, fn, options), on(name) */
int host_on(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    if (!known_hook(name)) {
        return luaL_error(L,
                          "there is no hook '%s'; hooks are commit, leader, member, start, "
                          "stop, policy, restore, snapshot",
                          name);
    }
    if (lua_isnoneornil(L, 2)) {
        lua_newtable(L);
        for (const struct vm *vm = script_vm(L)->scripts->vms; vm != NULL; vm = vm->next) {
            if (!vm->retired && !vm->loading) {
                push_handlers(L, vm, name);
            }
        }
        lua_json_mark_list(L);
        return 1;
    }
    luaL_checktype(L, 2, LUA_TFUNCTION);
    require_loading(L, "on()");
    (void)handler_new(L, name, leader_option(L, 3));
    return 0;
}

/* every(ms, fn, options) */
int host_every(lua_State *L)
{
    lua_Integer ms = luaL_checkinteger(L, 1);
    luaL_argcheck(L, ms >= 10 && ms <= 7 * 86400000LL, 1, "10 ms to 7 days");
    luaL_checktype(L, 2, LUA_TFUNCTION);
    require_loading(L, "every()");
    handler_new(L, "every", leader_option(L, 3))->period_ms = (uint64_t)ms;
    return 0;
}

/* [(list), -] Adds rows about a vm's handlers to the list on top. */
void push_handlers(lua_State *L, const struct vm *vm, const char *hook)
{
    for (const struct handler *h = vm->handlers; h != NULL; h = h->next) {
        if (hook != NULL && strcmp(h->name, hook) != 0) {
            continue;
        }
        lua_createtable(L, 0, 10);
        const struct {
            const char *key, *text;
        } texts[] = { { "hook", h->name },
                      { "at", h->where },
                      { "where", h->leader_only ? "leader" : "each" } };
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            lua_pushstring(L, texts[i].text);
            lua_setfield(L, -2, texts[i].key);
        }
        const struct {
            const char *key;
            uint64_t number;
        } numbers[] = { { "calls", h->calls },
                        { "errors", h->errors },
                        { "missed", h->missed },
                        { "queued", h->queued },
                        { "skipped", h->skipped } };
        for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
            lua_pushinteger(L, (lua_Integer)numbers[i].number);
            lua_setfield(L, -2, numbers[i].key);
        }
        if (h->last_error[0] != 0) {
            lua_pushstring(L, h->last_error);
            lua_setfield(L, -2, "last_error");
        }
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
}

/* ---- Timers and ends --------------------------------------------------------------------------
 */

static void on_every(void *arg)
{
    struct handler *h = arg;
    struct scripts *s = h->vm->scripts;
    if (s->halting) {
        return;
    }
    s->env->ops->timer_start(h->timer, h->period_ms);
    if (h->vm->retired || (h->leader_only && !hooks_leading(s))) {
        return;
    }
    if (h->task == NULL && h->first != NULL) { /* there was no room for a task the last time */
        start_runner(h);
    }
    if (!handler_idle(h)) {
        h->skipped++; /* it never overlaps itself */
        return;
    }
    struct payload *p = payload_new(span_make("", 0), 0);
    if (p != NULL) {
        handler_give(h, p);
        hook_payload_unref(p);
    }
}

void hooks_activate(struct vm *vm)
{
    struct env *env = vm->scripts->env;
    for (struct handler *h = vm->handlers; h != NULL; h = h->next) {
        if (h->period_ms != 0 && h->timer == NULL) {
            h->timer = env->ops->timer_new(env, on_every, h);
            if (h->timer != NULL) {
                env->ops->timer_start(h->timer, h->period_ms);
            }
        }
    }
}

void hooks_free_vm(struct vm *vm)
{
    while (vm->handlers != NULL) {
        struct handler *h = vm->handlers;
        vm->handlers = h->next;
        if (h->timer != NULL) {
            vm->scripts->env->ops->timer_free(h->timer);
        }
        finish_item(h);
        for (struct item *it = take_item(h); it != NULL; it = take_item(h)) {
            item_free(it);
        }
        mem_free(h);
    }
}

/* The n-th handler of a name in the old script hands over to the n-th in the new one. */
static struct handler *heir(const struct vm *old, const struct handler *of, struct vm *new_vm)
{
    size_t n = 0;
    for (const struct handler *h = old->handlers; h != of; h = h->next) {
        n += strcmp(h->name, of->name) == 0;
    }
    for (struct handler *h = new_vm->handlers; h != NULL; h = h->next) {
        if (strcmp(h->name, of->name) == 0 && n-- == 0) {
            return h;
        }
    }
    return NULL;
}

void hooks_move(struct vm *old, struct vm *new_vm)
{
    for (struct handler *h = old->handlers; h != NULL; h = h->next) {
        struct handler *to = h->period_ms == 0 ? heir(old, h, new_vm) : NULL;
        if (h->timer != NULL) {
            old->scripts->env->ops->timer_stop(h->timer);
        }
        if (to == NULL) {
            continue;
        }
        if (h->working != NULL) { /* cut off in the middle: the new one gets it again */
            handler_give(to, h->working->payload);
        }
        for (struct item *it = take_item(h); it != NULL; it = take_item(h)) {
            to->missed_now += it->missed;
            handler_give(to, it->payload);
            item_free(it);
        }
        to->missed_now += h->missed_now;
    }
}
