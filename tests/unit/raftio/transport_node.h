/* A transport on a simulated node, with everything it told its owner: shared by the
 * transport's tests (functions are static inline so that each test stays one program). */
#ifndef USHER_TESTS_TRANSPORT_NODE_H
#define USHER_TESTS_TRANSPORT_NODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "raftio/transport.h"
#include "sim/env_sim.h"

/* One received frame of the tests' own making: a number, then a pattern from it. */
struct tnode {
    struct env *env;
    struct transport *t;
    const char *address;
    uint64_t node_id, cluster_id;
    const char *secret;
    const char *refuse; /* what admit says to everybody; NULL admits */
    const char *refuse_cluster0;
    int admits, frames, closed, ups, downs;
    uint64_t bytes;
    uint32_t last_number;      /* of the newest frame */
    uint64_t last_conn_number; /* frames must rise within all connections */
    int channel_frames[4];
    bool bad_frame;
    struct transport_peer last_peer;
    struct error why; /* of the last link-down */
    uint64_t down_id; /* who was at the other end then; 0: nobody proved to be anybody */
    char text[128];   /* of the last short frame */
};

static inline uint64_t tnode_cluster(void *arg) { return ((struct tnode *)arg)->cluster_id; }

static inline int tnode_admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    struct tnode *n = arg;
    n->admits++;
    n->last_peer = *peer;
    if (n->refuse != NULL) {
        (void)error_set(e, ERR_DENIED, "%s", n->refuse);
        error_hint(e, "run replace-node");
        return ERR_DENIED;
    }
    return 0;
}

static inline void frame_fill(struct buf *b, uint32_t number, size_t len)
{
    buf_put_u32(b, number);
    if (buf_reserve(b, len)) {
        for (size_t i = 0; i < len; i++) {
            b->data[b->len++] = (uint8_t)(number * 31 + i * 7);
        }
    }
}

static inline void tnode_frame(void *arg, const struct transport_peer *peer,
                               enum transport_channel ch, const uint8_t *data, size_t len)
{
    struct tnode *n = arg;
    n->frames++;
    n->bytes += len;
    n->channel_frames[ch]++;
    n->last_peer = *peer;
    n->bad_frame |= len < 4;
    if (len >= 4) {
        uint32_t number =
            data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        n->bad_frame |= number <= n->last_number;
        n->last_number = number;
        for (size_t i = 4; i < len; i++) {
            n->bad_frame |= data[i] != (uint8_t)(number * 31 + (i - 4) * 7);
        }
    }
}

static inline void tnode_link(void *arg, const char *address, bool up,
                              const struct transport_peer *peer, const struct error *why)
{
    struct tnode *n = arg;
    (void)address;
    if (up) {
        n->ups++;
        n->last_peer = *peer;
    } else {
        n->downs++;
        n->why = *why;
        n->down_id = peer != NULL ? peer->node_id : 0;
    }
}

static inline void tnode_accept(void *arg, struct env_stream *s)
{
    transport_accept(((struct tnode *)arg)->t, s);
}

static inline void tnode_closed(void *arg) { ((struct tnode *)arg)->closed++; }

/* `host`: where it listens in the simulated network; mostly its address. */
static inline void tnode_open(struct tnode *n, struct sim *sim, const char *host)
{
    struct transport_options o = { .secret = span_of(n->secret != NULL ? n->secret : ""),
                                   .node_id = n->node_id,
                                   .address = n->address,
                                   .version = 7,
                                   .feature_level = 1,
                                   .cluster_id = tnode_cluster,
                                   .admit = tnode_admit,
                                   .frame = tnode_frame,
                                   .link = tnode_link,
                                   .arg = n };
    struct error e = { 0 };
    n->env = sim_env(sim, host);
    n->t = NULL;
    n->closed = 0;
    if (transport_new(n->env, &o, &n->t, &e) != 0) {
        fail_msg("%s", e.message);
    }
    sim_listen(n->env, tnode_accept, n);
}

static inline bool tnode_is_closed(void *arg) { return ((struct tnode *)arg)->closed > 0; }

static inline void tnode_close(struct tnode *n)
{
    struct sim *sim = sim_of(n->env);
    sim_listen(n->env, NULL, NULL);
    transport_close(n->t, tnode_closed, n);
    assert_int_equal(n->closed, 0);
    assert_true(sim_run_until(sim, 60000, tnode_is_closed, n));
    n->t = NULL;
}

/* The machine loses its process or its power; the ghost's transport is wound down. */
static inline void tnode_crash(struct tnode *n, enum sim_crash how)
{
    sim_crash(n->env, how);
    tnode_close(n);
}

static inline bool tnode_send(struct tnode *n, const char *to, enum transport_channel ch,
                              uint32_t number, size_t len)
{
    struct buf b = BUF_INIT;
    frame_fill(&b, number, len);
    return transport_send(n->t, to, ch, &b);
}

/* ---- What was logged -------------------------------------------------------------- */

struct lines {
    char text[16384];
    int count;
};
static struct lines lines;

static inline void lines_sink(void *arg, enum log_level level, const char *module, const char *text)
{
    struct lines *l = arg;
    if (level >= LOG_WARN && strcmp(module, "transport") == 0) {
        size_t at = strlen(l->text);
        (void)snprintf(l->text + at, sizeof l->text - at, "%s\n", text);
        l->count++;
    }
}

static inline void lines_catch(void)
{
    memset(&lines, 0, sizeof lines);
    log_set_sink(lines_sink, &lines);
}

static inline void lines_contain(const char *text)
{
    if (strstr(lines.text, text) == NULL) {
        fail_msg("no log line says '%s'; there are:\n%s", text, lines.text);
    }
}

#endif
