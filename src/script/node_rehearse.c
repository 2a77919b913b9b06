/* node.rehearse{...}: what `policy rehearse` (lua/commands/node/policy.lua) is written over.
 *
 *   probe the service for a while -> gather refusals from all nodes -> copy the log, a slice at
 *   a time -> load the snapshot's state in a job -> replay and judge in another, with probes
 *   going on -> the report; both are background jobs (env.h)
 *
 * A probe is an ordinary linearizable read through the service, as a client would send it;
 * how long it takes before and meanwhile goes into the report (`serving`).
 *
 * How it fails: the log no longer reaches back to the snapshot (a newer one was taken): begin
 * again, three times at most. The caller goes away: the job stops at its next entry. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "cluster/replay.h"
#include "policy/lua_json.h"
#include "policy/rehearse.h"
#include "script/script_impl.h"

#define PROBE_EVERY_MS  20 /* a probe costs the leader a round: they must not be a load */
#define PROBE_BEFORE_MS 1000
#define PROBES_MAX      8192
#define SLICE_BYTES     (64 * 1024) /* each millisecond; copying into fresh memory is slow */
#define BEGINNINGS_MAX  3
#define USERS_MAX       256
#define ROLES_MAX       32

struct samples {
    uint32_t us[PROBES_MAX];
    size_t count;
};

struct run {
    struct scripts *s;
    struct cluster *c;
    struct env *env;
    struct await *await;
    /* Strings of the request: bundle, users. */
    struct buf bundle;
    struct rehearse_user users[USERS_MAX];
    const char *roles[USERS_MAX][ROLES_MAX + 1];
    struct rehearse_options options;
    /* What is replayed. */
    struct cluster_replay from;
    uint64_t at;
    unsigned beginnings;
    struct buf entries, refusals, report;
    unsigned missing;
    bool gathered, probed;
    struct store *store;
    struct env_timer *slice;
    struct env_job job;
    bool working;
    atomic_bool stop;
    int status;
    struct error error;
    uint64_t started_ns, worked_ns;
    /* Probes. */
    struct env_timer *pulse;
    struct request probe;
    struct span probe_argv[3];
    bool probing, ended;
    uint64_t probe_ns, probe_until_ms;
    struct samples before, during;
};

static void run_free(struct run *r)
{
    r->env->ops->timer_free(r->slice);
    r->env->ops->timer_free(r->pulse);
    for (size_t i = 0; i < r->options.users_count; i++) {
        mem_free((char *)(uintptr_t)r->users[i].name.data);
        for (size_t k = 0; r->roles[i][k] != NULL; k++) {
            mem_free((char *)(uintptr_t)r->roles[i][k]);
        }
    }
    buf_free(&r->bundle);
    buf_free(&r->entries);
    buf_free(&r->refusals);
    buf_free(&r->report);
    store_free(r->store);
    mem_free(r);
}

/* ---- The end ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void put_samples(struct buf *b, const char *name, struct samples *s)
{
    json_put_key(b, name);
    buf_put_u8(b, '{');
    json_field_int(b, "probes", (int64_t)s->count);
    if (s->count > 0) {
        qsort(s->us, s->count, sizeof *s->us, by_value);
        json_field_int(b, "p50_us", s->us[s->count / 2]);
        json_field_int(b, "p99_us", s->us[(s->count * 99) / 100]);
    }
    buf_put_u8(b, '}');
}

static void put_result(struct run *r)
{
    struct buf *out = &r->await->json;
    buf_clear(out);
    buf_put(out, r->report.data, r->report.len - 1); /* without its last brace */
    json_field_int(out, "nodes_missing", r->missing);
    json_field_int(out, "elapsed_ms", (int64_t)(r->worked_ns / 1000000));
    json_put_key(out, "serving");
    buf_put_u8(out, '{');
    put_samples(out, "before", &r->before);
    put_samples(out, "during", &r->during);
    buf_put_str(out, "}}");
    if (out->failed) {
        r->await->code = error_set(&r->await->error, ERR_NOMEM, "out of memory");
    }
}

/* Everything that might still call back has. */
static void finish(struct run *r)
{
    r->ended = true;
    r->env->ops->timer_stop(r->pulse);
    if (r->probing) {
        return; /* its answer comes, and then this again */
    }
    r->await->code = r->status;
    if (r->status != 0) {
        r->await->error = r->error;
    } else {
        put_result(r);
    }
    struct await *a = r->await;
    run_free(r);
    await_ready(a);
}

static void fail(struct run *r, int code, const char *why)
{
    r->status = error_set(&r->error, code, "%s", why);
    error_hint(&r->error, "try again");
    finish(r);
}

/* ---- Probes -------------------------------------------------------------------------------- */

static void step(struct run *r);

