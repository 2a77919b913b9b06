/* Streams of the libuv env, over TCP on loopback. */
#include "env_fixture.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

struct peer {
    struct fixture *f;
    struct env_stream *s;
    struct buf got;
    size_t want; /* sets full when this many bytes are here */
    bool connected, full, drained, closed;
    int connect_status, status, closes;
};

static void on_data(void *arg, const uint8_t *bytes, size_t len)
{
    struct peer *p = arg;
    assert_false(p->closed);
    buf_put(&p->got, bytes, len);
    p->full = p->got.len >= p->want;
}

static void on_drained(void *arg)
{
    struct peer *p = arg;
    assert_int_equal(ops->stream_queued(p->s), 0);
    p->drained = true;
}

static void on_closed(void *arg, int status)
{
    struct peer *p = arg;
    p->closed = true;
    p->closes++;
    p->status = status;
}

static const struct env_stream_events events = { on_data, on_drained, on_closed };

static void on_connect(void *arg, int status, struct env_stream *s)
{
    struct peer *p = arg;
    p->connected = true;
    p->connect_status = status;
    p->s = s;
    if (s != NULL) {
        ops->stream_start(s, &events, p);
    }
}

/* A plain listening socket; returns its port. */
static int listen_on(int family, int *port)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 a6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    struct sockaddr_in a4 = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    struct sockaddr *a = family == AF_INET ? (struct sockaddr *)&a4 : (struct sockaddr *)&a6;
    socklen_t len = family == AF_INET ? sizeof a4 : sizeof a6;
    if (fd < 0 || bind(fd, a, len) != 0 || listen(fd, 8) != 0 || getsockname(fd, a, &len) != 0) {
        if (fd >= 0) {
            (void)close(fd);
        }
        return -1;
    }
    *port = ntohs(family == AF_INET ? a4.sin_port : a6.sin6_port);
    return fd;
}

/* Connects `a` by address and adopts the accepted side as `b`. */
static void make_pair(struct fixture *f, const char *host, int family, struct peer *a,
                      struct peer *b)
{
    struct error e = { 0 };
    int port;
    int fd = listen_on(family, &port);
    assert_true(fd >= 0);
    char address[64];
    (void)snprintf(address, sizeof address, "%s:%d", host, port);
    *a = (struct peer){ .f = f };
    *b = (struct peer){ .f = f };
    ops->connect(f->env, address, on_connect, a);
    assert_false(a->connected);
    run_until(f, &a->connected);
    assert_int_equal(a->connect_status, 0);
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    assert_int_equal(env_uv_adopt(f->env, accepted, &b->s, &e), 0);
    ops->stream_start(b->s, &events, b);
    (void)close(fd);
}

static void end_pair(struct fixture *f, struct peer *a, struct peer *b)
{
    ops->stream_close(a->s);
    ops->stream_close(a->s); /* twice is once */
    run_until(f, &a->closed);
    run_until(f, &b->closed);
    assert_int_equal(a->status, 0);
    assert_int_equal(b->status, 0);
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(a->closes, 1);
    assert_int_equal(b->closes, 1);
    buf_free(&a->got);
    buf_free(&b->got);
}

static void put(struct peer *p, const char *text)
{
    struct buf b = BUF_INIT;
    buf_put_str(&b, text);
    ops->stream_write(p->s, &b);
    assert_null(b.data);
}

/* Bytes arrive in order both ways; drained comes from the loop, once all is sent. */
static void test_stream_both_ways(void **state)
{
    struct fixture *f = *state;
    struct peer a, b;
    make_pair(f, "127.0.0.1", AF_INET, &a, &b);
    put(&a, "one ");
    put(&a, "two");
    assert_int_equal(ops->stream_queued(a.s), 7);
    assert_false(a.drained);
    put(&b, "three");
    b.want = 7;
    a.want = 5;
    run_until(f, &b.full);
    run_until(f, &a.full);
    assert_true(a.drained);
    assert_memory_equal(b.got.data, "one two", 7);
    assert_memory_equal(a.got.data, "three", 5);
    end_pair(f, &a, &b);
}

/* 64 MiB in uneven pieces against a socket buffer that is far smaller: nothing is lost,
 * reordered or left queued. */
