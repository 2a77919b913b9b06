/* Whole clusters in one thread over the simulated env, with a client's view of them: what
 * was acknowledged, by whom, in which order. Shared by the cluster's tests; functions are
 * static inline so that each test stays one program.
 *
 * A proposal is one transaction that sets the kv "k<serial>" to a value of its own; it is
 * acknowledged when the proposing node reports its index committed as its own group. */
#ifndef USHER_TESTS_CLUSTER_WORLD_H
#define USHER_TESTS_CLUSTER_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "cluster/feature.h"
#include "sim/env_sim.h"

#define NODES_MAX 5
#define ACKS_MAX  20000

struct world;

struct pending {
    uint64_t index, serial;
};

struct node {
    struct world *w;
    const char *address;
    const char *list[NODES_MAX + 1];
    struct env *env;
    struct cluster *c;
    bool running, paused, found, stopped;
    bool outside; /* the test knows that it is not in the cluster */
    bool fatal, fatal_stop;
    struct error error;
    struct pending pending[8];
    unsigned pending_count;
    unsigned ready_events, undone_events, restored_events;
    uint64_t committed_index; /* of the last committed event: must rise by one */
    uint32_t feature_level;   /* of its program; 0: this one's */
    uint32_t entry_level;     /* in the head of the newest entry committed here */
    int role;
};

struct world {
    struct sim *sim;
    struct node nodes[NODES_MAX];
    unsigned count;
    uint64_t serial;
    uint64_t acked[ACKS_MAX];
    unsigned acks;
    uint64_t snapshot_bytes, segment_bytes; /* 0: what is usual */
    unsigned election_ms;
    size_t value_bytes;
    int faults; /* things that must never happen */
};

static const char *const world_names[NODES_MAX] = { "a:1", "b:1", "c:1", "d:1", "e:1" };

/* ---- The node's events ------------------------------------------------------ */

static inline void node_on_role(void *arg, int role, const char *leader, uint64_t term)
{
    struct node *n = arg;
    (void)leader;
    (void)term;
    n->role = role;
}

static inline void node_on_ready(void *arg) { ((struct node *)arg)->ready_events++; }

static inline void node_on_committed(void *arg, uint64_t index, uint64_t term, struct span entry,
                                     bool mine)
{
    struct node *n = arg;
    (void)term;
    if (sim_is_ghost(n->env)) {
        return;
    }
    if (entry.len > 0) {
        struct reader r;
        struct entry_head head;
        if (entry_open(&r, entry.data, entry.len, &head, NULL) == 0) {
            n->entry_level = head.feature_level;
        }
    }
    if (index <= n->committed_index) {
        n->w->faults++; /* an index reported twice in one life */
    }
    n->committed_index = index;
    for (unsigned i = 0; mine && i < n->pending_count; i++) {
        if (n->pending[i].index == index) {
            if (n->w->acks < ACKS_MAX) {
                n->w->acked[n->w->acks++] = n->pending[i].serial;
            }
            n->pending[i] = n->pending[--n->pending_count];
            return;
        }
    }
    if (mine) {
        n->w->faults++; /* its own group, but nobody proposed it */
    }
}

static inline void node_on_undone(void *arg, uint64_t first)
{
    struct node *n = arg;
    n->undone_events++;
    for (unsigned i = 0; i < n->pending_count;) {
        if (n->pending[i].index >= first) {
            n->pending[i] = n->pending[--n->pending_count];
        } else {
            i++;
        }
    }
}

static inline void node_on_restored(void *arg, struct store *store)
{
    struct node *n = arg;
    (void)store;
    n->restored_events++;
    n->committed_index = 0;
}

static inline void node_on_fatal(void *arg, const struct error *e, bool stop)
{
    struct node *n = arg;
    if (sim_is_ghost(n->env)) {
        return;
    }
    n->fatal = true;
    n->fatal_stop = stop;
    n->error = *e;
}

/* ---- Starting and stopping ------------------------------------------------------ */

static inline void node_accept(void *arg, struct env_stream *stream)
{
    struct node *n = arg;
    if (n->c != NULL && n->running) {
        cluster_accept(n->c, stream);
    } else {
        n->env->ops->stream_close(stream);
    }
}

