/* Two transports over real sockets: what the simulator promises holds on libuv too. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raftio/env_uv.h"
#include "raftio/transport.h"

struct unode {
    struct env *env;
    struct transport *t;
    uv_poll_t listener;
    int fd;
    char address[64];
    uint64_t node_id;
    int ups, downs, frames, closed;
    uint64_t bytes, last;
    bool bad;
};

static uint64_t cluster_id(void *arg)
{
    (void)arg;
    return 5;
}
static int admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    (void)arg, (void)peer, (void)e;
    return 0;
}
static void frame(void *arg, const struct transport_peer *peer, enum transport_channel ch,
                  const uint8_t *data, size_t len)
{
    struct unode *n = arg;
    struct reader r;
    (void)ch;
    reader_init(&r, data, len);
    n->bad |= reader_u64(&r) != ++n->last || peer->node_id == n->node_id;
    for (size_t i = 8; i < len; i += 509) {
        n->bad |= data[i] != (uint8_t)(n->last + i);
    }
    n->frames++;
    n->bytes += len;
}
static void link_changed(void *arg, const char *address, bool up, const struct transport_peer *peer,
                         const struct error *why)
{
    struct unode *n = arg;
    (void)address, (void)peer, (void)why;
    n->ups += up;
    n->downs += !up;
}
static void closed(void *arg) { ((struct unode *)arg)->closed++; }

static void on_listener(uv_poll_t *h, int status, int events)
{
    struct unode *n = h->data;
    struct env_stream *s;
    struct error e = { 0 };
    (void)status, (void)events;
    int fd = accept(n->fd, NULL, NULL);
    if (fd >= 0) {
        assert_int_equal(env_uv_adopt(n->env, fd, &s, &e), 0);
        transport_accept(n->t, s);
    }
}

/* Listens on a free loopback port; false when the machine lacks the family. */
static bool listen_somewhere(struct unode *n, int family, const char *format)
{
    struct sockaddr_storage ss = { .ss_family = (sa_family_t)family };
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ss;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ss;
    socklen_t len = family == AF_INET ? sizeof *v4 : sizeof *v6;
    if (family == AF_INET) {
        v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    } else {
        v6->sin6_addr = in6addr_loopback;
    }
    n->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (n->fd < 0 || bind(n->fd, (struct sockaddr *)&ss, len) != 0 || listen(n->fd, 16) != 0 ||
        getsockname(n->fd, (struct sockaddr *)&ss, &len) != 0) {
        return false;
    }
    (void)snprintf(n->address, sizeof n->address, format,
                   ntohs(family == AF_INET ? v4->sin_port : v6->sin6_port));
    return true;
}

static void unode_open(struct unode *n, uv_loop_t *loop, struct env *env)
{
    struct transport_options o = { .secret = span_of("secret"),
                                   .node_id = n->node_id,
                                   .address = n->address,
                                   .cluster_id = cluster_id,
                                   .admit = admit,
                                   .frame = frame,
                                   .link = link_changed,
                                   .arg = n };
    n->env = env;
    assert_int_equal(transport_new(env, &o, &n->t, NULL), 0);
    n->listener.data = n;
    assert_int_equal(uv_poll_init(loop, &n->listener, n->fd), 0);
    assert_int_equal(uv_poll_start(&n->listener, UV_READABLE, on_listener), 0);
}

static void on_deadline(uv_timer_t *t) { *(bool *)t->data = true; }

/* Runs the loop until *counter has reached `want`; fails after 20 s. */
static void wait_for(uv_loop_t *loop, const int *counter, int want)
{
    uv_timer_t timer;
    bool late = false;
    assert_int_equal(uv_timer_init(loop, &timer), 0);
    timer.data = &late;
    assert_int_equal(uv_timer_start(&timer, on_deadline, 20000, 0), 0);
    while (*counter < want && !late) {
        (void)uv_run(loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(loop, UV_RUN_NOWAIT);
    if (late) {
        fail_msg("waited 20 s for %d, have %d", want, *counter);
    }
}

static void send_number(struct unode *from, const struct unode *to, uint64_t number, size_t len)
{
    struct buf b = BUF_INIT;
    buf_put_u64(&b, number);
    assert_true(len >= 8 && buf_reserve(&b, len - 8));
    for (; b.len < len; b.len++) {
        b.data[b.len] = (uint8_t)(number + b.len);
    }
    assert_true(transport_send(from->t, to->address, CHANNEL_CLUSTER, &b));
}

static void exchange(int family, const char *format)
{
    int64_t live = mem_test_live();
    uv_loop_t loop;
    struct env *env;
    struct unode a = { .node_id = 1 }, b = { .node_id = 2 };
    if (!listen_somewhere(&a, family, format) || !listen_somewhere(&b, family, format)) {
        print_message("no such loopback here, skipped\n");
        (void)close(a.fd);
        (void)close(b.fd);
        return;
    }
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(env_uv_new(&loop, &env, NULL), 0);
    unode_open(&a, &loop, env);
    unode_open(&b, &loop, env);
    transport_connect(a.t, b.address);
    transport_connect(b.t, a.address);
    wait_for(&loop, &a.ups, 1);
    wait_for(&loop, &b.ups, 1);
    for (uint64_t i = 1; i <= 20000; i++) {
        send_number(&a, &b, i, 8 + i % 300);
    }
    send_number(&b, &a, 1, 30 * 1024 * 1024);
    wait_for(&loop, &b.frames, 20000);
    wait_for(&loop, &a.frames, 1);
    assert_int_equal(a.bytes, 30 * 1024 * 1024);
    assert_false(a.bad || b.bad);
    assert_int_equal(a.downs + b.downs, 0);
    /* One end goes away for good: the other notices at once. */
    uv_close((uv_handle_t *)&b.listener, NULL);
    transport_close(b.t, closed, &b);
    wait_for(&loop, &b.closed, 1);
    wait_for(&loop, &a.downs, 1);
    transport_close(a.t, closed, &a);
    wait_for(&loop, &a.closed, 1);
    uv_close((uv_handle_t *)&a.listener, NULL);
    env_uv_free(env);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    (void)close(a.fd);
    (void)close(b.fd);
    assert_int_equal(mem_test_live(), live);
}

/* Links over real TCP on IPv4 by name: 20,000 small frames and one of 30 MB arrive whole
 * and in order; closing leaves nothing behind. */
static void over_a_host_name(void **state)
{
    (void)state;
    exchange(AF_INET, "localhost:%d");
}

/* The same over IPv6, written in brackets. */
static void over_ipv6(void **state)
{
    (void)state;
    exchange(AF_INET6, "[::1]:%d");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(over_a_host_name),
                                        cmocka_unit_test(over_ipv6) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
