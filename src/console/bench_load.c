/* One thread, epoll, plain RESP. Every connection has `pipeline` requests on their way, each for
 * the next free place:
 *   book   BOOK EVENT CUSTOMER SEAT, each seat once
 *   hold   HOLD likewise
 *   hot    every client wants the same few seats: nearly all are refused
 *   seats  reads the seat map of one event
 *
 * It stops by itself: nothing is asked after `seconds` or `requests`, and answers that do not
 * come are given up. */
#include "console/bench_load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "console/client_impl.h"

#define READ_BYTES  (256 * 1024)
#define PATIENCE_NS 10000000000u

struct bench_connection {
    redisContext *redis; /* dials and authenticates; then its descriptor is ours alone */
    struct buf out;      /* requests not yet sent */
    size_t out_at;       /* sent so far */
    struct buf in;       /* bytes of an unfinished reply */
    uint64_t *started;   /* ring of `pipeline` start times, ns */
    size_t head, count;  /* oldest outstanding, how many */
    bool blocked;        /* waits for room to send */
};

uint64_t bench_now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Requests ------------------------------------------------------------------- */

static void put_bulk(struct buf *out, const char *text, size_t len)
{
    buf_put_u8(out, '$');
    json_put_int(out, (int64_t)len);
    buf_put(out, "\r\n", 2);
    buf_put(out, text, len);
    buf_put(out, "\r\n", 2);
}

static void put_request(struct bench_load *b, struct bench_connection *c)
{
    char event[64], seat[32], customer[32];
    uint64_t k = b->sent++;
    uint64_t place = b->mode == BENCH_HOT ? k % 10 : k;
    uint64_t in_event = place % BENCH_SEATS_PER_EVENT;
    int n = snprintf(event, sizeof event, "bench-%s-%llu", b->run,
                     (unsigned long long)(place / BENCH_SEATS_PER_EVENT + 1));
    int m = snprintf(seat, sizeof seat, "R%llu-%llu",
                     (unsigned long long)(in_event / BENCH_SEATS_PER_ROW + 1),
                     (unsigned long long)(in_event % BENCH_SEATS_PER_ROW + 1));
    int l = snprintf(customer, sizeof customer, "u%llu", (unsigned long long)k);
    if (b->mode == BENCH_SEATS) {
        buf_put_str(&c->out, "*2\r\n$5\r\nSEATS\r\n");
        put_bulk(&c->out, event, (size_t)n);
    } else {
        buf_put_str(&c->out,
                    b->mode == BENCH_HOLD ? "*4\r\n$4\r\nHOLD\r\n" : "*4\r\n$4\r\nBOOK\r\n");
        put_bulk(&c->out, event, (size_t)n);
        put_bulk(&c->out, customer, (size_t)l);
        put_bulk(&c->out, seat, (size_t)m);
    }
    c->started[(c->head + c->count) % b->pipeline] = bench_now_ns();
    c->count++;
}

static bool over(const struct bench_load *b)
{
    return b->sent >= b->requests || bench_now_ns() >= b->end_ns;
}

static void fill(struct bench_load *b, struct bench_connection *c)
{
    while (c->count < b->pipeline && !over(b)) {
        put_request(b, c);
    }
}

/* Sends what it can; asks to be told when there is room only while something is left. */
static int flush_out(int poll_fd, struct bench_connection *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n = write(c->redis->fd, c->out.data + c->out_at, c->out.len - c->out_at);
        if (n < 0 && errno != EAGAIN) {
            return -1;
        }
        if (n < 0) {
            break;
        }
        c->out_at += (size_t)n;
    }
    bool blocked = c->out_at < c->out.len;
    if (!blocked) {
        buf_clear(&c->out);
        c->out_at = 0;
    }
    if (blocked != c->blocked) {
        struct epoll_event on = { .events = EPOLLIN | (blocked ? (uint32_t)EPOLLOUT : 0),
                                  .data.ptr = c };
        (void)epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->redis->fd, &on);
        c->blocked = blocked;
    }
    return 0;
}

/* ---- Replies ---------------------------------------------------------------------- */

/* Length of the first whole reply in p[0..len), 0 when it is not whole yet. */
static size_t reply_length(const uint8_t *p, size_t len)
{
    const uint8_t *end = memchr(p, '\n', len);
    if (end == NULL) {
        return 0;
    }
    size_t line = (size_t)(end - p) + 1;
    if (p[0] != '$') {
        return line;
    }
    size_t body = 0;
    for (const uint8_t *d = p + 1; d < end && *d >= '0' && *d <= '9'; d++) {
        body = body * 10 + (size_t)(*d - '0');
    }
    return line + body + 2 <= len ? line + body + 2 : 0;
}

