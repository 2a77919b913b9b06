/* The one address of a node: accept, peek, decide, hand over.
 *
 *   accept4 -> may it talk to us? -> poll for its first bytes (SO_RCVLOWAT: as many as could
 *   decide) -> peek -> peer link | RESP | HTTP's answer | closed
 *
 * Sockets are accepted raw and only polled, so that the descriptor can be given to whoever
 * speaks its protocol with nothing consumed. A silent connection costs one small struct and
 * is closed after SILENT_MS by a sweep each second, or earlier when SILENT_MAX others have come
 * after it: whoever has something to say says it in the next turn, so a flood of silent ones
 * only pushes out itself.
 *
 * How it fails: few descriptors left -> clients are told so and closed, the silent ones go
 * oldest first, peers are taken: log and snapshots need files to go on. None left -> the spare
 * one is closed, the connection accepted and closed at once, so that the listening socket does
 * not report the same one for ever. Too many connections, or a peer from elsewhere on a
 * loopback node -> one clear line, closed.
 *
 * Invariant: 1. `oldest` to `newest` is every silent connection in the order they came. */
#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/address.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "net/resp/resp.h"
#include "net/sniff.h"
#include "raftio/env_uv.h"

#define LOG_MODULE "net"
#include "base/log.h"

#define SOCKETS_MAX    8
#define BACKLOG        512
#define SWEEP_MS       1000
#define ACCEPT_AT_ONCE 64 /* per turn, so that a flood does not hold up the loop */

/* Accepted, not yet known. */
struct silent {
    struct silent *older, *newer;
    struct listener *l;
    uv_poll_t poll;
    int fd;
    uint64_t since_ms;
    enum sniff verdict;
    bool closing;
};

struct socket {
    struct listener *l;
    uv_poll_t poll;
    int fd;
};

struct listener {
    struct listener_options o;
    struct resp *resp;
    struct socket sockets[SOCKETS_MAX];
    size_t sockets_count;
    struct silent *oldest, *newest;
    size_t silent_count;
    uv_timer_t sweep;
    int spare_fd;
    unsigned handles; /* uv handles not closed yet */
    bool closing, resp_closed;
    void (*cb)(void *arg);
    void *arg;
    struct log_limit full, foreign;
};

/* ---- Saying no ---------------------------------------------------------------- */

/* One line to a connection that is closed: what it has sent is read away first, or the
 * kernel would answer with a reset and the line would be lost. */
static void say_and_close(int fd, const char *text)
{
    char trash[4096];
    for (int i = 0; i < 16 && recv(fd, trash, sizeof trash, MSG_DONTWAIT) > 0; i++) {
    }
    ssize_t n = send(fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)n;
    (void)shutdown(fd, SHUT_WR);
    (void)close(fd);
}

static void say_few(struct listener *l)
{
    if (log_allowed(&l->full, uv_now(l->o.loop), 10000)) {
        log_warn("few file descriptors are left: connections are refused (raise `ulimit -n`)");
    }
}

static const char few_answer[] = "-BUSY this node has few file descriptors left; close some "
                                 "connections, or raise its `ulimit -n`\r\n";
static const char http_answer[] =
    "HTTP/1.1 501 Not Implemented\r\nContent-Type: application/json\r\n"
    "Content-Length: 124\r\nConnection: close\r\n\r\n"
    "{\"error\":{\"code\":\"NOTFOUND\",\"message\":\"this node does not speak HTTP yet\","
    "\"hint\":\"use a Redis client on the same address\"}}\n";

/* How many descriptors are left at least, since the system gives the lowest free one, and how
 * many of them are kept for what is not a client. fd: any open one. */
static size_t descriptors_left(int fd, size_t *kept)
{
    struct rlimit limit;
    size_t all = SIZE_MAX;
    int next = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < SIZE_MAX) {
        all = (size_t)limit.rlim_cur;
    }
    *kept = all / 4 < DESCRIPTORS_KEPT ? all / 4 : DESCRIPTORS_KEPT;
    if (next < 0) {
        return 0;
    }
    (void)close(next);
    return all > (size_t)next ? all - (size_t)next : 0;
}

/* ---- Handing over ----------------------------------------------------------------- */

