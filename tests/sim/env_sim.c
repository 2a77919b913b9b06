/* The simulated world: event queue, clock, randomness, timers, jobs, nodes.
 *
 * One binary heap of events ordered by (time, sequence). Dispatching an event sets
 * the clock and calls into the code under test, which posts further events. Nothing
 * runs outside an event, so the order of everything follows from the seed.
 *
 * Invariants
 *   S1 time never goes back, and events of one instant run in the order posted
 *   S2 a paused node runs nothing; what came for it runs on resume in the same order
 *   S3 nothing depends on addresses of memory, on real time or on real randomness */
#include "env_sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "env_sim_internal.h"

void *sim_alloc(size_t bytes)
{
    void *p = calloc(1, bytes > 0 ? bytes : 1);
    if (p == NULL) {
        (void)fprintf(stderr, "simulator: out of memory\n");
        abort();
    }
    return p;
}

/* ---- Randomness: splitmix64 (Steele, Lea, Flood 2014) ----------------------- */

uint64_t rand_next(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t rand_below(uint64_t *state, uint64_t n) { return n == 0 ? 0 : rand_next(state) % n; }

uint64_t rand_between(uint64_t *state, uint64_t lo, uint64_t hi)
{
    return hi <= lo ? lo : lo + rand_below(state, hi - lo + 1);
}

uint64_t sim_rand(struct sim *sim, uint64_t n) { return rand_below(&sim->random, n); }

/* ---- Trace -------------------------------------------------------------------- */

void sim_trace(struct sim *sim, const struct node *node, const char *what, uint64_t a, uint64_t b)
{
    uint64_t who = node == NULL ? 0 : node->host->index + 1;
    uint64_t words[5] = { sim->now_ns, who, hash64(what, strlen(what)), a, b };
    sim->hash = hash64_seed(words, sizeof words, sim->hash);
    if (sim->print) {
        (void)fprintf(stderr, "%12.6f %-16s %-12s %llx %llx\n", (double)sim->now_ns / 1e6,
                      node == NULL ? "-" : node->host->address, what, (unsigned long long)a,
                      (unsigned long long)b);
    }
}

uint64_t sim_trace_hash(const struct sim *sim) { return sim->hash; }

/* ---- Event queue ---------------------------------------------------------------- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void heap_push(struct sim *sim, struct event *e)
{
    if (sim->heap_len == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap == 0 ? 256 : sim->heap_cap * 2;
        sim->heap = realloc(sim->heap, sim->heap_cap * sizeof *sim->heap);
        ASSERT(sim->heap != NULL);
    }
    size_t i = sim->heap_len++;
    while (i > 0 && earlier(e, sim->heap[(i - 1) / 2])) {
        sim->heap[i] = sim->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    sim->heap[i] = e;
}

static struct event *heap_pop(struct sim *sim)
{
    if (sim->heap_len == 0) {
        return NULL;
    }
    struct event *top = sim->heap[0];
    struct event *last = sim->heap[--sim->heap_len];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < sim->heap_len; i = child) {
        if (child + 1 < sim->heap_len && earlier(sim->heap[child + 1], sim->heap[child])) {
            child++;
        }
        if (!earlier(sim->heap[child], last)) {
            break;
        }
        sim->heap[i] = sim->heap[child];
    }
    sim->heap[i] = last;
    return top;
}

struct event *sim_post(struct sim *sim, struct node *node, uint64_t after_ns, const char *what,
                       event_cb cb, void *a, uint64_t b)
{
    struct event *e = sim->free_events;
    if (e != NULL) {
        sim->free_events = e->next;
        *e = (struct event){ 0 };
    } else {
        e = sim_alloc(sizeof *e);
    }
    e->at_ns = sim->now_ns + after_ns;
    e->sequence = sim->sequence++;
    e->what = what;
    e->node = node;
    e->cb = cb;
    e->a = a;
    e->b = b;
    heap_push(sim, e);
    return e;
}

/* ---- The end of a turn: one event is one turn of the node's loop --------------- */

static void node_undefer(struct env *env, struct env_defer *d)
{
    struct node *n = (struct node *)env;
    if (!d->pending) {
        return;
    }
    struct env_defer **at = &n->defer;
    while (*at != d) {
        at = &(*at)->next;
    }
    *at = d->next;
    if (n->defer_tail == &d->next) {
        n->defer_tail = at;
    }
    d->pending = false;
}

static void turn_end(struct node *n)
{
    while (n->defer != NULL) {
        struct env_defer *d = n->defer;
        node_undefer(&n->env, d);
        d->cb(d->arg);
    }
}

static void empty_turn(struct node *node, void *a, uint64_t b)
{
    (void)node;
    (void)a;
    (void)b;
}

static void node_defer(struct env *env, struct env_defer *d)
{
    struct node *n = (struct node *)env;
    if (d->pending) {
        return;
    }
    if (n->defer == NULL && n->sim->turn != n) {
        sim_post(n->sim, n, 0, "turn", empty_turn, NULL, 0);
    }
    d->pending = true;
    d->next = NULL;
    *n->defer_tail = d;
    n->defer_tail = &d->next;
}

static void dispatch(struct sim *sim, struct event *e)
{
    ASSERT(e->at_ns >= sim->now_ns);
    sim->now_ns = e->at_ns;
    if (e->node != NULL && e->node->paused && !e->canceled) {
        *e->node->deferred_tail = e;
        e->node->deferred_tail = &e->next;
        return;
    }
    if (!e->canceled) {
        sim_trace(sim, e->node, e->what, e->sequence, e->b);
        sim->turn = e->node;
        e->cb(e->node, e->a, e->b);
        if (e->node != NULL) {
            turn_end(e->node);
        }
        sim->turn = NULL;
        if (sim->turn_cb != NULL) {
            sim->turn_cb(sim->turn_arg);
        }
    }
    e->next = sim->free_events;
    sim->free_events = e;
}

void sim_on_turn(struct sim *sim, void (*cb)(void *arg), void *arg)
{
    sim->turn_cb = cb;
    sim->turn_arg = arg;
}

bool sim_step(struct sim *sim)
{
    struct event *e = heap_pop(sim);
    if (e == NULL) {
        return false;
    }
    dispatch(sim, e);
    return true;
}

bool sim_run_until(struct sim *sim, uint64_t ms, bool (*pred)(void *arg), void *arg)
{
    uint64_t end = sim->now_ns + ms * MS_NS;
    while (pred == NULL || !pred(arg)) {
        if (sim->heap_len == 0 || sim->heap[0]->at_ns > end) {
            sim->now_ns = end;
            return false;
        }
        (void)sim_step(sim);
    }
    return true;
}

void sim_run(struct sim *sim, uint64_t ms) { (void)sim_run_until(sim, ms, NULL, NULL); }

uint64_t sim_now(const struct sim *sim) { return sim->now_ns / MS_NS; }

/* ---- Clock, randomness, timers, jobs of one node ----------------------------- */

static struct node *node_of(struct env *env) { return (struct node *)env; }

static uint64_t node_mono_ms(struct env *env) { return 1000 + node_of(env)->sim->now_ns / MS_NS; }
static uint64_t node_mono_ns(struct env *env) { return 1000 * MS_NS + node_of(env)->sim->now_ns; }

static uint64_t node_wall_ms(struct env *env)
{
    struct node *n = node_of(env);
    return (uint64_t)((int64_t)(WALL_START + n->sim->now_ns / MS_NS) + n->host->wall_offset_ms);
}

static void node_random(struct env *env, void *out, size_t len)
{
    struct node *n = node_of(env);
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)rand_next(&n->random);
    }
}