static void count_reply(struct bench_load *b, struct bench_connection *c, const uint8_t *p,
                        size_t len, uint64_t now)
{
    uint64_t took = now - c->started[c->head];
    c->head = (c->head + 1) % b->pipeline;
    c->count--;
    histogram_add(&b->latency, took);
    if (p[0] != '-') {
        return;
    }
    if (len > 6 && memcmp(p, "-TAKEN", 6) == 0) {
        b->refused++;
        return;
    }
    if (b->failed++ == 0) {
        (void)snprintf(b->first_failure, sizeof b->first_failure, "%.*s", (int)(len - 3),
                       (const char *)p + 1);
    }
}

static int take_replies(struct bench_load *b, struct bench_connection *c)
{
    if (!buf_reserve(&c->in, READ_BYTES)) {
        return -1;
    }
    ssize_t n = read(c->redis->fd, c->in.data + c->in.len, c->in.cap - c->in.len);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN ? 0 : -1;
    }
    c->in.len += (size_t)n;
    uint64_t now = bench_now_ns();
    size_t at = 0, used;
    while (c->count > 0 && at < c->in.len &&
           (used = reply_length(c->in.data + at, c->in.len - at)) > 0) {
        count_reply(b, c, c->in.data + at, used, now);
        at += used;
    }
    memmove(c->in.data, c->in.data + at, c->in.len - at);
    c->in.len -= at;
    return 0;
}

/* ---- The run ---------------------------------------------------------------------------- */

static void show_progress(const struct bench_load *b, uint64_t *next_ns)
{
    uint64_t now = bench_now_ns();
    if (!b->progress || now < *next_ns) {
        return;
    }
    *next_ns += 1000000000u;
    double seconds = (double)(now - b->begin_ns) / 1e9;
    (void)fprintf(stderr, "\r\33[K%.0f s: %llu answers, %.0f/s, p99 %.0f us", seconds,
                  (unsigned long long)b->latency.count, (double)b->latency.count / seconds,
                  histogram_us(&b->latency, 0.99));
}

static int turn(struct bench_load *b)
{
    struct epoll_event events[256];
    int n = epoll_wait(b->poll_fd, events, 256, 1000);
    for (int i = 0; i < n; i++) {
        struct bench_connection *c = events[i].data.ptr;
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && take_replies(b, c) != 0) {
            return -1;
        }
        fill(b, c);
        if (flush_out(b->poll_fd, c) != 0) {
            return -1;
        }
    }
    return n == 0 && bench_now_ns() > b->end_ns + PATIENCE_NS ? -1 : 0;
}

static bool outstanding(const struct bench_load *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->clients; i++) {
        n += b->connections[i].count;
    }
    return n > 0;
}

int bench_load_run(struct bench_load *b, struct error *e)
{
    b->begin_ns = bench_now_ns();
    b->end_ns = b->begin_ns + b->seconds * 1000000000u;
    uint64_t next_ns = b->begin_ns + 1000000000u;
    int broken = 0;
    for (size_t i = 0; broken == 0 && i < b->clients; i++) {
        fill(b, &b->connections[i]);
        broken = flush_out(b->poll_fd, &b->connections[i]);
    }
    while (broken == 0 && outstanding(b)) {
        broken = turn(b);
        show_progress(b, &next_ns);
    }
    b->end_ns = bench_now_ns();
    if (b->progress) {
        (void)fputs("\r\33[K", stderr);
    }
    return broken == 0 ? 0 : error_set(e, ERR_IO, "a connection ended, or answers did not come");
}

int bench_load_connect(struct bench_load *b, const char *address, struct error *e)
{
    b->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    b->connections = mem_must_alloc(b->clients * sizeof *b->connections);
    memset(b->connections, 0, b->clients * sizeof *b->connections);
    for (size_t i = 0; i < b->clients; i++) {
        struct bench_connection *c = &b->connections[i];
        c->started = mem_must_alloc(b->pipeline * sizeof *c->started);
        int code = client_dial(address, b->user, b->password, &c->redis, e);
        if (code != 0) {
            error_prefix(e, "client %zu", i + 1);
            return code;
        }
        struct epoll_event on = { .events = EPOLLIN, .data.ptr = c };
        if (fcntl(c->redis->fd, F_SETFL, fcntl(c->redis->fd, F_GETFL) | O_NONBLOCK) != 0 ||
            epoll_ctl(b->poll_fd, EPOLL_CTL_ADD, c->redis->fd, &on) != 0) {
            return error_set(e, ERR_IO, "client %zu: %s", i + 1, strerror(errno));
        }
    }
    return 0;
}

void bench_load_free(struct bench_load *b)
{
    for (size_t i = 0; b->connections != NULL && i < b->clients; i++) {
        struct bench_connection *c = &b->connections[i];
        if (c->redis != NULL) {
            redisFree(c->redis);
        }
        buf_free(&c->in);
        buf_free(&c->out);
        mem_free(c->started);
    }
    mem_free(b->connections);
    if (b->connections != NULL && b->poll_fd >= 0) {
        (void)close(b->poll_fd);
    }
}
