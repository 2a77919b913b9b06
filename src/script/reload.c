/* `scripts reload`: reads all node scripts off the loop, runs them beside the old ones in slices,
 * and takes the new ones only if every one is good (R1): else the old ones go on and the error says
 * file and line. With the swap, what an old handler had not taken yet is moved to the new one at
 * its place, and what ran in an old one is ended.
 *
 * One at a time. The command drives it (lua/commands/node/scripts.lua); when that is killed, the
 * next reload begins anew.
 *
 * R1 all scripts are swapped, or none */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "script/files_impl.h"

struct reload {
    struct scripts *s; /* NULL: the node has stopped meanwhile */
    struct env_job job;
    struct env *env;
    struct await *await;
    const struct script_file *files;
    size_t count, at;
    struct buf *texts;
    struct vm **vms;
    struct load load;
    uint64_t owner; /* the task that asked */
    bool busy, begun;
    int code;
    struct error error;
};

static void reload_drop(struct reload *r)
{
    for (size_t i = 0; i < r->count; i++) {
        buf_free(&r->texts[i]);
        if (r->vms[i] != NULL) {
            vm_retire(r->vms[i]);
        }
    }
    mem_free(r->texts);
    mem_free(r->vms);
    mem_free(r);
}

void reload_free(struct scripts *s)
{
    struct reload *r = s->reload;
    s->reload = NULL;
    if (r != NULL) {
        ASSERT(!r->busy);
        reload_drop(r);
    }
}

static void reload_run(struct env_job *job)
{
    struct reload *r = job->arg;
    for (size_t i = 0; i < r->count && r->code == 0; i++) {
        r->code = script_read(r->env, &r->files[i], &r->texts[i], &r->error);
    }
}

static void reload_read(struct env_job *job)
{
    struct reload *r = job->arg;
    r->busy = false;
    r->await->code = r->code;
    r->await->error = r->error;
    await_ready(r->await);
}

/* -> true | nil, message, code */
static int answer(lua_State *L, int code, const struct error *e)
{
    if (code == 0) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, e->message);
    lua_pushstring(L, error_wire(code));
    return 3;
}

static int read_done(lua_State *L, int status, lua_KContext context)
{
    struct task *t = task_current(L);
    struct await *a = t->await;
    (void)status, (void)context;
    struct error e = a->error;
    int code = a->code;
    t->await = NULL;
    await_free(a);
    return answer(L, code, &e);
}

static bool at_work(const struct scripts *s, uint64_t id)
{
    for (const struct task *t = s->tasks; t != NULL; t = t->next) {
        if (t->id == id) {
            return true;
        }
    }
    return false;
}

static int reload_begin(lua_State *L, struct scripts *s, struct task *t)
{
    if (s->reload != NULL && (s->reload->busy || at_work(s, s->reload->owner))) {
        return luaL_error(L, "a reload is under way");
    }
    reload_free(s);
    struct reload *r = mem_zalloc(sizeof *r);
    struct await *a = await_new(t);
    struct buf *texts = mem_zalloc((s->files_count + 1) * sizeof *texts);
    struct vm **vms = mem_zalloc((s->files_count + 1) * sizeof(struct vm *));
    if (r == NULL || a == NULL || texts == NULL || vms == NULL) {
        mem_free(r);
        mem_free(a);
        mem_free(texts);
        mem_free(vms);
        return luaL_error(L, "out of memory");
    }
    *r = (struct reload){ .s = s,
                          .env = s->env,
                          .await = a,
                          .files = s->files,
                          .count = s->files_count,
                          .texts = texts,
                          .vms = vms,
                          .owner = t->id };
    r->job = (struct env_job){ .run = reload_run, .done = reload_read, .arg = r };
    r->busy = true;
    s->reload = r;
    s->env->ops->job(s->env, &r->job);
    return await_yield(L, a, read_done);
}

/* -> true: all are loaded, false: call again | nil, message, code */
static int reload_step(lua_State *L, struct scripts *s)
{
    struct reload *r = s->reload;
    struct error e;
    int code = 0;
    error_clear(&e);
    if (r->at == r->count) {
        lua_pushboolean(L, 1);
        return 1;
    }
    if (!r->begun) {
        const struct buf *text = &r->texts[r->at];
        r->begun = true;
        code = load_begin(s, &s->files[r->at], span_make((const char *)text->data, text->len),
                          &r->load, &e);
        r->vms[r->at] = r->load.vm;
    }
    code = code != 0 ? code : load_step(&r->load, false, &e);
    if (code != 0) {
        s->reload = NULL;
        reload_drop(r);
        return answer(L, code, &e);
    }
    if (r->load.done) {
        r->at++;
        r->begun = false;
    }
    lua_pushboolean(L, 0);
    return 1;
}

static void retire_old(struct scripts *s, struct vm *old, struct vm *new_vm)
{
    hooks_move(old, new_vm);
    vm_retire(old);
    for (struct task *t = s->tasks; t != NULL; t = t->next) {
        if (t->vm == old) {
            task_kill(t, "its script was reloaded");
        }
    }
}

/* -> true | nil, message, code */
static int reload_swap(lua_State *L, struct scripts *s)
{
    struct reload *r = s->reload;
    struct error e;
    error_clear(&e);
    for (size_t i = 0; i < r->count; i++) {
        struct vm *old = s->files[i].vm;
        s->files[i].vm = r->vms[i];
        s->files[i].vm->loading = false;
        r->vms[i] = old; /* to be dropped */
        if (old != NULL) {
            old->loading = true;
        }
    }
    int code = commands_publish(s, &e);
    for (size_t i = 0; i < r->count; i++) {
        if (code != 0) { /* back again */
            struct vm *good = r->vms[i];
            r->vms[i] = s->files[i].vm;
            r->vms[i]->loading = true;
            s->files[i].vm = good;
            if (good != NULL) {
                good->loading = false;
            }
            continue;
        }
        s->files[i].error[0] = 0;
        hooks_activate(s->files[i].vm);
        if (r->vms[i] != NULL) {
            retire_old(s, r->vms[i], s->files[i].vm);
            r->vms[i] = NULL;
        }
    }
    if (code != 0) {
        (void)commands_publish(s, NULL);
    }
    s->reload = NULL;
    reload_drop(r);
    return answer(L, code, &e);
}

/* node.reload("read" | "step" | "swap") */
int node_reload(lua_State *L)
{
    static const char *const steps[] = { "read", "step", "swap", NULL };
    struct scripts *s = script_vm(L)->scripts;
    struct task *t = task_current(L);
    int step = luaL_checkoption(L, 1, NULL, steps);
    if (step == 0) {
        return reload_begin(L, s, t);
    }
    if (s->reload == NULL || s->reload->owner != t->id || s->reload->busy) {
        return luaL_error(L, "no reload of this task is under way");
    }
    return step == 1 ? reload_step(L, s) : reload_swap(L, s);
}
