/* A peer that holds the cluster's secret and a member's identity, and sends what no honest node
 * would: every frame of docs/engine.md that hurt the library's own transport, and many more.
 *
 *     hostile_peer TO NODE_ID ADDRESS CLUSTER_ID
 *
 * Ids in hex, as `usher check` shows them. It dials TO, makes an honest handshake without a
 * secret, and sends one frame after the other, again from the next one when it is thrown
 * out. Prints how many it has sent. Nothing here raises a term: what a member may say it does
 * not say. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "base/log.h"
#include "raftio/env_uv.h"
#include "raftio/transport.h"

#define FRAMES_MAX  4096
#define EVERY_MS    1
#define DEADLINE_MS 60000

struct frame {
    enum transport_channel channel;
    struct buf bytes;
};

static struct frame frames[FRAMES_MAX];
static size_t frames_count, next;
static struct env *env;
static struct transport *transport;
static struct env_timer *timer;
static const char *target;
static uint64_t cluster, deadline;
static bool closing;

static struct buf *frame(enum transport_channel channel)
{
    if (frames_count == FRAMES_MAX) {
        abort();
    }
    struct frame *f = &frames[frames_count++];
    f->channel = channel;
    buf_init(&f->bytes);
    return &f->bytes;
}

/* A raft message's head; types as in docs/wire.md. */
static struct buf *raft(uint8_t type)
{
    struct buf *b = frame(CHANNEL_RAFT);
    buf_put_u8(b, 1);
    buf_put_u8(b, type);
    return b;
}

static struct buf *append(uint64_t term, uint64_t prev, uint64_t prev_term, uint32_t entries)
{
    struct buf *b = raft(1);
    buf_put_u64(b, term);
    buf_put_u64(b, prev);
    buf_put_u64(b, prev_term);
    buf_put_u64(b, 0);
    buf_put_u32(b, entries);
    return b;
}

static void entry(struct buf *b, uint64_t term, uint8_t type, uint32_t len)
{
    buf_put_u64(b, term);
    buf_put_u8(b, type);
    buf_put_u32(b, len);
}

static const uint64_t terms[] = { 0, (uint64_t)1 << 62, (uint64_t)1 << 63, UINT64_MAX - 1,
                                  UINT64_MAX };

static void bad_appends(void)
{
    for (unsigned type = 0; type < 256; type += type < 10 ? 1 : 49) { /* entry of type 9 */
        if (type < 1 || type > 3) {
            struct buf *b = append(1, 1, 1, 1);
            entry(b, 1, (uint8_t)type, 4);
            buf_put(b, "xxxx", 4);
        }
    }
    const uint32_t counts[] = { 1, 2, 1025, 0x7fffffff, 0x80000000u, UINT32_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        (void)append(1, 1, 1, counts[i]); /* entries announced that are not there */
        struct buf *b = append(1, 1, 1, counts[i]);
        entry(b, 1, 1, UINT32_MAX); /* a length beyond everything */
    }
    struct buf *b = append(1, 1, 1, 1);
    entry(b, 1, 3, 4); /* a configuration that is none */
    buf_put(b, "\1\377\377\377", 4);
    b = append(1, 5, 4, 2); /* entry terms that go back */
    entry(b, 1, 1, 0);
    entry(b, 1, 1, 0);
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        (void)append(terms[i], 1, 1, 0);
        (void)append(1, UINT64_MAX, 1, 0);
        b = append(1, 1, 1, 1);
        entry(b, terms[i], 1, 0);
    }
}

static void bad_results_and_votes(void)
{
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        struct buf *b = raft(2); /* the result whose term was adopted */
        buf_put_u64(b, terms[i]);
        buf_put_u64(b, 0);
        buf_put_u64(b, UINT64_MAX);
        buf_put_u32(b, 0);
        b = raft(3);
        buf_put_u64(b, terms[i]);
        buf_put_u64(b, 0x6666);
        buf_put_u64(b, UINT64_MAX);
        buf_put_u64(b, UINT64_MAX);
        buf_put_u8(b, 1);
        b = raft(4);
        buf_put_u64(b, terms[i]);
        buf_put_u8(b, 1);
        buf_put_u32(b, 0);
        b = raft(6);
        buf_put_u64(b, terms[i]);
        buf_put_u64(b, 1);
        buf_put_u64(b, 1);
    }
    struct buf *b = raft(3); /* a vote for somebody else, in a believable term */
    buf_put_u64(b, 3);
    buf_put_u64(b, 0x6666);
    buf_put_u64(b, 9);
    buf_put_u64(b, 3);
    buf_put_u8(b, 0);
    buf_put_str(b, "10.255.255.1:9"); /* and an address that must never be dialled */
    b = raft(5);                      /* a snapshot from nowhere */
    for (int i = 0; i < 4; i++) {
        buf_put_u64(b, 1000000);
    }
    buf_put_u64(b, 1);
}