static void finish(struct listener *l)
{
    if (!l->closing || l->handles > 0 || !l->resp_closed) {
        return;
    }
    void (*cb)(void *) = l->cb;
    void *arg = l->arg;
    if (l->spare_fd >= 0) {
        (void)close(l->spare_fd);
    }
    mem_free(l);
    if (cb != NULL) {
        cb(arg);
    }
}

static void give_peer(struct listener *l, int fd)
{
    struct env_stream *stream;
    struct error e;
    error_clear(&e);
    if (l->o.cluster == NULL || env_uv_adopt(l->o.env, fd, &stream, &e) != 0) {
        (void)close(fd);
        return;
    }
    cluster_accept(l->o.cluster, stream);
}

static void settle(struct silent *x, enum sniff verdict);

/* Silent ones give way to a client. */
static bool room_for_client(struct listener *l, int fd)
{
    size_t kept = 0, left = descriptors_left(fd, &kept);
    if (left + l->silent_count < kept) {
        say_few(l);
        return false;
    }
    if (left < kept) {
        settle(l->oldest, SNIFF_MORE);
    }
    return true;
}

static void give_resp(struct listener *l, int fd)
{
    struct error e;
    error_clear(&e);
    if (resp_connections(l->resp) >= CONNECTIONS_MAX) {
        say_and_close(fd, "-BUSY too many connections; close some and try again\r\n");
    } else if (!room_for_client(l, fd)) {
        say_and_close(fd, few_answer);
    } else if (resp_accept(l->resp, fd, &e) != 0) {
        (void)close(fd);
    }
}

static void hand_over(struct listener *l, int fd, enum sniff verdict)
{
    switch (verdict) {
    case SNIFF_PEER: give_peer(l, fd); break;
    case SNIFF_RESP: give_resp(l, fd); break;
    case SNIFF_HTTP: say_and_close(fd, http_answer); break;
    case SNIFF_TLS:
        say_and_close(fd, "-BADARG this address does not speak TLS; connect without it\r\n");
        break;
    case SNIFF_MORE: (void)close(fd); break;
    }
}

static void on_silent_closed(uv_handle_t *h)
{
    struct silent *x = h->data;
    struct listener *l = x->l;
    if (l->closing) {
        (void)close(x->fd);
    } else {
        hand_over(l, x->fd, x->verdict);
    }
    l->handles--;
    mem_free(x);
    finish(l);
}

/* Its descriptor goes on (or is closed, for SNIFF_MORE) once uv has let go of it. */
static void settle(struct silent *x, enum sniff verdict)
{
    struct listener *l = x->l;
    if (x->closing) {
        return;
    }
    x->closing = true;
    x->verdict = verdict;
    *(x->older != NULL ? &x->older->newer : &l->oldest) = x->newer;
    *(x->newer != NULL ? &x->newer->older : &l->newest) = x->older;
    l->silent_count--;
    uv_close((uv_handle_t *)&x->poll, on_silent_closed);
}

static void on_bytes(uv_poll_t *h, int status, int events)
{
    struct silent *x = h->data;
    char bytes[SNIFF_BYTES_MAX];
    size_t need = 0;
    ssize_t n = status < 0 ? -1 : recv(x->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR) && status == 0) {
        return;
    }
    if (n <= 0) {
        settle(x, SNIFF_MORE);
        return;
    }
    enum sniff verdict = sniff(bytes, (size_t)n, &need);
    if (verdict == SNIFF_MORE) {
        int low = (int)need;
        /* The other side has closed: more will never come, and poll would spin. */
        bool ended = (events & UV_DISCONNECT) != 0;
        if (ended || setsockopt(x->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low) != 0) {
            settle(x, SNIFF_RESP);
        }
        return;
    }
    int low = 1;
    (void)setsockopt(x->fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof low);
    settle(x, verdict);
}

/* ---- Accepting ------------------------------------------------------------------------ */

static bool is_loopback(const struct sockaddr_storage *a)
{
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)a;
        return (ntohl(in->sin_addr.s_addr) >> 24) == 127;
    }
    const struct sockaddr_in6 *in6 = (const void *)a;
    const struct in6_addr *ip = &in6->sin6_addr;
    return a->ss_family == AF_INET6 &&
           (IN6_IS_ADDR_LOOPBACK(ip) || (IN6_IS_ADDR_V4MAPPED(ip) && ip->s6_addr[12] == 127));
}

