/* What the cluster alone costs: three nodes in one process over real TCP on loopback and a
 * real disk, entries of a given size, 1 to PIPELINE_ENTRIES_MAX in flight. No RESP, no Lua.
 *
 *     bench_cluster DIR [BYTES] [IN_FLIGHT] [SECONDS]
 *
 * Prints commits per second and latency percentiles as JSON. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "raftio/env_uv.h"

#define NODES 3
#define PORT  16400

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
    unsigned in_flight, target;
    uint64_t serial, started_ns, stop_ns;
    uint64_t sent[8], sent_index[8];
    uint64_t *latency_ns;
    size_t count, cap;
    unsigned stopped;
    bool stopping;
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

static bool propose(struct node *n)
{
    struct bench *b = n->b;
    uint64_t index, time_ms;
    struct buf entry = BUF_INIT;
    char key[32];
    struct error e = { 0 };
    if (cluster_batch_open(n->c, &index, &time_ms, &e) != 0) {
        return false;
    }
    char *value = mem_must_alloc(b->bytes + 2);
    memset(value, '1', b->bytes + 2);
    value[0] = value[b->bytes + 1] = '"';
    (void)snprintf(key, sizeof key, "k%llu", (unsigned long long)(b->serial++ % 1000));
    struct effect f = { .kind = EFFECT_KV_SET,
                        .id = span_of(key),
                        .text = span_make(value, b->bytes + 2) };
    struct store *s = cluster_store(n->c);
    entry_begin(&entry, time_ms, cluster_batch_digest(n->c), 1);
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
    entry_add(&entry, &tx);
    store_tx_end(s);
    entry_end(&entry, 1);
    mem_free(value);
    if (cluster_batch_propose(n->c, &entry, &e) != 0) {
        return false;
    }
    b->sent[index % 8] = b->env->ops->mono_ns(b->env);
    b->sent_index[index % 8] = index;
    b->in_flight++;
    return true;
}

static void stop_all(struct bench *b);

static void fill(struct node *n)
{
    struct bench *b = n->b;
    if (b->stopping) {
        return;
    }
    if (b->started_ns == 0) {
        b->started_ns = b->env->ops->mono_ns(b->env);
        b->stop_ns += b->started_ns;
    }
    while (b->in_flight < b->target && propose(n)) {
    }
}

static void on_ready(void *arg) { fill(arg); }

static void on_committed(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine)
{
    struct node *n = arg;
    struct bench *b = n->b;
    (void)term;
    (void)entry;
    if (!mine || b->stopping || b->sent_index[index % 8] != index) {
        return;
    }
    uint64_t now = b->env->ops->mono_ns(b->env);
    b->in_flight--;
    if (b->count < b->cap) {
        b->latency_ns[b->count++] = now - b->sent[index % 8];
    }
    if (now >= b->stop_ns) {
        b->stop_ns = now;
        stop_all(b);
        return;
    }
    fill(n);
}

static void on_stopped(void *arg)
{
    struct node *n = arg;
    n->c = NULL;
    uv_close((uv_handle_t *)&n->poll, NULL);
    if (++n->b->stopped == NODES) {
        uv_stop(&n->b->loop);
    }
}

static void later(uv_timer_t *t)
{
    struct bench *b = t->data;
    for (unsigned i = 0; i < NODES; i++) {
        cluster_stop(b->nodes[i].c, on_stopped, &b->nodes[i]);
    }
    uv_close((uv_handle_t *)t, NULL);
}

static uv_timer_t stop_timer;

static void stop_all(struct bench *b)
{
    b->stopping = true;
    uv_timer_init(&b->loop, &stop_timer);
    stop_timer.data = b;
    uv_timer_start(&stop_timer, later, 0, 0);
}

static void on_fatal(void *arg, const struct error *e, bool stop)
{
    (void)arg;
    (void)stop;
    (void)fprintf(stderr, "fatal: %s\n", e->message);
    exit(1);
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
    double seconds = (double)(b->stop_ns - b->started_ns) / 1e9;
    qsort(b->latency_ns, b->count, sizeof *b->latency_ns, by_value);
    (void)printf("{\"bench\":\"cluster\",\"nodes\":%d,\"bytes\":%zu,\"in_flight\":%u,"
                 "\"commits_per_s\":%.0f,\"p50_us\":%.0f,\"p99_us\":%.0f,\"max_us\":%.0f}\n",
                 NODES, b->bytes, b->target, (double)b->count / seconds, us(b, 0.5), us(b, 0.99),
                 us(b, 1.0));
}

int main(int argc, char **argv)
{
    static struct bench b;
    struct error e = { 0 };
    if (argc < 2) {
        (void)fprintf(stderr, "usage: bench_cluster DIR [BYTES] [IN_FLIGHT] [SECONDS]\n");
        return 2;
    }
    log_set_level(LOG_WARN);
    b.bytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 256;
    b.target = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 1;
    b.stop_ns = (argc > 4 ? strtoull(argv[4], NULL, 10) : 5) * 1000000000ull;
    b.cap = 4000000;
    b.latency_ns = mem_must_alloc(b.cap * sizeof *b.latency_ns);
    uv_loop_init(&b.loop);
    if (env_uv_new(&b.loop, &b.env, &e) != 0) {
        (void)fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    for (unsigned i = 0; i < NODES; i++) {
        (void)snprintf(b.nodes[i].address, sizeof b.nodes[i].address, "127.0.0.1:%u", PORT + i);
        b.list[i] = b.nodes[i].address;
        node_listen(&b, i);
    }
    for (unsigned i = 0; i < NODES; i++) {
        char dir[512];
        (void)snprintf(dir, sizeof dir, "%s/%u", argv[1], i);
        struct cluster_options o = {
            .dir = dir,
            .address = b.nodes[i].address,
            .nodes = b.list,
            .version = 1,
            .on = { .ready = on_ready, .committed = on_committed, .fatal = on_fatal },
            .arg = &b.nodes[i]
        };
        if (cluster_start(b.env, &o, &b.nodes[i].c, &e) != 0) {
            (void)fprintf(stderr, "%s\n", e.message);
            return 1;
        }
    }
    uv_run(&b.loop, UV_RUN_DEFAULT);
    report(&b);
    env_uv_free(b.env);
    uv_run(&b.loop, UV_RUN_NOWAIT);
    mem_free(b.latency_ns);
    return 0;
}