static inline int node_try_start(struct node *n, struct error *e)
{
    if (n->env == NULL || sim_is_ghost(n->env)) {
        n->env = sim_env(n->w->sim, n->address);
    }
    n->fatal = n->fatal_stop = n->stopped = n->paused = false;
    n->pending_count = 0;
    n->committed_index = 0;
    n->role = ROLE_FOUNDING;
    char dir[32];
    (void)snprintf(dir, sizeof dir, "/data/%c", n->address[0]);
    struct cluster_options o = { .dir = dir,
                                 .address = n->address,
                                 .nodes = n->list,
                                 .secret = span_of("secret"),
                                 .election_timeout_ms = n->w->election_ms,
                                 .found = n->found,
                                 .version = 1,
                                 .feature_level = n->feature_level,
                                 .snapshot_bytes = n->w->snapshot_bytes,
                                 .segment_bytes = n->w->segment_bytes,
                                 .on = { .role = node_on_role,
                                         .ready = node_on_ready,
                                         .committed = node_on_committed,
                                         .undone = node_on_undone,
                                         .restored = node_on_restored,
                                         .fatal = node_on_fatal },
                                 .arg = n };
    int rv = cluster_start(n->env, &o, &n->c, e);
    n->running = rv == 0;
    if (rv == 0) {
        sim_listen(n->env, node_accept, n);
    }
    return rv;
}

static inline void node_start(struct node *n)
{
    struct error e = { 0 };
    if (node_try_start(n, &e) != 0) {
        fail_msg("%s does not start: %s", n->address, e.message);
    }
}

static inline void node_on_stopped(void *arg)
{
    struct node *n = arg;
    n->stopped = true;
    n->c = NULL;
}

static inline bool node_is_stopped(void *arg) { return ((struct node *)arg)->stopped; }

/* An orderly stop, or the burial of a dead one. */
static inline void node_stop(struct node *n)
{
    if (n->c == NULL) {
        return;
    }
    n->running = false;
    if (!sim_is_ghost(n->env)) {
        sim_listen(n->env, NULL, NULL);
    }
    cluster_stop(n->c, node_on_stopped, n);
    assert_true(sim_run_until(n->w->sim, 20000, node_is_stopped, n));
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
        n->pending_count = 0;
        sim_crash(n->env, how);
        node_stop(n);
    }
}

static inline void world_quiet(void *arg, enum log_level level, const char *module,
                               const char *text)
{
    if (getenv("WORLD_LOG") != NULL) {
        struct world *w = arg;
        (void)fprintf(stderr, "%8llu %d %s: %s\n", (unsigned long long)sim_now(w->sim), (int)level,
                      module, text);
    }
}

static inline struct world *world_new(uint64_t seed, unsigned count)
{
    struct world *w = mem_zalloc(sizeof *w);
    w->sim = sim_new(seed);
    w->count = count;
    w->value_bytes = 8;
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
    assert_int_equal(w->faults, 0);
    for (unsigned i = 0; i < w->count; i++) {
        if (w->nodes[i].running) {
            node_crash(&w->nodes[i], SIM_KILL);
        }
    }
    sim_free(w->sim);
    log_set_sink(NULL, NULL);
    mem_free(w);
}

/* ---- Looking ------------------------------------------------------------------------ */

static inline struct cluster_status node_status(struct node *n)
{
    struct cluster_status s;
    cluster_status(n->c, &s);
    return s;
}

/* The newest leader that is ready, NULL when there is none. */
static inline struct node *world_leader(struct world *w)
{
    struct node *best = NULL;
    uint64_t term = 0;
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        if (n->running && !n->paused) {
            struct cluster_status s = node_status(n);
            if (s.role == ROLE_LEADER && s.ready && s.term > term) {
                best = n;
                term = s.term;
            }
        }
    }
    return best;
}

static inline bool world_has_leader(void *arg) { return world_leader(arg) != NULL; }

static inline struct node *world_wait_leader(struct world *w)
{
    if (!sim_run_until(w->sim, 20000, world_has_leader, w)) {
        fail_msg("no leader within 20 s");
    }
    return world_leader(w);
}

/* Everybody who runs and is not quarantined has applied the leader's whole log. */
static inline bool world_settled(void *arg)
{
    struct world *w = arg;
    struct node *l = world_leader(w);
    if (l == NULL) {
        return false;
    }
    struct cluster_status s = node_status(l);
    if (s.applied != s.last || s.entries_in_flight != 0) {
        return false;
    }
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        if (n->running && !n->paused && !n->outside && n->role != ROLE_QUARANTINED &&
            node_status(n).applied != s.applied) {
            return false;
        }
    }
    return true;
}

static inline void world_settle(struct world *w)
{
    if (!sim_run_until(w->sim, 60000, world_settled, w)) {
        for (unsigned i = 0; i < w->count; i++) {
            struct node *n = &w->nodes[i];
            if (n->running) {
                struct cluster_status s = node_status(n);
                print_message("%s: %s term %llu commit %llu applied %llu last %llu snap %llu %s\n",
                              n->address, cluster_role_name(s.role), (unsigned long long)s.term,
                              (unsigned long long)s.commit, (unsigned long long)s.applied,
                              (unsigned long long)s.last, (unsigned long long)s.snapshot_index,
                              s.waiting);
            }
        }
        fail_msg("the cluster does not settle");
    }
}