/* Whether fd may be watched: the oldest silent one makes room for it. */
static bool make_room(struct listener *l, bool few)
{
    if (few) {
        say_few(l);
    }
    if (few || l->silent_count >= SILENT_MAX) {
        if (l->oldest == NULL) {
            return false;
        }
        settle(l->oldest, SNIFF_MORE);
    }
    return true;
}

static void watch_silent(struct listener *l, int fd)
{
    struct silent *x = mem_zalloc(sizeof *x);
    if (x == NULL) {
        (void)close(fd);
        return;
    }
    if (uv_poll_init(l->o.loop, &x->poll, fd) != 0) {
        mem_free(x);
        (void)close(fd);
        return;
    }
    l->handles++;
    x->l = l;
    x->fd = fd;
    x->poll.data = x;
    x->since_ms = uv_now(l->o.loop);
    x->older = l->newest;
    *(x->older != NULL ? &x->older->newer : &l->oldest) = x;
    l->newest = x;
    l->silent_count++;
    if (uv_poll_start(&x->poll, UV_READABLE | UV_DISCONNECT, on_bytes) != 0) {
        settle(x, SNIFF_MORE);
    }
}

static void no_descriptor(struct listener *l, int listening)
{
    say_few(l);
    if (l->spare_fd >= 0) {
        (void)close(l->spare_fd);
        int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            (void)close(fd);
        }
        l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
}