/* Every kind of every channel with every short length, filled with zeros and with ones. */
static void garbage(void)
{
    for (unsigned kind = 0; kind < 48; kind++) {
        for (unsigned len = 0; len < 60; len += len < 3 ? 1 : 19) {
            for (int fill = 0; fill < 256; fill += 255) {
                uint8_t bytes[64];
                memset(bytes, fill, sizeof bytes);
                bytes[0] = (uint8_t)kind;
                buf_put(frame(CHANNEL_CLUSTER), bytes, len + 1);
                buf_put(frame(CHANNEL_SERVICE), bytes, len + 1);
                bytes[1] = bytes[0];
                bytes[0] = 1;
                if (fill == 255) { /* zeros might be a message; terms of ones never are */
                    buf_put(frame(CHANNEL_RAFT), bytes, len + 1);
                }
            }
        }
    }
    buf_put_u8(frame(CHANNEL_RAFT), 1); /* a header of one byte */
}

/* ---- Sending ---------------------------------------------------------------- */

static uint64_t cluster_id(void *arg)
{
    (void)arg;
    return cluster;
}

static int admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    (void)arg, (void)peer, (void)e;
    return 0;
}

static void on_frame(void *arg, const struct transport_peer *peer, enum transport_channel ch,
                     const uint8_t *data, size_t len)
{
    (void)arg, (void)peer, (void)ch, (void)data, (void)len;
}

static void on_link(void *arg, const char *address, bool up, const struct transport_peer *peer,
                    const struct error *why)
{
    (void)arg, (void)address, (void)peer;
    if (!up && why != NULL && next == 0) {
        (void)fprintf(stderr, "not let in: %s\n", why->message);
    }
}

static void on_closed(void *arg) { (void)arg; }

static void on_timer(void *arg)
{
    (void)arg;
    if (next < frames_count && transport_is_up(transport, target)) {
        struct frame *f = &frames[next++];
        (void)transport_send(transport, target, f->channel, &f->bytes);
        buf_free(&f->bytes);
    }
    if ((next == frames_count || env->ops->mono_ms(env) > deadline) && !closing) {
        closing = true;
        /* Frames on the way are taken before the connection ends. */
        env->ops->timer_start(timer, 300);
        return;
    }
    if (closing) {
        env->ops->timer_free(timer);
        transport_close(transport, on_closed, NULL);
        return;
    }
    env->ops->timer_start(timer, EVERY_MS);
}

int main(int argc, char **argv)
{
    uv_loop_t loop;
    struct error e;
    if (argc != 5) {
        (void)fputs("usage: hostile_peer TO NODE_ID ADDRESS CLUSTER_ID\n", stderr);
        return 2;
    }
    log_set_level(LOG_NONE);
    target = argv[1];
    cluster = strtoull(argv[4], NULL, 16);
    bad_appends();
    bad_results_and_votes();
    garbage();
    struct transport_options o = { .node_id = strtoull(argv[2], NULL, 16),
                                   .address = argv[3],
                                   .version = 1,
                                   .feature_level = 1000,
                                   .cluster_id = cluster_id,
                                   .admit = admit,
                                   .frame = on_frame,
                                   .link = on_link };
    if (uv_loop_init(&loop) != 0 || env_uv_new(&loop, &env, &e) != 0 ||
        transport_new(env, &o, &transport, &e) != 0) {
        return 1;
    }
    deadline = env->ops->mono_ms(env) + DEADLINE_MS;
    transport_connect(transport, target);
    timer = env->ops->timer_new(env, on_timer, NULL);
    env->ops->timer_start(timer, EVERY_MS);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    env_uv_free(env);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&loop);
    for (size_t i = next; i < frames_count; i++) {
        buf_free(&frames[i].bytes);
    }
    (void)printf("%zu of %zu\n", next, frames_count);
    return next == frames_count ? 0 : 1;
}