static inline void key_of(uint64_t serial, char out[32])
{
    (void)snprintf(out, 32, "k%llu", (unsigned long long)serial);
}

static inline bool node_has(struct node *n, uint64_t serial)
{
    char key[32];
    struct span value;
    key_of(serial, key);
    return store_kv(cluster_store(n->c), span_of(key), &value);
}

/* Equal digests everywhere, and nothing that was acknowledged is missing anywhere. */
static inline void world_check(struct world *w)
{
    world_settle(w);
    uint64_t digest = node_status(world_leader(w)).digest;
    for (unsigned i = 0; i < w->count; i++) {
        struct node *n = &w->nodes[i];
        if (!n->running || n->paused || n->outside || n->role == ROLE_QUARANTINED) {
            continue;
        }
        struct error e = { 0 };
        assert_true(node_status(n).digest == digest);
        assert_int_equal(store_check(cluster_store(n->c), &e), 0);
        for (unsigned k = 0; k < w->acks; k++) {
            if (!node_has(n, w->acked[k])) {
                fail_msg("%s has lost the acknowledged k%llu", n->address,
                         (unsigned long long)w->acked[k]);
            }
        }
    }
    assert_int_equal(w->faults, 0);
}

/* For who asks for a snapshot and waits for none. */
static inline void on_nothing(void *arg, int status)
{
    (void)arg;
    (void)status;
}

/* ---- Proposing ------------------------------------------------------------------------ */

static inline int do_effect(struct cluster *c, const struct effect *f, struct buf *entry,
                            struct error *e)
{
    struct store *s = cluster_store(c);
    store_tx_begin(s);
    int rv = store_do(s, f, e);
    if (rv != 0) {
        store_tx_undo(s);
        return rv;
    }
    struct entry_tx tx = { .user = span_of("test"),
                           .command = span_of("set"),
                           .args = span_make("\0", 1),
                           .request = span_of(""),
                           .effects = store_tx_effects(s) };
    entry_add(entry, &tx);
    store_tx_end(s);
    return 0;
}

static inline int node_propose_effect(struct node *n, const struct effect *f, uint64_t serial,
                                      struct error *e)
{
    uint64_t index, time_ms;
    int rv = cluster_batch_open(n->c, &index, &time_ms, e);
    if (rv != 0) {
        return rv;
    }
    struct buf entry = BUF_INIT;
    entry_begin(&entry, time_ms, cluster_batch_digest(n->c), cluster_feature_level(n->c));
    rv = do_effect(n->c, f, &entry, e);
    if (rv != 0) {
        buf_free(&entry);
        cluster_batch_abandon(n->c);
        return rv;
    }
    entry_end(&entry, 1);
    rv = cluster_batch_propose(n->c, &entry, e);
    if (rv == 0) {
        assert_true(n->pending_count < 8);
        n->pending[n->pending_count++] = (struct pending){ index, serial };
    }
    return rv;
}

static inline int node_propose(struct node *n, struct error *e)
{
    char key[32], *value = mem_alloc(n->w->value_bytes + 3);
    uint64_t serial = ++n->w->serial;
    key_of(serial, key);
    memset(value, 'v', n->w->value_bytes + 2);
    value[0] = value[n->w->value_bytes + 1] = '"';
    struct effect f = { .kind = EFFECT_KV_SET,
                        .id = span_of(key),
                        .text = span_make(value, n->w->value_bytes + 2) };
    int rv = node_propose_effect(n, &f, serial, e);
    mem_free(value);
    return rv;
}

static inline bool world_may_propose(void *arg)
{
    struct node *l = world_leader(arg);
    return l != NULL && node_status(l).entries_in_flight < 2;
}

/* Proposes `count` on whoever leads, and waits until all of the log is everywhere. */
static inline void world_propose(struct world *w, unsigned count)
{
    for (unsigned i = 0; i < count;) {
        struct error e = { 0 };
        if (!sim_run_until(w->sim, 20000, world_may_propose, w)) {
            fail_msg("nobody takes proposals");
        }
        int rv = node_propose(world_leader(w), &e);
        if (rv == 0) {
            i++;
        } else if (rv != ERR_NOTREADY && rv != ERR_BUSY) {
            fail_msg("not proposed: %s", e.message);
        } else {
            sim_run(w->sim, 10);
        }
    }
    world_settle(w);
}

#endif
