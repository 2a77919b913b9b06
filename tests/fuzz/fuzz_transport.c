/* Any bytes from the network into a transport, as an accepted connection or as the answer
 * to one that it dialled: no crash, no leak, and nobody is believed. The first byte of the
 * input chooses the side, the second how the rest is cut into pieces.
 *
 * An input of mode 2 is sent behind an honest handshake, made by a second transport and
 * relayed: so the parser of frames is reached too. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/transport.h"
#include "sim/env_sim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz {
    struct env *env, *net;
    struct transport *t, *honest;
    const uint8_t *data;
    size_t size, piece;
    int mode, believed, closed;
    struct env_stream *near, *far; /* relayed: dialer's and acceptor's side */
    struct buf early;
    size_t relayed;
};

static uint64_t cluster_id(void *arg) { return arg == NULL ? 0 : 5; }

static int admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    struct fuzz *f = arg;
    (void)peer;
    (void)e;
    f->believed++;
    return 0;
}

static void frame(void *arg, const struct transport_peer *peer, enum transport_channel ch,
                  const uint8_t *data, size_t len)
{
    (void)arg, (void)peer, (void)ch, (void)data, (void)len;
    abort(); /* a frame without a valid MAC was delivered */
}

static void link_changed(void *arg, const char *address, bool up, const struct transport_peer *peer,
                         const struct error *why)
{
    (void)arg, (void)address, (void)up, (void)peer, (void)why;
}

static void closed(void *arg) { ((struct fuzz *)arg)->closed++; }

static void say_all(struct fuzz *f, struct env_stream *s)
{
    /* Short inputs down to single bytes, long ones in eight pieces: each is an event. */
    size_t piece = f->size > 64 && f->piece < f->size / 8 ? f->size / 8 : f->piece;
    for (size_t at = 0; at < f->size;) {
        size_t n = piece < f->size - at ? piece : f->size - at;
        struct buf b = BUF_INIT;
        buf_put(&b, f->data + at, n);
        f->net->ops->stream_write(s, &b);
        at += n;
    }
}

static void ignore_data(void *arg, const uint8_t *bytes, size_t len)
{
    (void)arg, (void)bytes, (void)len;
}
static void ignore_closed(void *arg, int status) { (void)arg, (void)status; }
static const struct env_stream_events ignore = { ignore_data, NULL, ignore_closed };

/* ---- Mode 2: a relay that lets the handshake through, then talks itself ------------ */

static void near_data(void *arg, const uint8_t *bytes, size_t len)
{
    struct fuzz *f = arg;
    struct buf b = BUF_INIT;
    if (f->far == NULL) {
        buf_put(&f->early, bytes, len);
    } else if (f->relayed > 0) {
        buf_put(&b, bytes, len);
        f->net->ops->stream_write(f->far, &b);
    }
}
static void far_data(void *arg, const uint8_t *bytes, size_t len)
{
    struct fuzz *f = arg;
    struct buf b = BUF_INIT;
    if (f->near != NULL) {
        buf_put(&b, bytes, len);
        f->net->ops->stream_write(f->near, &b);
    }
}
static void near_closed(void *arg, int status) { (void)status, ((struct fuzz *)arg)->near = NULL; }
static void far_closed(void *arg, int status) { (void)status, ((struct fuzz *)arg)->far = NULL; }
static const struct env_stream_events near_events = { near_data, NULL, near_closed };
static const struct env_stream_events far_events = { far_data, NULL, far_closed };

static void far_connected(void *arg, int status, struct env_stream *s)
{
    struct fuzz *f = arg;
    if (status == 0) {
        f->far = s;
        f->relayed = 1;
        f->net->ops->stream_start(s, &far_events, f);
        f->net->ops->stream_write(s, &f->early);
    }
}

/* ---- The three sides ---------------------------------------------------------------- */

static void net_accept(void *arg, struct env_stream *s)
{
    struct fuzz *f = arg;
    if (f->mode == 2 && f->near == NULL && f->far == NULL) {
        f->near = s;
        f->net->ops->stream_start(s, &near_events, f);
        f->net->ops->connect(f->net, "t:1", far_connected, f);
    } else {
        f->net->ops->stream_start(s, &ignore, f);
        say_all(f, s);
    }
}

static void net_connected(void *arg, int status, struct env_stream *s)
{
    struct fuzz *f = arg;
    if (status == 0) {
        f->net->ops->stream_start(s, &ignore, f);
        say_all(f, s);
    }
}

static void node_accept(void *arg, struct env_stream *s) { transport_accept(arg, s); }

static struct transport *open_transport(struct env *env, struct fuzz *f, uint64_t id,
                                        const char *address)
{
    struct transport_options o = { .secret = span_of("secret"),
                                   .node_id = id,
                                   .address = address,
                                   .cluster_id = cluster_id,
                                   .admit = admit,
                                   .frame = frame,
                                   .link = link_changed,
                                   .arg = f };
    struct transport *t = NULL;
    int rv = transport_new(env, &o, &t, NULL);
    ASSERT(rv == 0);
    sim_listen(env, node_accept, t);
    return t;
}

static void close_transport(struct sim *sim, struct fuzz *f, struct env *env, struct transport *t)
{
    sim_listen(env, NULL, NULL);
    f->closed = 0;
    transport_close(t, closed, f);
    sim_run(sim, 5000);
    ASSERT(f->closed == 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    log_set_level(LOG_NONE);
    int64_t live = mem_test_live();
    struct fuzz f = {
        .mode = data[0] % 3, .piece = 1 + data[1], .data = data + 2, .size = size - 2
    };
    struct sim *sim = sim_new(1);
    f.env = sim_env(sim, "t:1");
    f.net = sim_env(sim, "net:1");
    /* Behind the relay it must call itself what the honest node dials. */
    f.t = open_transport(f.env, &f, 1, f.mode == 2 ? "net:1" : "t:1");
    sim_listen(f.net, net_accept, &f);
    struct env *honest = NULL;
    if (f.mode == 0) {
        f.net->ops->connect(f.net, "t:1", net_connected, &f);
    } else if (f.mode == 1) {
        transport_connect(f.t, "net:1");
    } else {
        honest = sim_env(sim, "honest:1");
        f.honest = open_transport(honest, &f, 2, "honest:1");
        transport_connect(f.honest, "net:1");
    }
    sim_run(sim, 50);
    if (f.mode == 2 && f.far != NULL) {
        f.relayed = 0;
        say_all(&f, f.far);
    }
    sim_run(sim, 200);
    ASSERT(f.believed == (f.mode == 2 ? 2 : 0)); /* both ends of the honest link */
    close_transport(sim, &f, f.env, f.t);
    if (honest != NULL) {
        close_transport(sim, &f, honest, f.honest);
    }
    buf_free(&f.early);
    sim_free(sim);
    ASSERT(mem_test_live() == live);
    return 0;
}
