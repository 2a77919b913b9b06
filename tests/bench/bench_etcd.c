/* The same job on etcd: book one seat if nobody has it, one durable transaction each.
 *
 * N clients, each with one keep-alive connection and one request at a time, send
 * "if the key is absent, put it" to the JSON gateway of etcd's v3 interface, at the
 * leader (the address etcd answers fastest from). Every answer must say that it
 * succeeded. One JSON line per number of clients. bench_etcd.sh starts the nodes.
 *
 *   bench_etcd PORT,PORT,... [--seconds S] [--clients N]... */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CLIENTS_MAX    1024
#define ANSWER_MAX     16384
#define SAMPLES_MAX    2000000
#define LEADER_WAIT_NS 30000000000ull
#define WARM_UP_NS     300000000ull

struct client {
    int fd;
    uint64_t started;
    size_t len;
    char answer[ANSWER_MAX];
};

struct run {
    uint64_t warm_until, end;
    uint32_t *samples; /* ns / 16 */
    uint32_t samples_count;
    uint64_t next_seat;
    unsigned waiting; /* requests not answered yet */
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "bench_etcd: %s\n", what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static int dial(int port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct timeval patience = { 5, 0 };
    int one = 1;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

/* ---- HTTP, as much as the gateway needs --------------------------------------- */

static bool send_request(int fd, const char *path, const char *body)
{
    char text[1024];
    int n = snprintf(text, sizeof text,
                     "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n%s",
                     path, strlen(body), body);
    return n > 0 && (size_t)n < sizeof text && send(fd, text, (size_t)n, MSG_NOSIGNAL) == n;
}

/* Whole answer in c->answer? It is NUL-terminated. */
static bool complete(const struct client *c)
{
    const char *body = strstr(c->answer, "\r\n\r\n");
    if (body == NULL) {
        return false;
    }
    body += 4;
    const char *length = strcasestr(c->answer, "content-length:");
    if (length != NULL && length < body) {
        return c->len >= (size_t)(body - c->answer) + strtoul(length + 15, NULL, 10);
    }
    return strstr(body, "0\r\n\r\n") != NULL; /* chunked */
}

/* Reads what there is. Returns 1 when the answer is whole, 0 for more, -1 on failure. */
static int receive(struct client *c)
{
    ssize_t n = recv(c->fd, c->answer + c->len, ANSWER_MAX - 1 - c->len, 0);
    if (n <= 0) {
        return n < 0 && errno == EINTR ? 0 : -1;
    }
    c->len += (size_t)n;
    c->answer[c->len] = 0;
    return complete(c) ? 1 : c->len == ANSWER_MAX - 1 ? -1 : 0;
}

/* Copies the text value of "key" (":" and quotes follow) from the answer. */
static bool text_field(const char *answer, const char *key, char out[32])
{
    char quoted[40];
    snprintf(quoted, sizeof quoted, "\"%s\":\"", key);
    const char *at = strstr(answer, quoted);
    if (at == NULL) {
        return false;
    }
    at += strlen(quoted);
    size_t n = strcspn(at, "\"");
    if (n == 0 || n > 31) {
        return false;
    }
    memcpy(out, at, n);
    out[n] = 0;
    return true;
}

static bool is_leader(int port)
{
    static struct client c;
    char self[32], leader[32];
    int rc = 0;
    c.len = 0;
    c.fd = dial(port);
    if (c.fd >= 0 && send_request(c.fd, "/v3/maintenance/status", "{}")) {
        while ((rc = receive(&c)) == 0) {
        }
    }
    close(c.fd);
    return rc == 1 && text_field(c.answer, "member_id", self) &&
           text_field(c.answer, "leader", leader) && strcmp(self, leader) == 0;
}

static int find_leader(const char *ports)
{
    uint64_t deadline = now_ns() + LEADER_WAIT_NS;
    while (now_ns() < deadline) {
        for (const char *p = ports; p != NULL && *p != 0;) {
            int port = atoi(p);
            if (is_leader(port)) {
                return port;
            }
            p = strchr(p, ',');
            p = p != NULL ? p + 1 : NULL;
        }
        struct timespec pause = { 0, 50000000 };
        nanosleep(&pause, NULL);
    }
    die("no leader within 30 s");
}

/* ---- Load --------------------------------------------------------------------- */

static void base64(const char *in, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(in);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t v = (uint32_t)(unsigned char)in[i] << 16;
        v |= i + 1 < len ? (uint32_t)(unsigned char)in[i + 1] << 8 : 0;
        v |= i + 2 < len ? (uint32_t)(unsigned char)in[i + 2] : 0;
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = i + 1 < len ? digits[v >> 6 & 63] : '=';
        *out++ = i + 2 < len ? digits[v & 63] : '=';
    }
    *out = 0;
}

static void book(struct run *run, struct client *c)
{
    char key[64], key64[96], value64[96], body[512];
    snprintf(key, sizeof key, "seat/%d/%llu", (int)getpid(), (unsigned long long)run->next_seat++);
    base64(key, key64);
    base64("order 7H2K9QWERTYUI of customer-42", value64);
    snprintf(body, sizeof body,
             "{\"compare\":[{\"key\":\"%s\",\"target\":\"CREATE\",\"result\":\"EQUAL\","
             "\"create_revision\":\"0\"}],\"success\":[{\"requestPut\":{\"key\":\"%s\","
             "\"value\":\"%s\"}}]}",
             key64, key64, value64);
    c->len = 0;
    c->started = now_ns();
    if (!send_request(c->fd, "/v3/kv/txn", body)) {
        die("cannot send");
    }
    run->waiting++;
}

static void answered(struct run *run, struct client *c)
{
    uint64_t now = now_ns();
    if (strstr(c->answer, " 200 ") == NULL || strstr(c->answer, "\"succeeded\":true") == NULL) {
        fprintf(stderr, "%s\n", c->answer);
        die("a transaction did not succeed");
    }
    if (c->started >= run->warm_until && now < run->end && run->samples_count < SAMPLES_MAX) {
        run->samples[run->samples_count++] = (uint32_t)((now - c->started) / 16);
    }
    run->waiting--;
    if (now < run->end) {
        book(run, c);
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void load(int port, unsigned clients, unsigned seconds)
{
    struct run run = { .samples = malloc(sizeof *run.samples * SAMPLES_MAX) };
    struct client *all = calloc(clients, sizeof *all);
    int poll_fd = epoll_create1(0);
    if (run.samples == NULL || all == NULL || poll_fd < 0) {
        die("out of memory");
    }
    for (unsigned i = 0; i < clients; i++) {
        struct epoll_event ev = { .events = EPOLLIN, .data = { .ptr = &all[i] } };
        all[i].fd = dial(port);
        if (all[i].fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, all[i].fd, &ev) != 0) {
            die("cannot connect");
        }
    }
    static uint64_t seats;
    run.next_seat = seats;
    run.warm_until = now_ns() + WARM_UP_NS;
    run.end = run.warm_until + seconds * 1000000000ull;
    for (unsigned i = 0; i < clients; i++) {
        book(&run, &all[i]);
    }
    while (run.waiting > 0) {
        struct epoll_event events[64];
        int n = epoll_wait(poll_fd, events, 64, 5000);
        if (n <= 0) {
            die("no answer within 5 s");
        }
        for (int i = 0; i < n; i++) {
            int rc = receive(events[i].data.ptr);
            if (rc < 0) {
                die("connection lost");
            }
            if (rc == 1) {
                answered(&run, events[i].data.ptr);
            }
        }
    }
    seats = run.next_seat;
    if (run.samples_count == 0) {
        die("nothing was booked");
    }
    qsort(run.samples, run.samples_count, sizeof *run.samples, by_value);
    printf("{\"bench\":\"etcd\",\"clients\":%u,\"bookings\":%u,\"bookings_per_s\":%.0f,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           clients, run.samples_count, run.samples_count / (double)seconds,
           run.samples[run.samples_count / 2] * 16 / 1000.0,
           run.samples[(uint32_t)((double)(run.samples_count - 1) * 0.99)] * 16 / 1000.0);
    fflush(stdout);
    for (unsigned i = 0; i < clients; i++) {
        close(all[i].fd);
    }
    close(poll_fd);
    free(all);
    free(run.samples);
}

int main(int argc, char **argv)
{
    unsigned seconds = 3, clients[8] = { 1, 64 }, clients_count = 0;
    for (int i = 2; i + 1 < argc; i += 2) {
        unsigned n = (unsigned)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--seconds") == 0 && n >= 1 && n <= 60) {
            seconds = n;
        } else if (strcmp(argv[i], "--clients") == 0 && n >= 1 && n <= CLIENTS_MAX &&
                   clients_count < 8) {
            clients[clients_count++] = n;
        } else {
            argc = 0;
        }
    }
    if (argc < 2 || argc % 2 != 0) {
        fprintf(stderr, "usage: bench_etcd PORT,PORT,... [--seconds 1..60] [--clients N]...\n");
        return 2;
    }
    int port = find_leader(argv[1]);
    for (unsigned i = 0; i < (clients_count == 0 ? 2 : clients_count); i++) {
        load(port, clients[i], seconds);
    }
    return 0;
}
