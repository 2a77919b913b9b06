/* Streams of the libuv env: TCP connections with batched writes.
 *
 * Writing. stream_write only queues; all streams written in one loop turn are flushed
 * when its callbacks have run (a check and a prepare handle of the env), with one
 * system call for many buffers: first uv_try_write, and what the socket did not take
 * goes to uv_write. While that one is under way later writes wait behind it. So a
 * turn's frames cost one send, and `drained` never comes from inside stream_write.
 *
 * Connecting. The name is looked up off the loop, then each address is tried in turn
 * with a deadline of its own (an IPv6 address that goes nowhere must not hide a working
 * IPv4 one).
 *
 * Closing. stream_close gives queued bytes one last non-blocking try (a final error
 * frame usually leaves), then closes. A failed read or write closes with its status.
 *
 * Invariants
 *   1 `closed` comes exactly once, last, and only after stream_start
 *   2 `queued` is the number of bytes accepted and not yet taken by the kernel
 *   3 a stream is in the env's dirty list at most once, and never once it is closing */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "net"
#include "base/address.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/env_uv_impl.h"

/* Buffers handed to the kernel at once; its own limit (IOV_MAX) is 1024. */
#define FLUSH_BUFFERS 64

struct chunk {
    struct chunk *next;
    uint8_t *data; /* owned */
    size_t len, sent;
};

struct env_stream {
    uv_tcp_t tcp;
    uv_write_t write;
    struct env_uv *u;
    struct env_stream_events events;
    void *arg;
    struct chunk *head, *tail;
    size_t queued, write_bytes; /* of these, in the uv_write under way */
    struct env_stream *dirty_next;
    bool is_dirty, started, writing, closing;
    int status; /* what `closed` will say */
};

/* ---- The queue ---------------------------------------------------------- */

/* `sent` bytes of the queue's front are gone. */
static void consume(struct env_stream *s, size_t sent)
{
    ASSERT(sent <= s->queued);
    s->queued -= sent;
    while (sent > 0) {
        struct chunk *c = s->head;
        ASSERT(c != NULL); /* invariant 2 */
        size_t part = c->len - c->sent;
        if (sent < part) {
            c->sent += sent;
            return;
        }
        sent -= part;
        s->head = c->next;
        if (s->head == NULL) {
            s->tail = NULL;
        }
        mem_free(c->data);
        mem_free(c);
    }
}

static unsigned gather(const struct env_stream *s, uv_buf_t *out, size_t *bytes)
{
    unsigned n = 0;
    *bytes = 0;
    for (struct chunk *c = s->head; c != NULL && n < FLUSH_BUFFERS; c = c->next) {
        size_t len = c->len - c->sent;
        out[n++] = uv_buf_init((char *)c->data + c->sent, (unsigned)len);
        *bytes += len;
    }
    return n;
}

static void remove_dirty(struct env_stream *s)
{
    if (!s->is_dirty) {
        return;
    }
    struct env_stream **at = &s->u->dirty;
    while (*at != s) {
        at = &(*at)->dirty_next;
    }
    *at = s->dirty_next;
    s->is_dirty = false;
}

static void stream_closed(uv_handle_t *h)
{
    struct env_stream *s = h->data;
    consume(s, s->queued);
    if (s->started) {
        s->events.closed(s->arg, s->status);
    }
    mem_free(s);
}

static void stream_end(struct env_stream *s, int status)
{
    if (s->closing) {
        return;
    }
    s->closing = true;
    s->status = status;
    remove_dirty(s);
    uv_close((uv_handle_t *)&s->tcp, stream_closed);
}

static void flush(struct env_stream *s);

static void write_done(uv_write_t *req, int rc)
{
    struct env_stream *s = req->data;
    s->writing = false;
    if (s->closing) {
        return;
    }
    if (rc != 0) {
        log_debug("write failed: %s", uv_strerror(rc));
        stream_end(s, ERR_IO);
        return;
    }
    consume(s, s->write_bytes);
    flush(s);
}

/* Tries to empty the queue. May call drained, so the stream may be closing after it. */
static void flush(struct env_stream *s)
{
    uv_buf_t bufs[FLUSH_BUFFERS];
    while (s->head != NULL) {
        size_t bytes;
        unsigned n = gather(s, bufs, &bytes);
        int rc = uv_try_write((uv_stream_t *)&s->tcp, bufs, n);
        if (rc < 0 && rc != UV_EAGAIN) {
            log_debug("write failed: %s", uv_strerror(rc));
            stream_end(s, ERR_IO);
            return;
        }
        if (rc > 0) {
            consume(s, (size_t)rc);
        }
        if (rc < 0 || (size_t)rc < bytes) {
            break;
        }
    }
    if (s->head == NULL) {
        if (s->events.drained != NULL) {
            s->events.drained(s->arg);
        }
        return;
    }
    size_t bytes;
    unsigned n = gather(s, bufs, &bytes);
    s->write.data = s;
    s->write_bytes = bytes;
    s->writing = true;
    int rc = uv_write(&s->write, (uv_stream_t *)&s->tcp, bufs, n, write_done);
    if (rc != 0) {
        s->writing = false;
        stream_end(s, ERR_IO);
    }
}