struct env_timer {
    struct node *node;
    void (*cb)(void *arg);
    void *arg;
    struct event *event;
    struct env_timer *prev, *next;
};

static struct env_timer *node_timer_new(struct env *env, void (*cb)(void *arg), void *arg)
{
    struct env_timer *t = sim_alloc(sizeof *t);
    t->node = node_of(env);
    t->cb = cb;
    t->arg = arg;
    t->next = t->node->timers;
    if (t->next != NULL) {
        t->next->prev = t;
    }
    t->node->timers = t;
    return t;
}

static void timer_fires(struct node *node, void *a, uint64_t b)
{
    (void)node;
    (void)b;
    struct env_timer *t = a;
    t->event = NULL;
    t->cb(t->arg);
}

static void node_timer_stop(struct env_timer *t)
{
    if (t->event != NULL) {
        t->event->canceled = true;
        t->event = NULL;
    }
}

static void node_timer_start(struct env_timer *t, uint64_t after_ms)
{
    node_timer_stop(t);
    t->event = sim_post(t->node->sim, t->node, after_ms * MS_NS, "timer", timer_fires, t, after_ms);
}

static void node_timer_free(struct env_timer *t)
{
    if (t == NULL) {
        return;
    }
    node_timer_stop(t);
    if (t->prev != NULL) {
        t->prev->next = t->next;
    } else {
        t->node->timers = t->next;
    }
    if (t->next != NULL) {
        t->next->prev = t->prev;
    }
    free(t);
}

