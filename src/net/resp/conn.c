/* A client connection: reading, writing, flow, death.
 *
 * Bytes are read into one buffer of the server, fed to the reader and parsed at once.
 * Answers gather in conn->out during a loop turn and leave in one write at its end (env's
 * defer); what the socket does not take goes on with uv_write. Reading stops while too many
 * requests or bytes wait (N3) and goes on when they have left.
 *
 * How it fails: protocol errors end the connection after one error line. A client that does
 * not take its answers is cut off (OUT_BYTES_MAX, STALLED_MS), one whose request never ends
 * too (PARTIAL_MS). When the connection dies, its requests are canceled, its subscriptions
 * and its session freed.
 *
 *   states: open -> ending (parses nothing, closes when written) -> closing -> freed
 *           open -> eof (reads nothing, closes when everything is answered) */
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/resp/conn.h"

#define LOG_MODULE "net"
#include "base/log.h"

#define SWEEP_MS 1000

static void resume_reading(struct conn *c);

static void drop_slots(struct conn *c)
{
    while (c->head != NULL) {
        struct slot *x = c->head;
        c->head = x->next;
        if (x->kind == SLOT_REQUEST) {
            service_cancel(c->server->o.service, &x->request);
        }
        slot_free(x);
    }
    c->tail = NULL;
    c->slots = 0;
    if (c->building != NULL) {
        slot_free(c->building);
        c->building = NULL;
    }
}

static void on_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    struct resp *r = c->server;
    r->o.env->ops->undefer(r->o.env, &c->flush);
    drop_slots(c);
    *(c->prev != NULL ? &c->prev->next : &r->conns) = c->next;
    if (c->next != NULL) {
        c->next->prev = c->prev;
    }
    r->count--;
    redisReaderFree(c->reader);
    buf_free(&c->out);
    buf_free(&c->sending);
    buf_free(&c->name);
    mem_free(c);
    drain_check(r);
    resp_finish(r);
}

/* After each change of what waits to be written. */
static void count_untaken(struct conn *c)
{
    size_t now = c->writing && !c->closing ? c->sending.len + c->out.len : 0;
    c->server->untaken += now - c->waiting;
    c->waiting = now;
}

void resp_conn_kill(struct conn *c)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    count_untaken(c);
    push_free(c);
    session_free(c);
    backup_free(c);
    auth_forget(c);
    c->server->o.env->ops->undefer(c->server->o.env, &c->flush);
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    /* The slots go in a turn of their own: we may be inside the answer of one. */
    c->server->o.env->ops->defer(c->server->o.env, &c->flush);
}

void resp_conn_end(struct conn *c)
{
    if (!c->ending && !c->closing) {
        c->ending = true;
        resp_conn_touch(c);
    }
}

void resp_conn_touch(struct conn *c)
{
    if (!c->closing) {
        c->server->o.env->ops->defer(c->server->o.env, &c->flush);
    }
}

/* ---- Writing -------------------------------------------------------------------- */

static void on_written(uv_write_t *w, int status);

static bool idle(const struct conn *c) { return !c->writing && c->out.len == 0; }

static void write_rest(struct conn *c, size_t from)
{
    struct buf old = c->sending;
    c->sending = c->out;
    c->sending_at = from;
    buf_clear(&old);
    c->out = old;
    c->pushed_sending = c->pushed_out;
    c->pushed_out = 0;
    uv_buf_t b = uv_buf_init((char *)c->sending.data + from, (unsigned)(c->sending.len - from));
    c->writing = true;
    c->untaken = b.len;
    c->stalled_ms = uv_now(c->server->o.loop) + 1;
    if (uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, on_written) != 0) {
        c->writing = false;
        resp_conn_kill(c);
    }
}

static void cut_off(struct conn *c)
{
    log_info("a client does not read its answers: cut off");
    resp_conn_kill(c);
}

/* Many clients that leave a little each would take as much memory as one that leaves all. */
static void cut_off_largest(struct conn *most)
{
    for (struct conn *c = most->server->conns; c != NULL; c = c->next) {
        most = c->waiting > most->waiting ? c : most;
    }
    cut_off(most);
}

static void write_out(struct conn *c)
{
    size_t most = OUT_BYTES_MAX;
    if (c->out.failed || (c->writing && c->out.len > most)) {
        cut_off(c);
        return;
    }
    if (c->writing || c->out.len == 0) {
        return;
    }
    /* uv counts in int; one answer may be larger. */
    unsigned len = c->out.len < (1u << 30) ? (unsigned)c->out.len : 1u << 30;
    uv_buf_t b = uv_buf_init((char *)c->out.data, len);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        resp_conn_kill(c);
    } else if (n >= 0 && (size_t)n == c->out.len) {
        if (c->out.cap > OUT_BYTES_SOFT) {
            buf_free(&c->out);
        }
        buf_clear(&c->out);
        c->pushed_out = 0;
    } else {
        write_rest(c, n > 0 ? (size_t)n : 0);
    }
}

static void on_written(uv_write_t *w, int status)
{
    struct conn *c = w->data;
    c->writing = false;
    c->stalled_ms = 0;
    c->sending_at = 0;
    c->pushed_sending = 0;
    if (c->sending.cap > OUT_BYTES_SOFT) {
        buf_free(&c->sending);
    }
    buf_clear(&c->sending);
    count_untaken(c);
    if (status != 0) {
        resp_conn_kill(c);
    } else {
        resp_conn_touch(c);
    }
}