void env_uv_flush(struct env_uv *u)
{
    /* A callback in here may write to or close any stream: take them one by one. */
    while (u->dirty != NULL) {
        struct env_stream *s = u->dirty;
        remove_dirty(s);
        flush(s);
    }
}

/* ---- The stream functions ----------------------------------------------- */

struct env_stream *env_uv_stream_new(struct env_uv *u)
{
    struct env_stream *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    int rc = uv_tcp_init(u->loop, &s->tcp);
    ASSERT(rc == 0);
    s->tcp.data = s;
    s->u = u;
    return s;
}

static void read_alloc(uv_handle_t *h, size_t hint, uv_buf_t *out)
{
    (void)hint;
    struct env_stream *s = h->data;
    *out = uv_buf_init(s->u->read_buffer, (unsigned)READ_BYTES);
}

static void read_done(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct env_stream *s = h->data;
    if (n > 0) {
        s->events.data(s->arg, (const uint8_t *)b->base, (size_t)n);
    } else if (n < 0) {
        if (n != UV_EOF) {
            log_debug("read failed: %s", uv_strerror((int)n));
        }
        stream_end(s, n == UV_EOF ? 0 : ERR_IO);
    }
}

void env_uv_stream_start(struct env_stream *s, const struct env_stream_events *events, void *arg)
{
    ASSERT(!s->started && !s->closing);
    s->events = *events;
    s->arg = arg;
    s->started = true;
    if (uv_read_start((uv_stream_t *)&s->tcp, read_alloc, read_done) != 0) {
        stream_end(s, ERR_IO);
    }
}

void env_uv_stream_write(struct env_stream *s, struct buf *b)
{
    struct chunk *c = b->len > 0 && !s->closing ? mem_must_alloc(sizeof *c) : NULL;
    if (c == NULL) {
        buf_free(b);
        return;
    }
    *c = (struct chunk){ .data = b->data, .len = b->len };
    buf_init(b);
    if (s->tail != NULL) {
        s->tail->next = c;
    } else {
        s->head = c;
    }
    s->tail = c;
    s->queued += c->len;
    if (!s->writing && !s->is_dirty) {
        s->is_dirty = true;
        s->dirty_next = s->u->dirty;
        s->u->dirty = s;
    }
}

size_t env_uv_stream_queued(struct env_stream *s) { return s->queued; }

void env_uv_stream_close(struct env_stream *s)
{
    if (s->closing) {
        return;
    }
    uv_buf_t bufs[FLUSH_BUFFERS];
    size_t bytes;
    unsigned n = s->writing ? 0 : gather(s, bufs, &bytes);
    if (n > 0) {
        (void)uv_try_write((uv_stream_t *)&s->tcp, bufs, n);
    }
    stream_end(s, 0);
}

int env_uv_adopt(struct env *env, int fd, struct env_stream **out, struct error *e)
{
    struct env_stream *s = env_uv_stream_new((struct env_uv *)env);
    if (s == NULL) {
        return error_set(e, ERR_NOMEM, "no memory for a connection");
    }
    int rc = uv_tcp_open(&s->tcp, fd);
    if (rc != 0) {
        stream_end(s, 0);
        return error_set(e, ERR_IO, "cannot take over a connection: %s", uv_strerror(rc));
    }
    (void)uv_tcp_nodelay(&s->tcp, 1); /* refused by sockets that are not TCP */
    *out = s;
    return 0;
}

/* ---- Connecting --------------------------------------------------------- */

struct connecting {
    struct env_uv *u;
    env_connect_cb cb; /* NULL once it was called */
    void *arg;
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    uv_timer_t timer;           /* deadline of the step under way, or the reporter */
    struct addrinfo *all, *now; /* addresses; the one to try next */
    struct env_stream *stream;  /* of the attempt under way */
    int status;                 /* of the last failure */
    bool looking, attempting;
    char address[256], host[256], port[ADDRESS_PORT_BYTES];
    bool fallen_back; /* to address_fallback() */
};

/* Frees c once nothing of libuv points to it any more. */
static void connect_release(struct connecting *c);

static void connect_timer_closed(uv_handle_t *h)
{
    struct connecting *c = h->data;
    c->timer.data = NULL;
    connect_release(c);
}

