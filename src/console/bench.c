/* `usher bench`: a load generator for bookings.
 *
 * Makes events of its own (bench-RUN-1, ...), then keeps `clients` connections busy with
 * `pipeline` requests each, every request for the next free seat, and measures what comes
 * back: rate, latency histogram, refusals. One thread, epoll, plain RESP. It stops by
 * itself after --seconds or --requests, whichever is first. Modes:
 *   book   BOOK EVENT CUSTOMER SEAT, each seat once
 *   hold   HOLD likewise
 *   hot    every client wants the same few seats: nearly all are refused
 *   seats  reads the seat map of one event
 *
 * Latencies are kept in a histogram of 64 powers of two with 32 steps each (as HdrHistogram
 * does, Gil Tene): at most 3 % error. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "console/client.h"
#include "console/console.h"
#include "console/render.h"

#define SEATS_PER_EVENT 20000
#define SEATS_PER_ROW   100
#define READ_BYTES      (256 * 1024)
#define HISTOGRAM_STEPS 32

enum mode { MODE_BOOK, MODE_HOLD, MODE_HOT, MODE_SEATS };
static const char *const mode_names[] = { "book", "hold", "hot", "seats", NULL };

struct connection {
    int fd;
    struct buf out;     /* requests not yet sent */
    size_t out_at;      /* sent so far */
    struct buf in;      /* bytes of an unfinished reply */
    uint64_t *started;  /* ring of `pipeline` start times, ns */
    size_t head, count; /* oldest outstanding, how many */
    bool blocked;       /* waits for room to send */
};