static void test_stream_large(void **state)
{
    struct fixture *f = *state;
    struct peer a, b;
    make_pair(f, "localhost", AF_INET, &a, &b); /* tries ::1 first where it exists */
    size_t total = 0;
    for (size_t i = 0; total < (size_t)64 * 1024 * 1024; i++) {
        struct buf piece = BUF_INIT;
        size_t len = 1 + (i * 7919) % 300000;
        assert_true(buf_reserve(&piece, len));
        for (size_t k = 0; k < len; k++) {
            piece.data[k] = (uint8_t)((total + k) * 31 >> 3);
        }
        piece.len = len;
        total += len;
        ops->stream_write(a.s, &piece);
    }
    b.want = total;
    run_until(f, &b.full);
    run_until(f, &a.drained);
    assert_int_equal(b.got.len, total);
    for (size_t k = 0; k < total; k++) {
        if (b.got.data[k] != (uint8_t)(k * 31 >> 3)) {
            fail_msg("byte %zu differs", k);
        }
    }
    end_pair(f, &a, &b);
}

/* Bytes queued just before stream_close still leave when the socket has room. */
static void test_stream_last_words(void **state)
{
    struct fixture *f = *state;
    struct peer a, b;
    make_pair(f, "127.0.0.1", AF_INET, &a, &b);
    put(&a, "goodbye");
    ops->stream_close(a.s);
    run_until(f, &a.closed);
    run_until(f, &b.closed);
    assert_int_equal(b.got.len, 7);
    buf_free(&b.got);
}

/* A reset by the other side closes with ERR_IO, with writes still queued and none leaked. */
static void test_stream_reset(void **state)
{
    struct fixture *f = *state;
    int port;
    int fd = listen_on(AF_INET, &port);
    char address[64];
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", port);
    struct peer a = { .f = f };
    ops->connect(f->env, address, on_connect, &a);
    run_until(f, &a.connected);
    int accepted = accept(fd, NULL, NULL);
    for (int i = 0; i < 64; i++) {
        struct buf piece = BUF_INIT;
        assert_true(buf_reserve(&piece, 1 << 20));
        memset(piece.data, 'x', 1 << 20);
        piece.len = 1 << 20;
        ops->stream_write(a.s, &piece);
    }
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    struct linger hard = { 1, 0 };
    assert_int_equal(setsockopt(accepted, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    (void)close(accepted);
    (void)close(fd);
    run_until(f, &a.closed);
    assert_int_equal(a.status, ERR_IO);
    assert_int_equal(a.closes, 1);
}

/* IPv6 addresses in brackets work where the machine has IPv6. */
static void test_connect_v6(void **state)
{
    struct fixture *f = *state;
    int port;
    int fd = listen_on(AF_INET6, &port);
    if (fd < 0) {
        skip();
    }
    (void)close(fd);
    struct peer a, b;
    make_pair(f, "[::1]", AF_INET6, &a, &b);
    end_pair(f, &a, &b);
}

/* Failures come through the callback, later, with a code for their kind. */
static void test_connect_failures(void **state)
{
    struct fixture *f = *state;
    int port;
    int fd = listen_on(AF_INET, &port);
    (void)close(fd); /* now nobody listens there */
    char refused[64];
    (void)snprintf(refused, sizeof refused, "localhost:%d", port);
    const struct {
        const char *address;
        int status;
    } cases[] = {
        { refused, ERR_IO },
        { "", ERR_BADARG },
        { "host", ERR_BADARG },
        { ":1", ERR_BADARG },
        { "host:", ERR_BADARG },
        { "host:0", ERR_BADARG },
        { "host:65536", ERR_BADARG },
        { "host:1x", ERR_BADARG },
        { "[]:1", ERR_BADARG },
        { "[::1:1", ERR_BADARG },
        { "bad..name:1", ERR_NOTFOUND },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p = { .f = f };
        ops->connect(f->env, cases[i].address, on_connect, &p);
        assert_false(p.connected);
        run_until(f, &p.connected);
        assert_null(p.s);
        assert_int_equal(p.connect_status, cases[i].status);
    }
}

/* An address that swallows packets ends at the deadline (192.0.2.0/24 is set aside for
 * documentation); a machine without a route fails at once, which is as good. */
static void test_connect_deadline(void **state)
{
    struct fixture *f = *state;
    struct peer p = { .f = f };
    ops->connect(f->env, "192.0.2.1:9", on_connect, &p);
    run_until(f, &p.connected);
    if (p.s != NULL) { /* a proxying network answered for it */
        ops->stream_close(p.s);
        run_until(f, &p.closed);
        skip();
    }
    assert_int_equal(p.connect_status, ERR_IO);
}

/* A descriptor that is no socket is refused and stays the caller's. */
static void test_adopt_refuses(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    struct env_stream *s = NULL;
    assert_int_not_equal(env_uv_adopt(f->env, 1 << 20, &s, &e), 0);
    assert_null(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stream_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_large, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_last_words, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect_v6, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect_failures, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(test_adopt_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