static void on_probe(struct request *request, int code, const struct error *e, struct span fields,
                     struct span json)
{
    struct run *r = request->arg;
    struct samples *s = r->working ? &r->during : &r->before;
    uint64_t us = (r->env->ops->mono_ns(r->env) - r->probe_ns) / 1000;
    (void)code, (void)e, (void)fields, (void)json;
    r->probing = false;
    if (s->count < PROBES_MAX) {
        s->us[s->count++] = us > UINT32_MAX ? UINT32_MAX : (uint32_t)us;
    }
    if (r->ended) {
        finish(r);
    }
}

static void on_pulse(void *arg)
{
    struct run *r = arg;
    if (r->await->task == NULL) {
        atomic_store(&r->stop, true);
        r->probe_until_ms = 0; /* step() ends it, when the gathering is over */
    }
    if (!r->probed && r->env->ops->mono_ms(r->env) >= r->probe_until_ms) {
        r->probed = true;
        step(r);
        return;
    }
    r->env->ops->timer_start(r->pulse, PROBE_EVERY_MS);
    if (!r->probing) {
        r->probing = true;
        r->probe_ns = r->env->ops->mono_ns(r->env);
        r->probe.impl = NULL;
        r->s->sink.submit(r->s->sink.arg, &r->probe);
    }
}

/* ---- The steps ------------------------------------------------------------------------------ */

static void pace(void *arg)
{
    struct run *r = arg;
    r->env->ops->rest(r->env, &r->job);
}

static void job_run(struct env_job *job)
{
    struct run *r = job->arg;
    r->options.pace = pace;
    r->options.arg = r;
    r->options.refusals = span_make((const char *)r->refusals.data, r->refusals.len);
    r->status = rehearse(r->store, span_make((const char *)r->entries.data, r->entries.len),
                         &r->options, &r->report, &r->error);
    store_free(r->store); /* here, as all that is large: to free it takes milliseconds */
    r->store = NULL;
    buf_free(&r->entries);
    buf_free(&r->refusals);
}

static void job_done(struct env_job *job)
{
    struct run *r = job->arg;
    r->worked_ns = r->env->ops->mono_ns(r->env) - r->started_ns;
    finish(r);
}

static void on_state(void *arg, int status, struct store *store, const struct error *e)
{
    struct run *r = arg;
    if (status != 0) {
        r->status = status;
        r->error = *e;
        finish(r);
        return;
    }
    r->store = store;
    r->job = (struct env_job){ .run = job_run, .done = job_done, .arg = r, .background = true };
    r->env->ops->job(r->env, &r->job);
}

static void begin(struct run *r)
{
    r->beginnings++;
    buf_clear(&r->entries);
    cluster_replay_begin(r->c, &r->from);
    r->at = r->from.snapshot_index;
    r->env->ops->timer_start(r->slice, 0);
}

static void on_slice(void *arg)
{
    struct run *r = arg;
    if (r->await->task == NULL) { /* given up: the cluster may be gone */
        fail(r, ERR_CANCELED, "nobody waits for the rehearsal");
        return;
    }
    if (r->beginnings == 0) {
        begin(r);
        return;
    }
    int rc = cluster_replay_copy(r->c, &r->from, &r->at, SLICE_BYTES, &r->entries);
    if (rc == ERR_NOTFOUND && r->beginnings < BEGINNINGS_MAX) {
        begin(r);
    } else if (rc != 0) {
        fail(r, rc, "the log cannot be copied for the rehearsal");
    } else if (r->at < r->from.commit) {
        r->env->ops->timer_start(r->slice, 1);
    } else {
        cluster_replay_state(r->c, &r->from, on_state, r);
    }
}

/* The probes before and the gathering have ended: now the work. */
static void step(struct run *r)
{
    if (r->probed && r->gathered && !r->working) {
        r->working = true;
        r->started_ns = r->env->ops->mono_ns(r->env);
        r->env->ops->timer_start(r->pulse, PROBE_EVERY_MS);
        r->env->ops->timer_start(r->slice, 0);
    }
}

static void on_refusals(void *arg, struct span records, unsigned missing)
{
    struct run *r = arg;
    buf_put(&r->refusals, records.data, records.len);
    r->missing = missing;
    r->gathered = true;
    step(r);
}

/* ---- From Lua ---------------------------------------------------------------------------------
 */

/* MAY_RAISE before anything is made: the shape of the argument. */
static void check_argument(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_getfield(L, 1, "bundle");
    luaL_checktype(L, -1, LUA_TTABLE);
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        luaL_checktype(L, -1, LUA_TSTRING);
        lua_pop(L, 1);
    }
    lua_pop(L, 2);
}

