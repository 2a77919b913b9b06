/* What the cluster alone costs: three nodes, each a process of its own, over real TCP on
 * loopback and a real disk; requests of a given size, a given number of them in flight. No
 * RESP, no Lua: the counterpart of bench_raft_uv.
 *
 *     bench_cluster DIR [BYTES] [SECONDS] [IN_FLIGHT...]
 *
 * A request is one transaction that writes one value of BYTES. Those that wait when an entry
 * can be proposed go into it together, as the service does it; each is answered, and replaced
 * by a new one, when that entry has committed. Whoever is elected proposes, one figure after the
 * other, and prints commits per second and latency percentiles as JSON. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "raftio/env_uv.h"

#define NODES         3
#define PORT          16400
#define IN_FLIGHT_MAX 1024
#define WARM_NS       300000000ull

/* Requests that went into one entry. */
struct group {
    uint64_t index;
    size_t count;
    uint64_t started_ns[IN_FLIGHT_MAX];
};

struct bench {
    uv_loop_t loop;
    struct env *env;
    struct node {
        struct bench *b;
        struct cluster *c;
        uv_poll_t poll;
        int fd;
        char address[32];
    } nodes[NODES];
    const char *list[NODES + 1];
    size_t bytes;
    unsigned targets[8], targets_count, phase;
    uint64_t serial, phase_ns, warm_ns, stop_ns;
    uint64_t waiting_ns[IN_FLIGHT_MAX]; /* when each waiting request began */
    size_t waiting, in_flight;
    struct group groups[8];
    uint64_t *latency_ns;
    size_t count, cap;
    bool draining;
};

static void on_accept(uv_poll_t *p, int status, int events)
{
    struct node *n = p->data;
    struct env_stream *stream = NULL;
    (void)events;
    int fd = status == 0 ? accept4(n->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC) : -1;
    if (fd >= 0 && (n->c == NULL || env_uv_adopt(n->b->env, fd, &stream, NULL) != 0)) {
        close(fd);
    } else if (fd >= 0) {
        cluster_accept(n->c, stream);
    }
}

static void node_listen(struct bench *b, unsigned i)
{
    struct node *n = &b->nodes[i];
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)(PORT + i)) };
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    n->b = b;
    n->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    (void)setsockopt(n->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(n->fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(n->fd, 16) != 0) {
        perror("listen");
        exit(1);
    }
    uv_poll_init(&b->loop, &n->poll, n->fd);
    n->poll.data = n;
    uv_poll_start(&n->poll, UV_READABLE, on_accept);
}

static void add_request(struct bench *b, struct store *s, struct buf *entry)
{
    char key[32];
    struct error e = { 0 };
    char *value = mem_must_alloc(b->bytes + 2);
    memset(value, '1', b->bytes + 2);
    value[0] = value[b->bytes + 1] = '"';
    (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)(b->serial++ % 1000));
    struct effect f = { .kind = EFFECT_KV_SET,
                        .id = span_of(key),
                        .text = span_make(value, b->bytes + 2) };
    store_tx_begin(s);
    if (store_do(s, &f, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.message);
        exit(1);
    }
    struct entry_tx tx = { .user = span_of("bench"),
                           .command = span_of("set"),
                           .args = span_make("\0", 1),
                           .request = span_of(""),
                           .effects = store_tx_effects(s) };
    entry_add(entry, &tx);
    store_tx_end(s);
    mem_free(value);
}

/* All that wait, as one entry. False while the pipeline has no place. */
static bool propose(struct node *n)
{
    struct bench *b = n->b;
    uint64_t index, time_ms;
    struct buf entry = BUF_INIT;
    struct error e = { 0 };
    if (cluster_batch_open(n->c, &index, &time_ms, &e) != 0) {
        return false;
    }
    struct group *g = &b->groups[index % 8];
    g->index = index;
    g->count = b->waiting;
    memcpy(g->started_ns, b->waiting_ns, b->waiting * sizeof *b->waiting_ns);
    entry_begin(&entry, time_ms, cluster_batch_digest(n->c), 1);
    for (size_t i = 0; i < g->count; i++) {
        add_request(b, cluster_store(n->c), &entry);
    }
    entry_end(&entry, (uint32_t)g->count);
    if (cluster_batch_propose(n->c, &entry, &e) != 0) {
        g->index = 0;
        return false;
    }
    b->in_flight += g->count;
    b->waiting = 0;
    return true;
}

static int by_value(const void *x, const void *y)
{
    uint64_t a = *(const uint64_t *)x, b = *(const uint64_t *)y;
    return a < b ? -1 : a > b;
}

static double us(const struct bench *b, double q)
{
    size_t at = (size_t)((double)(b->count - 1) * q);
    return b->count == 0 ? 0 : (double)b->latency_ns[at] / 1000.0;
}

