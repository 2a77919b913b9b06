/* Whole nodes without sockets and Lua scripts: service, policy, store and cluster over the
 * simulated env. A request is an `ask`: words in, one answer out, counted. */
#ifndef USHER_TESTS_SERVICE_WORLD_H
#define USHER_TESTS_SERVICE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "service/service.h"
#include "sim/env_sim.h"

#define NODES_MAX 5
#define WORDS_MAX 16

struct world;

struct node {
    struct world *w;
    const char *address;
    const char *list[NODES_MAX + 1];
    struct env *env;
    struct registry *registry;
    struct policy *policy;
    struct service *service;
    struct cluster *cluster;
    bool running, stopped, paused;
};

struct world {
    struct sim *sim;
    struct node nodes[NODES_MAX];
    unsigned count;
    struct span first_policy;
};

/* One request. Zeroed by ask(); json is freed by ask_free(). */
struct ask {
    struct request r;
    struct world *w;
    struct span argv[WORDS_MAX];
    char words[600];
    unsigned answers; /* must become 1 */
    int code;
    struct error e;
    char *json;
    uint64_t answered_ms;
};

static const char *const world_names[NODES_MAX] = { "a:1", "b:1", "c:1", "d:1", "e:1" };

static inline void node_accept(void *arg, struct env_stream *stream)
{
    struct node *n = arg;
    if (n->cluster != NULL && n->running) {
        cluster_accept(n->cluster, stream);
    } else {
        n->env->ops->stream_close(stream);
    }
}

static inline void node_start(struct node *n)
{
    struct error e = { 0 };
    char dir[32];
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    n->env = sim_env(n->w->sim, n->address);
    n->stopped = n->paused = false;
    n->registry = registry_new();
    struct policy_options po = { .seed = { sim_rand(n->w->sim, UINT32_MAX),
                                           sim_rand(n->w->sim, UINT32_MAX) } };
    if (policy_new(&po, n->registry, &n->policy, &e) != 0) {
        fail_msg("policy: %s", e.message);
    }
    struct service_options so = { .env = n->env,
                                  .policy = n->policy,
                                  .registry = n->registry,
                                  .first_policy = n->w->first_policy };
    assert_int_equal(service_new(&so, &n->service, &e), 0);
    struct cluster_options co = { .dir = dir,
                                  .address = n->address,
                                  .nodes = n->list,
                                  .secret = span_of("secret"),
                                  .version = 1,
                                  .arg = n->service };
    service_cluster_events(&co.on);
    if (cluster_start(n->env, &co, &n->cluster, &e) != 0) {
        fail_msg("%s does not start: %s", n->address, e.message);
    }
    service_attach(n->service, n->cluster);
    n->running = true;
    sim_listen(n->env, node_accept, n);
}

static inline void node_on_stopped(void *arg)
{
    struct node *n = arg;
    n->stopped = true;
    n->cluster = NULL;
}

static inline bool node_is_stopped(void *arg) { return ((struct node *)arg)->stopped; }

static inline void node_stop(struct node *n)
{
    n->running = false;
    if (!sim_is_ghost(n->env)) {
        sim_listen(n->env, NULL, NULL);
    }
    cluster_stop(n->cluster, node_on_stopped, n);
    assert_true(sim_run_until(n->w->sim, 20000, node_is_stopped, n));
    service_free(n->service);
    policy_free(n->policy);
    registry_free(n->registry);
    if (!sim_is_ghost(n->env)) {
        sim_crash(n->env, SIM_KILL);
    }
}

static inline void node_crash(struct node *n, enum sim_crash how)
{
    if (n->running) {
        if (n->paused) {
            sim_resume(n->env);
            n->paused = false;
        }
        sim_crash(n->env, how);
        node_stop(n);
    }
}

static inline void world_quiet(void *arg, enum log_level level, const char *module,
                               const char *text)
{
    struct world *w = arg;
    if (getenv("WORLD_LOG") != NULL) {
        (void)fprintf(stderr, "%8llu %d %s: %s\n", (unsigned long long)sim_now(w->sim), (int)level,
                      module, text);
    }
}

static inline struct world *world_new(uint64_t seed, unsigned count)
{
    struct world *w = mem_zalloc(sizeof *w);
    w->sim = sim_new(seed);
    w->count = count;
    log_set_sink(world_quiet, w);
    for (unsigned i = 0; i < count; i++) {
        w->nodes[i].w = w;
        w->nodes[i].address = world_names[i];
        for (unsigned k = 0; k < count; k++) {
            w->nodes[i].list[k] = world_names[k];
        }
    }
    return w;
}

static inline void world_start(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        node_start(&w->nodes[i]);
    }
}

static inline void world_free(struct world *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].running) {
            node_crash(&w->nodes[i], SIM_KILL);
        }
    }
    sim_free(w->sim);
    log_set_sink(NULL, NULL);
    mem_free(w);
}

/* ---- Looking ------------------------------------------------------------------- */

static inline struct node *world_leader(struct world *w)
{
    struct node *best = NULL;
    uint64_t term = 0;
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        if (n->running && !n->paused) {
            struct cluster_status s;
            cluster_status(n->cluster, &s);
            if (s.role == ROLE_LEADER && s.ready && s.term > term) {
                best = n;
                term = s.term;
            }
        }
    }
    return best;
}

/* Somebody leads and everybody who runs knows it. */
static inline bool world_led(void *arg)
{
    struct world *w = arg;
    struct node *l = world_leader(w);
    for (unsigned i = 0; l != NULL && i < w->count; i++) {
        struct node *n = &w->nodes[i];
        struct cluster_status s;
        if (!n->running || n->paused) {
            continue;
        }
        cluster_status(n->cluster, &s);
        if (strcmp(s.leader, l->address) != 0) {
            return false;
        }
    }
    return l != NULL;
}

