/* The one address: both families, who speaks, what is refused and how. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include "base/limits.h"
#include "net/listener.h"
#include "resp_world.h"

struct house {
    struct resp_world w; /* its RESP server is not used here */
    struct listener *l;
    char address[64];
    uint16_t port;
    bool closed;
};

static uint16_t free_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    (void)close(fd);
    return ntohs(a.sin_port);
}

static int start(struct house *h, const char *address, struct listener **out, struct error *e)
{
    struct listener_options o = { .loop = &h->w.loop,
                                  .env = h->w.env,
                                  .address = address,
                                  .loopback_only = true,
                                  .service = h->w.service };
    return listener_start(&o, out, e);
}

static int setup(void **state)
{
    struct house *h = mem_zalloc(sizeof *h);
    struct error e = { 0 };
    world_start(&h->w, false);
    h->port = free_port();
    (void)snprintf(h->address, sizeof h->address, "localhost:%u", h->port);
    assert_int_equal(start(h, h->address, &h->l, &e), 0);
    *state = h;
    return 0;
}

static void on_closed(void *arg) { ((struct house *)arg)->closed = true; }

static int teardown(void **state)
{
    struct house *h = *state;
    listener_close(h->l, on_closed, h);
    while (!h->closed) {
        (void)uv_run(&h->w.loop, UV_RUN_ONCE);
    }
    world_stop(&h->w);
    mem_free(h);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

static int dial(uint16_t port, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    struct sockaddr_in a4 = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6,
                               .sin6_port = htons(port),
                               .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int rc = family == AF_INET ? connect(fd, (struct sockaddr *)&a4, sizeof a4)
                               : connect(fd, (struct sockaddr *)&a6, sizeof a6);
    if (rc != 0) {
        (void)close(fd);
        return -1;
    }
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static struct buf converse(struct house *h, const char *in, size_t len)
{
    struct buf out = BUF_INIT;
    int fd = dial(h->port, AF_INET);
    assert_true(fd >= 0);
    world_write(&h->w, fd, in, len);
    (void)shutdown(fd, SHUT_WR);
    (void)world_read(&h->w, fd, &out, SIZE_MAX);
    (void)close(fd);
    buf_put_u8(&out, 0);
    return out;
}

/* localhost is reached over every family that this machine has. */
static void test_families(void **state)
{
    struct house *h = *state;
    static const int families[] = { AF_INET, AF_INET6 };
    for (size_t i = 0; i < 2; i++) {
        struct buf got = BUF_INIT;
        int fd = dial(h->port, families[i]);
        if (fd < 0) {
            assert_int_equal(families[i], AF_INET6); /* a machine without IPv6 */
            continue;
        }
        world_write(&h->w, fd, "PING\r\n", 6);
        (void)world_read(&h->w, fd, &got, 7);
        assert_memory_equal(got.data, "+PONG\r\n", 7);
        buf_free(&got);
        (void)close(fd);
    }
}

/* HTTP, TLS and half a peer's greeting are told apart from RESP and end clearly. */
static void test_protocols(void **state)
{
    struct house *h = *state;
    struct buf got = converse(h, "GET / HTTP/1.1\r\n\r\n", 18);
    assert_memory_equal(got.data, "HTTP/1.1 501 ", 13);
    char *body = strstr((char *)got.data, "\r\n\r\n");
    assert_non_null(body);
    assert_int_equal(strlen(body + 4), 124); /* as Content-Length says */
    buf_free(&got);
    got = converse(h, "\x16\x03\x01\x02", 4);
    assert_non_null(strstr((char *)got.data, "TLS"));
    buf_free(&got);
    got = converse(h, "\0USHER1\n", 8); /* no cluster here */
    assert_int_equal(got.len, 1);
    buf_free(&got);
    got = converse(h, "\0USH", 4); /* ended in the middle: not a peer */
    assert_int_equal(got.len, 1);
    buf_free(&got);
    got = converse(h, "GET x\r\n", 7);
    assert_non_null(strstr((char *)got.data, "-NOTFOUND"));
    buf_free(&got);
}

/* Bytes that come one by one are waited for as long as they could be something else. */
static void test_slow_greeting(void **state)
{
    struct house *h = *state;
    struct buf got = BUF_INIT;
    const char *in = "GET / HTTP/1.1\r\n\r\n";
    int fd = dial(h->port, AF_INET);
    for (size_t i = 0; i < 5; i++) {
        world_write(&h->w, fd, in + i, 1);
        for (int k = 0; k < 5; k++) {
            world_step(&h->w);
        }
    }
    assert_true(world_read(&h->w, fd, &got, SIZE_MAX));
    assert_memory_equal(got.data, "HTTP/1.1 501", 12);
    buf_free(&got);
    (void)close(fd);
}

/* A port that somebody has, and addresses that are none, are refused in one sentence. */
static void test_bad_addresses(void **state)
{
    struct house *h = *state;
    struct listener *l = NULL;
    struct error e = { 0 };
    assert_int_equal(start(h, h->address, &l, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "in use"));
    static const char *const bad[] = { "localhost", ":6000", "localhost:", "localhost:123456",
                                       "no such host.invalid:6000" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        error_clear(&e);
        assert_int_equal(start(h, bad[i], &l, &e), ERR_BADARG);
        assert_non_null(strstr(e.message, bad[i]));
    }
    for (int i = 0; i < 10; i++) {
        world_step(&h->w); /* what was opened goes away */
    }
}

/* However many connections say nothing, whoever says something is heard: the silent one that
 * came first has to go. */
static void test_silent_flood(void **state)
{
    struct house *h = *state;
    struct rlimit limit;
    enum { FLOOD = SILENT_MAX + 80 };
    static int fds[FLOOD];
    char byte;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t old = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max; /* both ends of all of them are ours */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    for (int i = 0; i < FLOOD; i++) {
        fds[i] = dial(h->port, AF_INET);
        assert_true(fds[i] >= 0);
        world_step(&h->w);
    }
    struct buf got = converse(h, "PING\r\n", 6);
    assert_string_equal((char *)got.data, "+PONG\r\n");
    buf_free(&got);
    assert_int_equal(read(fds[0], &byte, 1), 0);
    assert_int_equal(read(fds[FLOOD - 1], &byte, 1), -1); /* open, nothing to read */
    for (int i = 0; i < FLOOD; i++) {
        (void)close(fds[i]);
    }
    limit.rlim_cur = old;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Without descriptors left a connection is closed at once, the loop does not spin on it, and
 * when there are some again the node serves as before. */
static void test_no_descriptors(void **state)
{
    struct house *h = *state;
    struct rlimit old, none;
    int fds[64], n = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    for (; n < 8; n++) {
        fds[n] = dial(h->port, AF_INET);
        assert_true(fds[n] >= 0);
    }
    none = old;
    none.rlim_cur = (rlim_t)fds[n - 1] + 1; /* nothing above what is open */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    struct buf got = BUF_INIT;
    int closed = 0;
    world_deadline(&h->w, 5000);
    while (closed == 0 && !h->w.late) {
        char byte;
        world_step(&h->w);
        for (int i = 0; i < n; i++) {
            closed += read(fds[i], &byte, 1) == 0;
        }
    }
    assert_true(closed > 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    for (int i = 0; i < n; i++) {
        (void)close(fds[i]);
    }
    got = converse(h, "PING\r\n", 6);
    assert_string_equal((char *)got.data, "+PONG\r\n");
    buf_free(&got);
}

/* Clients leave the last descriptors to the log, to snapshots and to peers. */
static void test_few_descriptors(void **state)
{
    struct house *h = *state;
    struct rlimit old, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    int fd = dial(h->port, AF_INET);
    few = old;
    few.rlim_cur = (rlim_t)fd + 5; /* of these a quarter is kept, and more than an eighth left */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    struct buf got = BUF_INIT;
    world_write(&h->w, fd, "PING\r\n", 6);
    assert_true(world_read(&h->w, fd, &got, SIZE_MAX));
    buf_put_u8(&got, 0);
    assert_non_null(strstr((char *)got.data, "-BUSY this node has few file descriptors left"));
    buf_free(&got);
    (void)close(fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    got = converse(h, "PING\r\n", 6);
    assert_string_equal((char *)got.data, "+PONG\r\n");
    buf_free(&got);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_families),        WITH(test_protocols),    WITH(test_slow_greeting),
        WITH(test_bad_addresses),   WITH(test_silent_flood), WITH(test_no_descriptors),
        WITH(test_few_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