static void report(struct bench *b)
{
    double seconds = (double)b->phase_ns / 1e9;
    qsort(b->latency_ns, b->count, sizeof *b->latency_ns, by_value);
    (void)printf("{\"bench\":\"cluster\",\"nodes\":%d,\"bytes\":%zu,\"in_flight\":%u,"
                 "\"commits_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
                 NODES, b->bytes, b->targets[b->phase], (double)b->count / seconds, us(b, 0.5),
                 us(b, 0.99), us(b, 1.0));
    (void)fflush(stdout);
}

/* Starts the next figure when the one before has drained. */
static void next_phase(struct bench *b)
{
    if (b->warm_ns != 0) {
        report(b);
        b->phase++;
    }
    if (b->phase == b->targets_count) {
        _exit(0); /* the parent ends the others */
    }
    b->count = 0;
    b->draining = false;
    b->warm_ns = b->env->ops->mono_ns(b->env) + WARM_NS;
    b->stop_ns = b->warm_ns + b->phase_ns;
}

static void fill(struct node *n)
{
    struct bench *b = n->b;
    uint64_t now = b->env->ops->mono_ns(b->env);
    if (b->warm_ns == 0 || (b->draining && b->in_flight == 0)) {
        next_phase(b);
    }
    while (!b->draining && b->waiting + b->in_flight < b->targets[b->phase]) {
        b->waiting_ns[b->waiting++] = now;
    }
    if (b->waiting > 0) {
        (void)propose(n);
    }
}

static void on_ready(void *arg) { fill(arg); }

static void on_committed(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine)
{
    struct node *n = arg;
    struct bench *b = n->b;
    struct group *g = &b->groups[index % 8];
    (void)term;
    (void)entry;
    if (!mine || g->index != index) {
        return;
    }
    uint64_t now = b->env->ops->mono_ns(b->env);
    for (size_t i = 0; i < g->count; i++) {
        if (g->started_ns[i] >= b->warm_ns && now < b->stop_ns && b->count < b->cap) {
            b->latency_ns[b->count++] = now - g->started_ns[i];
        }
    }
    b->in_flight -= g->count;
    g->index = 0;
    if (now >= b->stop_ns) {
        b->draining = true;
        b->waiting = 0; /* was never proposed */
    }
    fill(n);
}

static void on_fatal(void *arg, const struct error *e, bool stop)
{
    (void)arg;
    (void)stop;
    (void)fprintf(stderr, "fatal: %s\n", e->message);
    exit(1);
}

/* One node; returns only when something is wrong. */
static int run_node(struct bench *b, const char *root, unsigned i)
{
    struct error e = { 0 };
    char dir[512];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(dir, sizeof dir, "%s/%u", root, i);
    if (uv_loop_init(&b->loop) != 0 || env_uv_new(&b->loop, &b->env, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    node_listen(b, i);
    struct cluster_options o = {
        .dir = dir,
        .address = b->nodes[i].address,
        .nodes = b->list,
        .version = 1,
        .on = { .ready = on_ready, .committed = on_committed, .fatal = on_fatal },
        .arg = &b->nodes[i]
    };
    if (cluster_start(b->env, &o, &b->nodes[i].c, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    uv_run(&b->loop, UV_RUN_DEFAULT);
    return 1;
}

int main(int argc, char **argv)
{
    static struct bench b;
    pid_t pids[NODES];
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_cluster DIR [BYTES] [SECONDS] [IN_FLIGHT...]\n");
        return 2;
    }
    log_set_level(LOG_ERROR);
    b.bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 256;
    b.phase_ns = (argc > 3 ? strtoull(argv[3], NULL, 10) : 4) * 1000000000ull;
    for (int i = 4; i < argc && b.targets_count < 8; i++) {
        unsigned long n = strtoul(argv[i], NULL, 10);
        b.targets[b.targets_count++] = n < 1 ? 1 : n > IN_FLIGHT_MAX ? IN_FLIGHT_MAX : (unsigned)n;
    }
    if (b.targets_count == 0) {
        memcpy(b.targets, (unsigned[]){ 1, 64, 256 }, 3 * sizeof b.targets[0]);
        b.targets_count = 3;
    }
    b.cap = 4000000;
    b.latency_ns = mem_must_alloc(b.cap * sizeof *b.latency_ns);
    for (unsigned i = 0; i < NODES; i++) {
        (void)snprintf(b.nodes[i].address, sizeof b.nodes[i].address, "127.0.0.1:%u", PORT + i);
        b.list[i] = b.nodes[i].address;
    }
    for (unsigned i = 0; i < NODES; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            _exit(run_node(&b, argv[1], i));
        }
    }
    int status = 1;
    (void)waitpid(-1, &status, 0); /* whoever led is through, or something is wrong */
    for (unsigned i = 0; i < NODES; i++) {
        (void)kill(pids[i], SIGKILL);
        (void)waitpid(pids[i], NULL, 0);
    }
    mem_free(b.latency_ns);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