/* False: the next one is for the next turn, in which closed descriptors are free again. */
static bool accept_one(struct listener *l, int fd, const struct sockaddr_storage *from)
{
    int on = 1;
    size_t kept = 0, left = descriptors_left(fd, &kept);
    bool few = left < kept / 2;
    if (l->o.loopback_only && !is_loopback(from)) {
        if (log_allowed(&l->foreign, uv_now(l->o.loop), 10000)) {
            log_warn("a connection from another machine was refused: the profile has neither "
                     "`users` nor `secret`");
        }
        say_and_close(fd, "-NOPERM this node talks to its own machine only; give its profile "
                          "`users` and a `secret`\r\n");
        return true;
    }
    if (!make_room(l, few)) {
        say_and_close(fd, few_answer);
        return true;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    watch_silent(l, fd);
    return !few;
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    struct socket *s = h->data;
    (void)events;
    for (int i = 0; status == 0 && i < ACCEPT_AT_ONCE; i++) {
        struct sockaddr_storage from = { 0 };
        socklen_t len = sizeof from;
        int fd = accept4(s->fd, (struct sockaddr *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            if (!accept_one(s->l, fd, &from)) {
                return;
            }
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            no_descriptor(s->l, s->fd);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static void on_sweep(uv_timer_t *t)
{
    struct listener *l = t->data;
    uint64_t now = uv_now(l->o.loop);
    while (l->oldest != NULL && now - l->oldest->since_ms >= SILENT_MS) {
        settle(l->oldest, SNIFF_MORE);
    }
}

/* ---- Binding ------------------------------------------------------------------------------ */

static int bind_one(struct listener *l, const struct addrinfo *ai)
{
    int on = 1;
    struct socket *s = &l->sockets[l->sockets_count];
    s->fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s->fd < 0) {
        return errno;
    }
    (void)setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6) {
        (void)setsockopt(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    int rc =
        bind(s->fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(s->fd, BACKLOG) != 0 ? errno : 0;
    if (rc == 0) {
        int uv = uv_poll_init(l->o.loop, &s->poll, s->fd);
        rc = uv != 0 ? -uv : 0;
    }
    if (rc != 0) {
        (void)close(s->fd);
        return rc;
    }
    s->l = l;
    s->poll.data = s;
    l->handles++;
    l->sockets_count++;
    int uv = uv_poll_start(&s->poll, UV_READABLE, on_connection);
    return uv != 0 ? -uv : 0;
}

/* An address family that this machine does not have is not an error as long as one works. */
static bool ignorable(int rc)
{
    return rc == EAFNOSUPPORT || rc == EADDRNOTAVAIL || rc == EPROTONOSUPPORT;
}

/* What to bind for a host, `*` being every address of this machine. */
static int look_up(const char *host, const char *port, struct addrinfo **list)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    const char *other = address_fallback(host);
    int rc = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, port, &hints, list);
    return rc != 0 && other != NULL ? getaddrinfo(other, port, &hints, list) : rc;
}

static int bind_all(struct listener *l, struct error *e)
{
    char host[ADDRESS_BYTES_MAX + 1], port[ADDRESS_PORT_BYTES];
    struct addrinfo *list = NULL;
    int last = 0;
    if (address_split(l->o.address, host, sizeof host, port) == 0) {
        return error_set(e, ERR_BADARG, "%s is not an address of the form host:port", l->o.address);
    }
    int rc = look_up(host, port, &list);
    if (rc != 0) {
        return error_set(e, ERR_BADARG, "cannot listen on %s: %s", l->o.address, gai_strerror(rc));
    }
    rc = 0;
    for (struct addrinfo *ai = list; ai != NULL && l->sockets_count < SOCKETS_MAX && rc == 0;
         ai = ai->ai_next) {
        int error = bind_one(l, ai);
        last = error != 0 ? error : last;
        rc = error != 0 && !ignorable(error) ? error : 0;
    }
    freeaddrinfo(list);
    if (rc == EADDRINUSE) {
        (void)error_set(e, ERR_CONFLICT, "port %s of %s is in use", port, host);
        error_hint(e, "is this node running already? `ss -ltnp` shows who listens");
        return e->code;
    }
    if (rc != 0 || l->sockets_count == 0) {
        return error_set(e, ERR_BADARG, "cannot listen on %s: %s", l->o.address,
                         strerror(rc != 0 ? rc : last));
    }
    return 0;
}

/* ---- Life ---------------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *h)
{
    struct listener *l = h->data;
    l->handles--;
    finish(l);
}

static void on_socket_closed(uv_handle_t *h)
{
    struct socket *s = h->data;
    (void)close(s->fd);
    s->l->handles--;
    finish(s->l);
}

static void on_resp_closed(void *arg)
{
    struct listener *l = arg;
    l->resp_closed = true;
    finish(l);
}

void listener_refuse(struct listener *l)
{
    for (size_t i = 0; i < l->sockets_count; i++) {
        uv_close((uv_handle_t *)&l->sockets[i].poll, on_socket_closed);
    }
    l->sockets_count = 0;
    while (l->oldest != NULL) {
        settle(l->oldest, SNIFF_MORE);
    }
}

void listener_drain(struct listener *l, void (*cb)(void *arg), void *arg)
{
    resp_drain(l->resp, cb, arg);
}

void listener_close(struct listener *l, void (*cb)(void *arg), void *arg)
{
    ASSERT(!l->closing);
    l->closing = true;
    l->cb = cb;
    l->arg = arg;
    listener_refuse(l);
    uv_close((uv_handle_t *)&l->sweep, on_closed);
    if (l->resp != NULL) {
        resp_close(l->resp, on_resp_closed, l);
    } else {
        l->resp_closed = true;
    }
}

int listener_start(const struct listener_options *o, struct listener **out, struct error *e)
{
    struct listener *l = mem_zalloc(sizeof *l);
    if (l == NULL) {
        return error_set(e, ERR_NOMEM, "listener: out of memory");
    }
    l->o = *o;
    l->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)uv_timer_init(o->loop, &l->sweep);
    l->sweep.data = l;
    l->handles = 1;
    struct resp_options ro = { .loop = o->loop,
                               .env = o->env,
                               .service = o->service,
                               .scripts = o->scripts,
                               .access = o->access };
    int rc = resp_new(&ro, &l->resp, e);
    if (rc == 0) {
        rc = bind_all(l, e);
    }
    if (rc != 0) {
        listener_close(l, NULL, NULL); /* the loop frees it in its next turns */
        return rc;
    }
    (void)uv_timer_start(&l->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    *out = l;
    return 0;
}

void listener_set_cluster(struct listener *l, struct cluster *c) { l->o.cluster = c; }