static uint64_t job_latency(struct sim *sim)
{
    return rand_between(&sim->random, sim->job_min_us, sim->job_max_us) * US_NS;
}

static void job_done(struct node *node, void *a, uint64_t b)
{
    (void)node;
    (void)b;
    struct env_job *job = a;
    job->done(job);
}

static void job_run(struct node *node, void *a, uint64_t b)
{
    (void)b;
    struct env_job *job = a;
    job->run(job);
    sim_post(node->sim, node, job_latency(node->sim), "job done", job_done, job, 0);
}

static void node_job(struct env *env, struct env_job *job)
{
    struct node *n = node_of(env);
    sim_post(n->sim, n, job_latency(n->sim), "job run", job_run, job, 0);
}

/* Nothing runs beside it here. */
static void node_rest(struct env *env, struct env_job *job) { (void)env, (void)job; }

/* ---- Nodes ------------------------------------------------------------------------ */

static struct env_ops ops = {
    .mono_ms = node_mono_ms,
    .mono_ns = node_mono_ns,
    .wall_ms = node_wall_ms,
    .random = node_random,
    .timer_new = node_timer_new,
    .timer_start = node_timer_start,
    .timer_stop = node_timer_stop,
    .timer_free = node_timer_free,
    .defer = node_defer,
    .undefer = node_undefer,
    .job = node_job,
    .rest = node_rest,
    .connect = net_connect,
    .stream_start = net_start,
    .stream_write = net_write,
    .stream_queued = net_queued,
    .stream_close = net_close,
};

struct sim *sim_new(uint64_t seed)
{
    struct sim *sim = sim_alloc(sizeof *sim);
    sim->seed = seed;
    sim->random = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    sim->hash = seed;
    sim->network = (struct sim_network){ 50, 400, 0, 25 };
    sim->job_min_us = 30;
    sim->job_max_us = 800;
    sim->print = getenv("SIM_TRACE") != NULL;
    ops.file_open = disk_ops.file_open;
    ops.file_close = disk_ops.file_close;
    ops.file_read = disk_ops.file_read;
    ops.file_write = disk_ops.file_write;
    ops.file_sync = disk_ops.file_sync;
    ops.file_size = disk_ops.file_size;
    ops.file_truncate = disk_ops.file_truncate;
    ops.file_allocate = disk_ops.file_allocate;
    ops.file_lock = disk_ops.file_lock;
    ops.rename = disk_ops.rename;
    ops.remove = disk_ops.remove;
    ops.make_dir = disk_ops.make_dir;
    ops.sync_dir = disk_ops.sync_dir;
    ops.list_dir = disk_ops.list_dir;
    ops.free_bytes = disk_ops.free_bytes;
    return sim;
}