static void connect_release(struct connecting *c)
{
    if (c->looking || c->attempting || c->timer.data != NULL) {
        return;
    }
    if (c->all != NULL) {
        uv_freeaddrinfo(c->all);
    }
    mem_free(c);
}

static void connect_report(struct connecting *c, int status, struct env_stream *s)
{
    env_connect_cb cb = c->cb;
    if (cb == NULL) {
        return;
    }
    c->cb = NULL;
    uv_close((uv_handle_t *)&c->timer, connect_timer_closed);
    cb(c->arg, status, s);
}

static void connect_next(struct connecting *c);

static void connect_done(uv_connect_t *req, int rc)
{
    struct connecting *c = req->data;
    struct env_stream *s = c->stream;
    c->attempting = false;
    c->stream = NULL;
    if (rc == 0 && c->cb != NULL && !s->closing) {
        (void)uv_tcp_nodelay(&s->tcp, 1);
        connect_report(c, 0, s);
        return;
    }
    stream_end(s, 0); /* never started: frees itself */
    if (c->cb == NULL) {
        connect_release(c);
        return;
    }
    log_debug("connect to %s: %s", c->address, uv_strerror(rc));
    c->status = ERR_IO;
    connect_next(c);
}

static void connect_expired(uv_timer_t *t)
{
    struct connecting *c = t->data;
    if (c->attempting) {
        stream_end(c->stream, 0); /* connect_done follows with UV_ECANCELED */
        return;
    }
    connect_report(c, c->status != 0 ? c->status : ERR_IO, NULL);
}

static void connect_deadline(struct connecting *c, uint64_t after_ms)
{
    uv_update_time(c->u->loop);
    int rc = uv_timer_start(&c->timer, connect_expired, after_ms, 0);
    ASSERT(rc == 0);
}

/* Tries the next address, or reports the last failure when there is none. */
static void connect_next(struct connecting *c)
{
    while (c->now != NULL) {
        struct addrinfo *a = c->now;
        c->now = a->ai_next;
        struct env_stream *s = env_uv_stream_new(c->u);
        if (s == NULL) {
            c->status = ERR_NOMEM;
            break;
        }
        c->connect.data = c;
        int rc = uv_tcp_connect(&c->connect, &s->tcp, a->ai_addr, connect_done);
        if (rc == 0) {
            c->stream = s;
            c->attempting = true;
            connect_deadline(c, CONNECT_TIMEOUT_MS);
            return;
        }
        log_debug("connect to %s: %s", c->address, uv_strerror(rc));
        c->status = ERR_IO;
        stream_end(s, 0);
    }
    connect_report(c, c->status, NULL);
}

static void lookup_done(uv_getaddrinfo_t *req, int rc, struct addrinfo *res);

static int look_up(struct connecting *c, const char *host)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC,
                              .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_NUMERICSERV };
    c->lookup.data = c;
    int rc = uv_getaddrinfo(c->u->loop, &c->lookup, lookup_done, host, c->port, &hints);
    c->looking = rc == 0;
    return rc;
}

static void lookup_done(uv_getaddrinfo_t *req, int rc, struct addrinfo *res)
{
    struct connecting *c = req->data;
    c->looking = false;
    c->all = res;
    if (c->cb == NULL) {
        connect_release(c);
        return;
    }
    const char *other = c->fallen_back ? NULL : address_fallback(c->host);
    if (rc != 0 && other != NULL) {
        c->fallen_back = true;
        rc = look_up(c, other);
        if (rc == 0) {
            return;
        }
    }
    if (rc != 0) {
        log_debug("look-up of %s: %s", c->address, uv_strerror(rc));
        connect_report(c, ERR_NOTFOUND, NULL);
        return;
    }
    c->now = res;
    c->status = ERR_NOTFOUND;
    connect_next(c);
}

void env_uv_connect(struct env *env, const char *address, env_connect_cb cb, void *arg)
{
    struct env_uv *u = (struct env_uv *)env;
    struct connecting *c = mem_must_alloc(sizeof *c);
    *c = (struct connecting){ .u = u, .cb = cb, .arg = arg };
    int rc = uv_timer_init(u->loop, &c->timer);
    ASSERT(rc == 0);
    c->timer.data = c;
    (void)snprintf(c->address, sizeof c->address, "%s", address);

    if (address_split(address, c->host, sizeof c->host, c->port) == 0) {
        c->status = ERR_BADARG;
        connect_deadline(c, 0); /* reports from the loop, not from in here */
        return;
    }
    rc = look_up(c, c->host);
    if (rc != 0) {
        log_debug("look-up of %s: %s", c->address, uv_strerror(rc));
        c->status = ERR_NOTFOUND;
        connect_deadline(c, 0);
        return;
    }
    connect_deadline(c, LOOKUP_TIMEOUT_MS);
}
