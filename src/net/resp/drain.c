/* The end of a server that stops in an orderly way.
 *
 *   every connection: nothing more is read -> what was read is answered -> FIN -> what the
 *   client had already sent on is read away until it closes -> closed
 *
 * Closing at once would reset connections whose clients go on sending, and a reset throws
 * away answers that the client has not read yet. A request that was not read any more was
 * not begun: its client sees the end of the stream and asks another node.
 *
 * How it fails: a client that neither reads nor closes, a statement that does not end: the
 * caller's deadline cuts it off (resp_close).
 *
 * Invariant: resp_drain's callback comes once, when no connection is left. */
#include "net/resp/conn.h"

#include <sys/socket.h>

static void on_trash(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    (void)b;
    if (n < 0) {
        resp_conn_kill(s->data);
    }
}

static void on_trash_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct conn *c = h->data;
    (void)hint;
    *b = uv_buf_init(c->server->in, sizeof c->server->in);
}

bool drain_linger(struct conn *c)
{
    uv_os_fd_t fd;
    if (!c->server->draining || c->eof || c->lingering) {
        return c->lingering && !c->eof;
    }
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) != 0 || shutdown(fd, SHUT_WR) != 0 ||
        uv_read_start((uv_stream_t *)&c->tcp, on_trash_alloc, on_trash) != 0) {
        return false;
    }
    c->lingering = true;
    return true;
}

static void begin(struct conn *c)
{
    if (c->closing) {
        return;
    }
    push_free(c);
    if (c->reading) {
        c->reading = false;
        (void)uv_read_stop((uv_stream_t *)&c->tcp);
    }
    if (c->task != NULL) {
        scripts_kill(c->task, "this node is stopping");
    }
    resp_conn_end(c);
}

void drain_check(struct resp *r)
{
    if (r->draining && r->count == 0 && r->drained != NULL) {
        void (*cb)(void *) = r->drained;
        r->drained = NULL;
        cb(r->drain_arg);
    }
}

void resp_drain(struct resp *r, void (*cb)(void *arg), void *arg)
{
    r->draining = true;
    r->drained = cb;
    r->drain_arg = arg;
    for (struct conn *c = r->conns; c != NULL; c = c->next) {
        begin(c);
    }
    drain_check(r);
}