/* End of a turn in which something happened to the connection. */
static void on_flush(void *arg)
{
    struct conn *c = arg;
    if (c->closing) {
        drop_slots(c);
        return;
    }
    slots_written(c);
    write_out(c);
    count_untaken(c);
    if (c->server->untaken > c->server->o.untaken_max) {
        cut_off_largest(c);
    }
    if (c->closing) {
        return;
    }
    if ((c->ending || c->eof) && c->slots == 0 && idle(c)) {
        if (!drain_linger(c)) {
            resp_conn_kill(c);
        }
        return;
    }
    session_pump(c);
    backup_pump(c);
    if (!c->closing && !c->eof && !c->reading && resp_conn_has_room(c)) {
        resume_reading(c);
    }
}

/* ---- Reading ---------------------------------------------------------------------- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct conn *c = h->data;
    (void)hint;
    *b = uv_buf_init(c->server->in, sizeof c->server->in);
}

static void stop_reading(struct conn *c)
{
    if (c->reading) {
        c->reading = false;
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
    }
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    if (n == UV_EOF) {
        /* A half-closed pipe still wants its answers; a console or a subscriber is gone. */
        c->eof = true;
        stop_reading(c);
        if (c->subs != NULL || c->session != NULL || session_streams(c)) {
            resp_conn_kill(c);
        } else {
            resp_conn_touch(c);
        }
        return;
    }
    if (n < 0) {
        resp_conn_kill(c);
        return;
    }
    parse_feed(c, b->base, (size_t)n);
    if (!c->closing && !resp_conn_has_room(c)) {
        stop_reading(c);
        resp_conn_touch(c);
    }
}

/* First what was read before but not parsed, then more. */
static void resume_reading(struct conn *c)
{
    resp_conn_parse(c);
    if (!c->closing && resp_conn_has_room(c)) {
        c->reading = true;
        if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0) {
            resp_conn_kill(c);
        }
    }
}

/* ---- Server ------------------------------------------------------------------------- */

int resp_accept(struct resp *r, int fd, struct error *e)
{
    struct conn *c = mem_zalloc(sizeof *c);
    if (c == NULL || parse_new(c) != 0) {
        mem_free(c);
        return error_set(e, ERR_NOMEM, "connection: out of memory");
    }
    c->server = r;
    (void)uv_tcp_init(r->o.loop, &c->tcp);
    c->tcp.data = c;
    c->write.data = c;
    c->flush.cb = on_flush;
    c->flush.arg = c;
    c->id = ++r->next_id;
    c->asked_ms = uv_now(r->o.loop);
    auth_reset(c);
    c->next = r->conns;
    if (r->conns != NULL) {
        r->conns->prev = c;
    }
    r->conns = c;
    r->count++;
    int rc = uv_tcp_open(&c->tcp, fd);
    if (rc != 0) {
        resp_conn_kill(c);
        return error_set(e, ERR_IO, "connection: %s", uv_strerror(rc));
    }
    resume_reading(c);
    return 0;
}

size_t resp_connections(const struct resp *r) { return r->count; }

/* A long answer to a slow client is written piece by piece: each piece that is taken counts. */
static bool stalled(struct conn *c, uint64_t now)
{
    size_t untaken = uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
    if (c->stalled_ms != 0 && untaken < c->untaken) {
        c->untaken = untaken;
        c->stalled_ms = now + 1;
    }
    return c->stalled_ms != 0 && now >= c->stalled_ms + STALLED_MS;
}

/* Nobody has logged in, and nothing was asked for a while, nor is anything being told. */
static bool unused(const struct conn *c, uint64_t now)
{
    bool open = c->authenticated || access_count(c->server->o.access) == 0 || c->subs != NULL ||
                c->slots > 0;
    return !open && now >= c->asked_ms + UNAUTHENTICATED_MS;
}

static bool overdue(struct conn *c, uint64_t now)
{
    return (c->partial_ms != 0 && now >= c->partial_ms + PARTIAL_MS) || stalled(c, now) ||
           unused(c, now);
}

static void on_sweep(uv_timer_t *t)
{
    struct resp *r = t->data;
    uint64_t now = uv_now(r->o.loop);
    for (struct conn *c = r->conns; c != NULL; c = c->next) {
        if (!c->closing && overdue(c, now)) {
            resp_conn_kill(c);
        }
    }
}

int resp_new(const struct resp_options *o, struct resp **out, struct error *e)
{
    struct resp *r = mem_zalloc(sizeof *r);
    if (r == NULL) {
        return error_set(e, ERR_NOMEM, "resp: out of memory");
    }
    r->o = *o;
    r->o.untaken_max = o->untaken_max != 0 ? o->untaken_max : OUT_BYTES_ALL_MAX;
    (void)uv_timer_init(o->loop, &r->sweep);
    r->sweep.data = r;
    (void)uv_timer_start(&r->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
    *out = r;
    return 0;
}

void resp_finish(struct resp *r)
{
    if (!r->closing || !r->sweep_closed || r->count > 0 || r->auth_first != NULL) {
        return;
    }
    while (r->spare != NULL) {
        struct slot *x = r->spare;
        r->spare = x->next;
        buf_free(&x->words);
        buf_free(&x->answer);
        mem_free(x->argv);
        mem_free(x);
    }
    void (*cb)(void *) = r->cb;
    void *arg = r->arg;
    mem_free(r);
    if (cb != NULL) {
        cb(arg);
    }
}

static void on_sweep_closed(uv_handle_t *h)
{
    struct resp *r = h->data;
    r->sweep_closed = true;
    resp_finish(r);
}

void resp_close(struct resp *r, void (*cb)(void *arg), void *arg)
{
    ASSERT(!r->closing);
    r->closing = true;
    r->drained = NULL;
    r->cb = cb;
    r->arg = arg;
    for (struct conn *c = r->conns; c != NULL; c = c->next) {
        resp_conn_kill(c);
    }
    uv_close((uv_handle_t *)&r->sweep, on_sweep_closed);
}