/* {name, text, name, text, ...}, in the order of the names */
static void read_bundle(lua_State *L, struct buf *out)
{
    lua_getfield(L, 1, "bundle");
    policy_bundle_begin(out);
    for (lua_Integer i = 1;; i += 2) {
        struct span name, text;
        lua_rawgeti(L, -1, i);
        lua_rawgeti(L, -2, i + 1);
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TSTRING) {
            break;
        }
        name.data = lua_tolstring(L, -2, &name.len);
        text.data = lua_tolstring(L, -1, &text.len);
        policy_bundle_add(out, name, text);
        lua_pop(L, 2);
    }
    lua_pop(L, 3);
}

static char *copy_string(lua_State *L, int index)
{
    size_t len;
    const char *text = lua_tolstring(L, index, &len);
    return text != NULL ? mem_strndup(text, len) : NULL;
}

static void read_roles(lua_State *L, struct run *r, size_t i)
{
    size_t n = 0;
    if (lua_getfield(L, -1, "roles") == LUA_TTABLE) {
        for (lua_Integer k = 1; n < ROLES_MAX && lua_rawgeti(L, -1, k) == LUA_TSTRING; k++) {
            r->roles[i][n] = copy_string(L, -1);
            n += r->roles[i][n] != NULL;
            lua_pop(L, 1);
        }
        lua_settop(L, 4);
    }
    lua_settop(L, 3);
    r->users[i].roles = r->roles[i];
}

/* users = { {name=, access=, roles=}, ... } */
static void read_users(lua_State *L, struct run *r)
{
    size_t n = 0;
    lua_settop(L, 1);
    if (lua_getfield(L, 1, "users") == LUA_TTABLE) {
        for (lua_Integer i = 1; n < USERS_MAX && lua_rawgeti(L, 2, i) == LUA_TTABLE; i++) {
            lua_getfield(L, 3, "name");
            char *name = copy_string(L, -1);
            lua_pop(L, 1);
            if (name != NULL) {
                int access = lua_getfield(L, 3, "access") == LUA_TSTRING
                                 ? access_parse(span_of(lua_tostring(L, -1)))
                                 : ACCESS_CLIENT;
                lua_settop(L, 3);
                r->users[n].name = span_of(name);
                r->users[n].access = access < 0 ? ACCESS_CLIENT : access;
                read_roles(L, r, n);
                n++;
            }
            lua_settop(L, 2);
        }
    }
    lua_settop(L, 1);
    r->options.users = r->users;
    r->options.users_count = n;
    r->options.other_access = n > 0 ? ACCESS_CLIENT : ACCESS_ADMIN;
}

static uint64_t read_number(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    lua_Integer n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n > 0 ? (uint64_t)n : 0;
}

/* -> the report | nil, message, code, hint */
static int report(lua_State *L, int status, lua_KContext context)
{
    (void)status, (void)context;
    return await_json(L, await_end(L), "null");
}

static struct run *run_new(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    struct run *r = mem_zalloc(sizeof *r);
    struct await *a = await_new(task_current(L));
    if (r == NULL || a == NULL) {
        mem_free(r);
        if (a != NULL) {
            await_free(a);
        }
        luaL_error(L, "out of memory");
        return NULL; /* never reached */
    }
    r->s = s;
    r->c = s->cluster;
    r->env = s->env;
    r->await = a;
    r->slice = r->env->ops->timer_new(r->env, on_slice, r);
    r->pulse = r->env->ops->timer_new(r->env, on_pulse, r);
    atomic_init(&r->stop, false);
    r->options.stop = &r->stop;
    r->probe_argv[0] = span_of("get");
    r->probe_argv[1] = span_of("usher.probe");
    r->probe_argv[2] = span_of("--linearizable");
    r->probe = (struct request){ .argv = r->probe_argv,
                                 .argc = 3,
                                 .user = { .access = ACCESS_ADMIN },
                                 .cb = on_probe,
                                 .arg = r };
    return r;
}

int node_rehearse(lua_State *L)
{
    struct scripts *s = script_vm(L)->scripts;
    check_argument(L);
    if (s->cluster == NULL) {
        return luaL_error(L, "the node is starting");
    }
    struct run *r = run_new(L);
    read_bundle(L, &r->bundle);
    read_users(L, r);
    r->options.bundle = span_make((const char *)r->bundle.data, r->bundle.len);
    r->options.last = read_number(L, "last");
    r->options.since_ms = read_number(L, "since");
    struct await *a = r->await;
    a->pending = true;
    r->probe_until_ms = r->env->ops->mono_ms(r->env) + PROBE_BEFORE_MS;
    r->env->ops->timer_start(r->pulse, PROBE_EVERY_MS);
    if (s->sink.refusals != NULL) {
        s->sink.refusals(s->sink.arg, on_refusals, r);
    } else {
        r->gathered = true;
    }
    return await_yield(L, a, report);
}