struct bench {
    enum mode mode;
    size_t clients, pipeline;
    uint64_t requests, seconds;
    bool json, quiet;
    const char *at;
    char run[24];
    uint64_t sent, done, refused, failed;
    uint64_t histogram[64 * HISTOGRAM_STEPS];
    uint64_t begin_ns, stop_ns;
    char first_failure[200];
    struct connection *connections;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- Histogram ---------------------------------------------------------------- */

static size_t bucket_of(uint64_t ns)
{
    if (ns < HISTOGRAM_STEPS) {
        return (size_t)ns;
    }
    unsigned top = 63u - (unsigned)__builtin_clzll(ns); /* >= 5 */
    return (size_t)(top - 4) * HISTOGRAM_STEPS +
           (size_t)((ns >> (top - 5)) & (HISTOGRAM_STEPS - 1));
}

static double bucket_us(size_t bucket)
{
    uint64_t power = bucket / HISTOGRAM_STEPS, step = bucket % HISTOGRAM_STEPS;
    uint64_t ns = power == 0 ? step : (HISTOGRAM_STEPS + step) << (power - 1);
    return (double)ns / 1000.0;
}

static double percentile(const struct bench *b, double part)
{
    uint64_t want = (uint64_t)((double)b->done * part), seen = 0;
    for (size_t i = 0; i < sizeof b->histogram / sizeof b->histogram[0]; i++) {
        seen += b->histogram[i];
        if (seen > want) {
            return bucket_us(i);
        }
    }
    return 0;
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

static void put_request(struct bench *b, struct connection *c)
{
    char event[64], seat[32], customer[32];
    uint64_t k = b->sent++;
    uint64_t place = b->mode == MODE_HOT ? k % 10 : k;
    uint64_t in_event = place % SEATS_PER_EVENT;
    int n = snprintf(event, sizeof event, "bench-%s-%llu", b->run,
                     (unsigned long long)(place / SEATS_PER_EVENT + 1));
    int m = snprintf(seat, sizeof seat, "R%llu-%llu",
                     (unsigned long long)(in_event / SEATS_PER_ROW + 1),
                     (unsigned long long)(in_event % SEATS_PER_ROW + 1));
    int l = snprintf(customer, sizeof customer, "u%llu", (unsigned long long)k);
    if (b->mode == MODE_SEATS) {
        buf_put_str(&c->out, "*2\r\n$5\r\nSEATS\r\n");
        put_bulk(&c->out, event, (size_t)n);
    } else {
        buf_put_str(&c->out,
                    b->mode == MODE_HOLD ? "*4\r\n$4\r\nHOLD\r\n" : "*4\r\n$4\r\nBOOK\r\n");
        put_bulk(&c->out, event, (size_t)n);
        put_bulk(&c->out, customer, (size_t)l);
        put_bulk(&c->out, seat, (size_t)m);
    }
    c->started[(c->head + c->count) % b->pipeline] = now_ns();
    c->count++;
}

static bool over(const struct bench *b) { return b->sent >= b->requests || now_ns() >= b->stop_ns; }

static void fill(struct bench *b, struct connection *c)
{
    while (c->count < b->pipeline && !over(b)) {
        put_request(b, c);
    }
}

/* Sends what it can; asks to be told when there is room only while something is left. */
static int flush_out(int poll_fd, struct connection *c)
{
    while (c->out_at < c->out.len) {
        ssize_t n = write(c->fd, c->out.data + c->out_at, c->out.len - c->out_at);
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
        (void)epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &on);
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

static void count_reply(struct bench *b, struct connection *c, const uint8_t *p, size_t len,
                        uint64_t now)
{
    uint64_t took = now - c->started[c->head];
    c->head = (c->head + 1) % b->pipeline;
    c->count--;
    b->histogram[bucket_of(took)]++;
    b->done++;
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

static int take_replies(struct bench *b, struct connection *c)
{
    if (!buf_reserve(&c->in, READ_BYTES)) {
        return -1;
    }
    ssize_t n = read(c->fd, c->in.data + c->in.len, c->in.cap - c->in.len);
    if (n <= 0) {
        return n < 0 && errno == EAGAIN ? 0 : -1;
    }
    c->in.len += (size_t)n;
    uint64_t now = now_ns();
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

/* ---- Set-up -------------------------------------------------------------------------- */

static int dial(const char *address)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof host) {
        return -1;
    }
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = 0;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list = NULL;
    if (getaddrinfo(host, colon + 1, &hints, &list) != 0) {
        return -1;
    }
    int fd = -1;
    for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            (void)close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd >= 0) {
        int on = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    return fd;
}

static void chart_rows(struct buf *out)
{
    buf_put_u8(out, '[');
    for (int row = 1; row <= SEATS_PER_EVENT / SEATS_PER_ROW; row++) {
        buf_printf(out, "%s{\"row\":\"R%d-\",\"seats\":%d}", row > 1 ? "," : "", row,
                   SEATS_PER_ROW);
    }
    buf_put_u8(out, ']');
}

/* One chart, and as many events as the run can sell out. */
static int make_events(struct bench *b, struct client *client, struct error *e)
{
    char chart[64], event[64];
    struct buf rows = BUF_INIT, answer = BUF_INIT;
    (void)snprintf(chart, sizeof chart, "bench-%s", b->run);
    chart_rows(&rows);
    const struct span add_chart[] = { span_of("add-chart"), span_of(chart),
                                      span_make((const char *)rows.data, rows.len) };
    int code = client_call(client, 3, add_chart, &answer, e);
    uint64_t places = b->mode == MODE_BOOK || b->mode == MODE_HOLD ? b->requests : 1;
    for (uint64_t i = 0; code == 0 && i * SEATS_PER_EVENT < places; i++) {
        (void)snprintf(event, sizeof event, "bench-%s-%llu", b->run, (unsigned long long)i + 1);
        const struct span add_event[] = { span_of("add-event"), span_of(event), span_of(chart) };
        buf_clear(&answer);
        code = client_call(client, 3, add_event, &answer, e);
    }
    buf_free(&rows);
    buf_free(&answer);
    return code;
}

/* The leader's address out of `status`: a flat search is enough for one known field. */
static int find_leader(struct client *client, char *out, size_t cap, struct error *e)
{
    const struct span status[] = { span_of("status") };
    struct buf json = BUF_INIT;
    int code = client_call(client, 1, status, &json, e);
    if (code == 0) {
        buf_put_u8(&json, 0);
        const char *at = strstr((const char *)json.data, "\"leader\":\"");
        if (at == NULL) {
            code = error_set(e, ERR_NOQUORUM, "the cluster has no leader");
        } else {
            at += strlen("\"leader\":\"");
            (void)snprintf(out, cap, "%.*s", (int)strcspn(at, "\""), at);
        }
    }
    buf_free(&json);
    return code;
}

/* ---- The run ---------------------------------------------------------------------------- */

static int run_load(struct bench *b, int poll_fd)
{
    struct epoll_event events[256];
    size_t outstanding = 0;
    for (size_t i = 0; i < b->clients; i++) {
        fill(b, &b->connections[i]);
        if (flush_out(poll_fd, &b->connections[i]) != 0) {
            return -1;
        }
    }
    do {
        int n = epoll_wait(poll_fd, events, 256, 1000);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && take_replies(b, c) != 0) {
                return -1;
            }
            fill(b, c);
            if (flush_out(poll_fd, c) != 0) {
                return -1;
            }
        }
        outstanding = 0;
        for (size_t i = 0; i < b->clients; i++) {
            outstanding += b->connections[i].count;
        }
        if (n == 0 && now_ns() > b->stop_ns + 10000000000u) {
            return -1; /* nothing for long after the end: the rest will not come */
        }
    } while (outstanding > 0);
    return 0;
}

static int connect_all(struct bench *b, const char *address, int poll_fd, struct error *e)
{
    b->connections = mem_zalloc(b->clients * sizeof *b->connections);
    for (size_t i = 0; b->connections != NULL && i < b->clients; i++) {
        struct connection *c = &b->connections[i];
        c->fd = dial(address);
        c->started = mem_zalloc(b->pipeline * sizeof *c->started);
        if (c->fd < 0 || c->started == NULL) {
            return error_set(e, ERR_IO, "cannot connect client %zu to %s", i + 1, address);
        }
        struct epoll_event on = { .events = EPOLLIN, .data.ptr = c };
        (void)epoll_ctl(poll_fd, EPOLL_CTL_ADD, c->fd, &on);
    }
    return 0;
}

static void report(const struct bench *b, const char *address, double seconds)
{
    const double us[] = { percentile(b, 0.50), percentile(b, 0.99), percentile(b, 0.999),
                          percentile(b, 1.0 - 1e-9) };
    double rate = seconds > 0 ? (double)b->done / seconds : 0;
    if (b->json) {
        (void)printf("{\"mode\":\"%s\",\"address\":\"%s\",\"clients\":%zu,\"pipeline\":%zu,"
                     "\"requests\":%llu,\"refused\":%llu,\"failed\":%llu,\"seconds\":%.3f,"
                     "\"per_second\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_"
                     "us\":%.1f}\n",
                     mode_names[b->mode], address, b->clients, b->pipeline,
                     (unsigned long long)b->done, (unsigned long long)b->refused,
                     (unsigned long long)b->failed, seconds, rate, us[0], us[1], us[2], us[3]);
        return;
    }
    (void)printf("%s: %llu requests in %.2f s through %s, %zu clients x %zu pipelined\n"
                 "%.0f/s   p50 %.0f us   p99 %.0f us   p99.9 %.0f us   max %.0f us\n"
                 "%llu taken, %llu failed%s%s\n",
                 mode_names[b->mode], (unsigned long long)b->done, seconds, address, b->clients,
                 b->pipeline, rate, us[0], us[1], us[2], us[3], (unsigned long long)b->refused,
                 (unsigned long long)b->failed, b->failed > 0 ? ": " : "", b->first_failure);
}

static int bench_at(struct bench *b, const char *const *addresses, struct error *e)
{
    struct client *client;
    const struct client_options co = { .addresses = addresses };
    char leader[300];
    int code = client_open(&co, &client, e);
    if (code != 0) {
        return code;
    }
    (void)snprintf(b->run, sizeof b->run, "%llx", (unsigned long long)(now_ns() / 1000));
    code = make_events(b, client, e);
    if (code == 0) {
        code = find_leader(client, leader, sizeof leader, e);
    }
    client_close(client);
    int poll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (code == 0) {
        code = connect_all(b, leader, poll_fd, e);
    }
    if (code == 0) {
        b->begin_ns = now_ns();
        b->stop_ns = b->begin_ns + b->seconds * 1000000000u;
        int broken = run_load(b, poll_fd);
        report(b, leader, (double)(now_ns() - b->begin_ns) / 1e9);
        if (broken != 0) {
            code = error_set(e, ERR_IO, "%s closed a connection or stopped answering", leader);
        } else if (b->failed > 0) {
            code = error_set(e, ERR_INTERNAL, "%llu requests failed: %s",
                             (unsigned long long)b->failed, b->first_failure);
        }
    }
    for (size_t i = 0; b->connections != NULL && i < b->clients; i++) {
        if (b->connections[i].fd > 0) {
            (void)close(b->connections[i].fd);
        }
        buf_free(&b->connections[i].in);
        buf_free(&b->connections[i].out);
        mem_free(b->connections[i].started);
    }
    mem_free(b->connections);
    (void)close(poll_fd);
    return code;
}

static const char usage_text[] =
    "usage: usher bench [--at ADDR] [--mode book|hold|hot|seats] [--clients N] [--pipeline N]\n"
    "                   [--seconds N] [--requests N] [--json]\n"
    "Makes its own events, loads the leader, prints rate and latencies. Defaults: book, 64\n"
    "clients, pipeline 1, 5 seconds, 1,000,000 requests at most.\n";

static bool number_option(const char *text, uint64_t low, uint64_t high, uint64_t *out)
{
    int64_t v;
    if (text == NULL || !text_int64(span_of(text), &v) || v < (int64_t)low || (uint64_t)v > high) {
        return false;
    }
    *out = (uint64_t)v;
    return true;
}

static bool take_option(struct bench *b, const char *name, const char *value, uint64_t *clients,
                        uint64_t *pipeline)
{
    if (strcmp(name, "--mode") == 0) {
        for (int i = 0; value != NULL && mode_names[i] != NULL; i++) {
            if (strcmp(mode_names[i], value) == 0) {
                b->mode = (enum mode)i;
                return true;
            }
        }
        return false;
    }
    if (strcmp(name, "--at") == 0) {
        b->at = value;
        return value != NULL;
    }
    return strcmp(name, "--clients") == 0    ? number_option(value, 1, 10000, clients)
           : strcmp(name, "--pipeline") == 0 ? number_option(value, 1, 10000, pipeline)
           : strcmp(name, "--seconds") == 0  ? number_option(value, 1, 3600, &b->seconds)
           : strcmp(name, "--requests") == 0 ? number_option(value, 1, 50000000, &b->requests)
                                             : false;
}

int bench_main(int argc, char **argv)
{
    struct bench *b = mem_zalloc(sizeof *b);
    uint64_t clients = 64, pipeline = 1;
    if (b == NULL) {
        return EXIT_REFUSED;
    }
    b->requests = 1000000;
    b->seconds = 5;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            b->json = true;
        } else if (strcmp(argv[i], "--help") == 0) {
            (void)fputs(usage_text, stdout);
            mem_free(b);
            return EXIT_DONE;
        } else if (!take_option(b, argv[i], i + 1 < argc ? argv[i + 1] : NULL, &clients,
                                &pipeline)) {
            (void)fprintf(stderr, "usher bench: %s is no option or lacks a right value\n%s",
                          argv[i], usage_text);
            mem_free(b);
            return EXIT_USAGE;
        } else {
            i++;
        }
    }
    b->clients = (size_t)clients;
    b->pipeline = (size_t)pipeline;
    const char *at = b->at != NULL ? b->at : getenv("USHER_ADDR");
    char **addresses = client_addresses(at != NULL && at[0] != 0 ? at : "localhost:6000");
    struct error e;
    int code = bench_at(b, (const char *const *)addresses, &e);
    if (code != 0) {
        render_error(&e, span_make("", 0));
    }
    client_addresses_free(addresses);
    mem_free(b);
    return code == 0 ? EXIT_DONE : EXIT_REFUSED;
}