static inline struct node *world_wait_leader(struct world *w)
{
    if (!sim_run_until(w->sim, 20000, world_led, w)) {
        fail_msg("no leader within 20 s");
    }
    return world_leader(w);
}

static inline struct node *world_follower(struct world *w)
{
    struct node *l = world_wait_leader(w);
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].running && &w->nodes[i] != l) {
            return &w->nodes[i];
        }
    }
    return NULL;
}

/* ---- Asking ---------------------------------------------------------------------- */

static inline void ask_answered(struct request *r, int code, const struct error *e,
                                struct span fields, struct span json)
{
    struct ask *a = r->arg;
    (void)fields;
    a->answers++;
    a->code = code;
    a->answered_ms = sim_now(a->w->sim);
    if (code == 0) {
        mem_free(a->json);
        a->json = mem_strndup(json.data, json.len);
    } else {
        a->e = *e;
    }
}

static inline struct policy_user ask_admin(void)
{
    return (struct policy_user){ .name = { "", 0 }, .access = ACCESS_ADMIN };
}

/* Words are split at blanks. */
static inline void ask_make(struct ask *a, struct node *n, struct policy_user user,
                            const char *format, va_list args)
{
    memset(a, 0, sizeof *a);
    a->w = n->w;
    (void)vsnprintf(a->words, sizeof a->words, format, args);
    for (char *p = strtok(a->words, " "); p != NULL; p = strtok(NULL, " ")) {
        assert_true(a->r.argc < WORDS_MAX);
        a->argv[a->r.argc++] = span_of(p);
    }
    a->r.argv = a->argv;
    a->r.user = user;
    a->r.cb = ask_answered;
    a->r.arg = a;
}

static inline void ask_send(struct ask *a, struct node *n, struct policy_user user,
                            const char *format, va_list args)
{
    ask_make(a, n, user, format, args);
    service_submit(n->service, &a->r);
}

__attribute__((format(printf, 3, 4))) static inline void ask(struct ask *a, struct node *n,
                                                             const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ask_send(a, n, ask_admin(), format, args);
    va_end(args);
}

__attribute__((format(printf, 4, 5))) static inline void
ask_as(struct ask *a, struct node *n, struct policy_user user, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ask_send(a, n, user, format, args);
    va_end(args);
}

static inline bool ask_done(void *arg) { return ((struct ask *)arg)->answers > 0; }

static inline void ask_wait(struct ask *a)
{
    if (!sim_run_until(a->w->sim, 60000, ask_done, a)) {
        fail_msg("no answer to: %s", a->words);
    }
    assert_int_equal(a->answers, 1);
}

static inline void ask_free(struct ask *a)
{
    mem_free(a->json);
    a->json = NULL;
}

/* Asks, waits, expects to be granted; returns the ask for its json. */
__attribute__((format(printf, 3, 4))) static inline void granted(struct ask *a, struct node *n,
                                                                 const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ask_send(a, n, ask_admin(), format, args);
    va_end(args);
    ask_wait(a);
    if (a->code != 0) {
        fail_msg("%s: %s %s; %s", format, error_wire(a->code), a->e.message, a->e.hint);
    }
}

__attribute__((format(printf, 4, 5))) static inline void refused(struct ask *a, struct node *n,
                                                                 int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ask_send(a, n, ask_admin(), format, args);
    va_end(args);
    ask_wait(a);
    if (a->code != code) {
        fail_msg("%s: expected %s, got %s %s", format, error_wire(code), error_wire(a->code),
                 a->code == 0 ? a->json : a->e.message);
    }
}

/* The text of a string field of a flat answer, "" when absent. */
static inline const char *field(const struct ask *a, const char *name, char out[200])
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *p = a->json != NULL ? strstr(a->json, key) : NULL;
    out[0] = 0;
    if (p != NULL) {
        p += strlen(key);
        size_t n = strcspn(p, "\"");
        memcpy(out, p, n < 199 ? n : 199);
        out[n < 199 ? n : 199] = 0;
    }
    return out;
}

static inline long long number(const struct ask *a, const char *name)
{
    char key[64];
    (void)snprintf(key, sizeof key, "\"%s\":", name);
    const char *p = a->json != NULL ? strstr(a->json, key) : NULL;
    return p != NULL ? atoll(p + strlen(key)) : -1;
}

/* Event 1: rows A..H of 100 seats. */
static inline void world_event(struct world *w)
{
    struct ask a;
    granted(&a, world_wait_leader(w),
            "add-event 1 [{\"row\":\"A\",\"seats\":100},{\"row\":\"B\",\"seats\":100},"
            "{\"row\":\"C\",\"seats\":100},{\"row\":\"D\",\"seats\":100},"
            "{\"row\":\"E\",\"seats\":100},{\"row\":\"F\",\"seats\":100},"
            "{\"row\":\"G\",\"seats\":100},{\"row\":\"H\",\"seats\":100}]");
    ask_free(&a);
}

/* ---- A test: three nodes, an event, and no memory left behind -------------------------- */

static int64_t live_before;

static inline struct world *three(uint64_t seed)
{
    live_before = mem_test_live();
    struct world *w = world_new(seed, 3);
    world_start(w);
    world_event(w);
    return w;
}

static inline void over(struct world *w, struct ask *asks, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        ask_free(&asks[i]);
    }
    world_free(w);
    assert_int_equal(mem_test_live(), live_before);
}

#endif