struct host *sim_host(struct sim *sim, const char *address)
{
    for (unsigned i = 0; i < sim->hosts_count; i++) {
        if (strcmp(sim->hosts[i]->address, address) == 0) {
            return sim->hosts[i];
        }
    }
    ASSERT(sim->hosts_count < NODES_MAX);
    struct host *h = sim_alloc(sizeof *h);
    size_t len = strlen(address) + 1;
    h->sim = sim;
    h->address = sim_alloc(len);
    memcpy(h->address, address, len);
    h->index = sim->hosts_count;
    h->disk = disk_new();
    sim->hosts[sim->hosts_count++] = h;
    return h;
}

struct env *sim_env(struct sim *sim, const char *address)
{
    struct host *h = sim_host(sim, address);
    ASSERT(h->node == NULL);
    struct node *n = sim_alloc(sizeof *n);
    n->env.ops = &ops;
    n->host = h;
    n->sim = sim;
    n->deferred_tail = &n->deferred;
    n->defer_tail = &n->defer;
    n->random = hash64_seed(address, strlen(address), sim->seed + h->lives);
    n->next = sim->nodes;
    sim->nodes = n;
    h->node = n;
    h->powered = true;
    h->lives++;
    h->point_in = 0;
    sim_count(sim, SIM_N_START);
    sim_trace(sim, n, "birth", h->lives, 0);
    return &n->env;
}

struct sim *sim_of(struct env *env) { return node_of(env)->sim; }

void sim_crash(struct env *env, enum sim_crash how)
{
    struct node *n = node_of(env);
    if (n->ghost) {
        return;
    }
    sim_trace(n->sim, n, how == SIM_KILL ? "kill" : "power loss", 0, 0);
    sim_count(n->sim, how == SIM_KILL ? SIM_N_KILL : SIM_N_POWER);
    sim_resume(env);
    n->ghost = true;
    n->accept = NULL;
    n->host->node = NULL;
    n->host->powered = how == SIM_KILL;
    if (how == SIM_POWER_LOSS) {
        disk_power_loss(n->host->disk, n->sim);
    }
    disk_close_files(n);
    net_crashed(n, how);
}

bool sim_is_ghost(const struct env *env) { return ((const struct node *)env)->ghost; }

void sim_pause(struct env *env) { node_of(env)->paused = !node_of(env)->ghost; }

void sim_resume(struct env *env)
{
    struct node *n = node_of(env);
    n->paused = false;
    struct event *e = n->deferred;
    n->deferred = NULL;
    n->deferred_tail = &n->deferred;
    while (e != NULL) {
        struct event *next = e->next;
        e->next = NULL;
        e->at_ns = n->sim->now_ns;
        e->sequence = n->sim->sequence++;
        heap_push(n->sim, e);
        e = next;
    }
}

void sim_set_wall_offset(struct env *env, int64_t ms) { node_of(env)->host->wall_offset_ms = ms; }

void sim_set_job_latency(struct sim *sim, uint64_t min_us, uint64_t max_us)
{
    sim->job_min_us = min_us;
    sim->job_max_us = max_us;
}

void sim_listen(struct env *env, sim_accept_cb cb, void *arg)
{
    node_of(env)->accept = cb;
    node_of(env)->accept_arg = arg;
}

static void node_free(struct node *n)
{
    while (n->timers != NULL) {
        struct env_timer *t = n->timers;
        n->timers = t->next;
        free(t);
    }
    while (n->deferred != NULL) {
        struct event *e = n->deferred;
        n->deferred = e->next;
        free(e);
    }
    disk_free_files(n);
    net_free_streams(n);
    free(n);
}

void sim_free(struct sim *sim)
{
    for (struct event *e; (e = heap_pop(sim)) != NULL;) {
        free(e);
    }
    while (sim->free_events != NULL) {
        struct event *e = sim->free_events;
        sim->free_events = e->next;
        free(e);
    }
    while (sim->nodes != NULL) {
        struct node *n = sim->nodes;
        sim->nodes = n->next;
        node_free(n);
    }
    for (unsigned i = 0; i < sim->hosts_count; i++) {
        disk_free(sim->hosts[i]->disk);
        free(sim->hosts[i]->address);
        free(sim->hosts[i]);
    }
    free(sim->heap);
    free(sim);
}
