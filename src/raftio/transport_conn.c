/* One peer connection (see the table of states in transport_conn.h).
 *
 *   dialer                                    acceptor
 *   HELLO  nonce, who I am            ->
 *                                     <-      ANSWER  nonce, who I am, proof
 *   PROOF  proof, verdict on you      ->
 *                                     <-      frame: WELCOME, or REFUSE with the reason
 *   frames                            ->
 *                                     <-      frames: KEEP
 *
 * The acceptor proves itself first, so a dialer never answers a stranger. A proof is an
 * HMAC under the cluster's key over both greetings: nonces, versions, cluster ids, node
 * ids, addresses. The roles have different labels, so nothing can be reflected; the
 * nonces are fresh, so nothing can be replayed. Frame keys come from the same transcript,
 * one per direction.
 *
 * How it fails: whatever is wrong before the proof is answered with a short REJECT (not
 * authenticated, believed only for the log); after the proof with a REFUSE under the MAC.
 * A bad length or MAC ends the connection at once, as does silence.
 *
 * Invariants
 *   T1 no frame reaches the owner before both sides have proved the secret
 *   T2 before that a connection costs at most sizeof(struct conn) of memory
 *   T3 a frame is delivered only if its MAC fits its place in the sequence
 *   T4 memory for a frame grows with the bytes that arrived, not with its length field
 *   T5 states change only along `allowed` */
#include "raftio/transport_conn.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "raftio/transport_conn_impl.h"

#define FRAME_HEAD_BYTES  13 /* length, channel, cluster id */
#define LINGER_MS         1000
/* Smaller frames are copied into one buffer; larger ones travel in the caller's. */
#define SMALL_FRAME_BYTES 4096
/* A buffer that one large frame has grown is given back after it. */
#define KEEP_BUFFER_BYTES (1024 * 1024)

#define CHANNEL_CONTROL 0

#define BIT(s) (1u << CONN_##s)
static const unsigned allowed[] = {
    [CONN_ANSWER] = BIT(VERDICT) | BIT(LINGER) | BIT(CLOSED),
    [CONN_VERDICT] = BIT(UP) | BIT(LINGER) | BIT(CLOSED),
    [CONN_GREETING] = BIT(PROOF) | BIT(LINGER) | BIT(CLOSED),
    [CONN_PROOF] = BIT(UP) | BIT(LINGER) | BIT(CLOSED),
    [CONN_UP] = BIT(LINGER) | BIT(CLOSED),
    [CONN_LINGER] = BIT(CLOSED),
    [CONN_CLOSED] = 0,
};

const char *conn_state_name(enum conn_state s)
{
    static const char *const names[] = {
#define X(name) #name,
        CONN_STATES(X)
#undef X
    };
    return names[s];
}

uint64_t conn_now_ms(const struct conn *c) { return c->shared->env->ops->mono_ms(c->shared->env); }

void conn_move(struct conn *c, enum conn_state to)
{
    ASSERT((allowed[c->state] & (1u << to)) != 0);
    c->state = to;
    c->since_ms = conn_now_ms(c);
}

bool conn_is_over(const struct conn *c)
{
    return c->state == CONN_LINGER || c->state == CONN_CLOSED;
}

/* ---- Ending ----------------------------------------------------------------------- */

void conn_close(struct conn *c)
{
    if (c->state != CONN_CLOSED) {
        conn_move(c, CONN_CLOSED);
        c->shared->env->ops->stream_close(c->stream);
    }
}

void conn_end(struct conn *c, enum conn_fault fault, bool told, const struct error *why)
{
    if (!conn_is_over(c)) {
        conn_close(c);
        c->hooks->down(c->arg, c, fault, told, why);
    }
}

__attribute__((format(printf, 4, 5))) void conn_fail(struct conn *c, enum conn_fault fault,
                                                     int code, const char *fmt, ...)
{
    struct error e;
    va_list args;
    va_start(args, fmt);
    error_clear(&e);
    (void)error_vset(&e, code, fmt, args);
    va_end(args);
    conn_end(c, fault, false, &e);
}

void conn_out_of_memory(struct conn *c)
{
    conn_fail(c, FAULT_LOST, ERR_NOMEM, "no memory for the connection");
}

/* The refusal is on its way: wait for the other side to close, so that no reset of ours
 * overtakes it. */
void conn_linger(struct conn *c, enum conn_fault fault, const struct error *why)
{
    if (!conn_is_over(c)) {
        conn_move(c, CONN_LINGER);
        buf_free(&c->in);
        c->hooks->down(c->arg, c, fault, false, why);
    }
}

/* ---- Sending ------------------------------------------------------------------------ */

void conn_write(struct conn *c, struct buf *b)
{
    if (b->failed) {
        buf_free(b);
        conn_out_of_memory(c);
        return;
    }
    c->said_ms = conn_now_ms(c);
    c->shared->env->ops->stream_write(c->stream, b);
}

void conn_crypto_failed(struct conn *c)
{
    conn_fail(c, FAULT_LOST, ERR_INTERNAL, "libcrypto failed (out of memory?)");
}

static void send_frame(struct conn *c, uint8_t channel, struct buf *b)
{
    struct buf head = BUF_INIT;
    uint8_t mac[MAC_BYTES];
    bool small = b->len <= SMALL_FRAME_BYTES;
    if (small) {
        (void)buf_reserve(&head, FRAME_HEAD_BYTES + b->len + MAC_BYTES);
    }
    buf_put_u32(&head, (uint32_t)b->len);
    buf_put_u8(&head, channel);
    buf_put_u64(&head, c->shared->cluster_id(c->shared->arg));
    bool ok = !head.failed &&
              mac_frame(c->mac_out, c->count_out++, span_make((char *)head.data, head.len),
                        span_make((char *)b->data, b->len), mac);
    struct buf *last = b;
    if (small) {
        buf_put(&head, b->data, b->len);
        buf_free(b);
        last = &head;
    }
    buf_put(last, mac, MAC_BYTES);
    if (!ok || last->failed) {
        buf_free(&head);
        buf_free(b);
        conn_out_of_memory(c);
        return;
    }
    conn_write(c, &head);
    if (!small) {
        conn_write(c, b);
    }
}

bool conn_send(struct conn *c, enum transport_channel ch, struct buf *b)
{
    if (c->state != CONN_UP || b->failed || b->len > FRAME_BYTES_MAX) {
        buf_free(b);
        return false;
    }
    send_frame(c, (uint8_t)ch, b);
    return c->state == CONN_UP;
}

void conn_control(struct conn *c, enum control_type type, const struct error *why)
{
    struct buf b = BUF_INIT;
    buf_put_u8(&b, (uint8_t)type);
    if (why != NULL) {
        buf_put_u8(&b, (uint8_t)why->code);
        buf_put_span(&b, span_of(why->message));
        buf_put_span(&b, span_of(why->hint));
    }
    send_frame(c, CHANNEL_CONTROL, &b);
}

void conn_refuse(struct conn *c, const struct error *why)
{
    if (!conn_is_over(c)) {
        conn_control(c, CONTROL_REFUSE, why);
        conn_linger(c, FAULT_REFUSED, why);
    }
}

void conn_go_up(struct conn *c)
{
    conn_move(c, CONN_UP);
    c->up_ms = c->since_ms;
    c->hooks->up(c->arg, c);
}

/* ---- Frames ----------------------------------------------------------------------------- */

static void got_control(struct conn *c, const uint8_t *data, size_t len)
{
    struct reader r;
    reader_init(&r, data, len);
    uint8_t type = reader_u8(&r);
    struct error e;
    error_clear(&e);
    if (type == CONTROL_KEEP && c->state == CONN_UP && len == 1) {
        return;
    }
    if (type == CONTROL_WELCOME && c->state == CONN_VERDICT && len == 1) {
        conn_go_up(c);
        return;
    }
    if (type == CONTROL_REFUSE) {
        uint8_t code = reader_u8(&r);
        struct span message = reader_bytes(&r);
        struct span hint = reader_bytes(&r);
        if (!r.failed && reader_left(&r) == 0) {
            (void)error_set(&e, code != 0 && code < ERR_COUNT_ ? code : ERR_INTERNAL, "%.*s",
                            (int)message.len, message.data);
            error_hint(&e, "%.*s", (int)hint.len, hint.data);
            conn_end(c, FAULT_REFUSED, true, &e);
            return;
        }
    }
    conn_fail(c, FAULT_BROKEN, ERR_CORRUPT, "control frame %u in state %s", type,
              conn_state_name(c->state));
}

/* The peer has joined a cluster since it said hello: judge it again. */
static bool cluster_changed(struct conn *c, uint64_t cluster_id)
{
    struct error e;
    error_clear(&e);
    int rv = 0;
    if (c->peer.cluster_id != 0) {
        rv = error_set(&e, ERR_CONFLICT, "%s changed from one cluster to another", c->peer.address);
    } else {
        c->peer.cluster_id = cluster_id;
        rv = c->hooks->judge(c->arg, c, &e);
    }
    if (rv != 0) {
        conn_refuse(c, &e);
    }
    return !conn_is_over(c);
}

static void got_frame(struct conn *c, const uint8_t *frame, size_t body_len)
{
    uint8_t mac[MAC_BYTES];
    const uint8_t *body = frame + FRAME_HEAD_BYTES;
    if (!mac_frame(c->mac_in, c->count_in, span_make((const char *)frame, FRAME_HEAD_BYTES),
                   span_make((const char *)body, body_len), mac)) {
        conn_crypto_failed(c);
        return;
    }
    if (!crypto_equal(mac, body + body_len, MAC_BYTES)) {
        conn_fail(c, FAULT_BROKEN, ERR_CORRUPT, "a frame failed its check (altered or replayed)");
        return;
    }
    c->count_in++;
    struct reader r;
    reader_init(&r, frame + 4, FRAME_HEAD_BYTES - 4);
    uint8_t channel = reader_u8(&r);
    uint64_t cluster_id = reader_u64(&r);
    if (channel == CHANNEL_CONTROL && body_len > 0 && body[0] == CONTROL_REFUSE) {
        got_control(c, body, body_len);
        return;
    }
    if (cluster_id != c->peer.cluster_id && !cluster_changed(c, cluster_id)) {
        return;
    }
    if (channel == CHANNEL_CONTROL) {
        got_control(c, body, body_len);
    } else if (channel > CHANNEL_SERVICE || c->dialer || c->state != CONN_UP) {
        conn_fail(c, FAULT_BROKEN, ERR_CORRUPT, "a frame on channel %u in state %s", channel,
                  conn_state_name(c->state));
    } else {
        c->hooks->frame(c->arg, c, (enum transport_channel)channel, body, body_len);
    }
}

static bool frame_length(struct conn *c, const uint8_t *head, size_t *len)
{
    struct reader r;
    reader_init(&r, head, 4);
    *len = reader_u32(&r);
    /* Only control frames come before UP and to a dialer: short ones. */
    size_t max = c->state == CONN_UP && !c->dialer ? FRAME_BYTES_MAX : HANDSHAKE_BYTES_MAX;
    if (*len > max) {
        conn_fail(c, FAULT_BROKEN, ERR_TOOBIG, "a frame of %zu bytes (at most %zu)", *len, max);
        return false;
    }
    return true;
}

/* Takes bytes of one frame: in place when it is whole, else collected in c->in. */
static size_t take_frame(struct conn *c, const uint8_t *bytes, size_t len)
{
    size_t body;
    if (c->in.len == 0 && len >= FRAME_HEAD_BYTES) {
        if (!frame_length(c, bytes, &body)) {
            return len;
        }
        size_t whole = FRAME_HEAD_BYTES + body + MAC_BYTES;
        if (len >= whole) {
            got_frame(c, bytes, body);
            return whole;
        }
    }
    size_t want = FRAME_HEAD_BYTES;
    if (c->in.len >= FRAME_HEAD_BYTES) {
        if (!frame_length(c, c->in.data, &body)) {
            return len;
        }
        want = FRAME_HEAD_BYTES + body + MAC_BYTES;
    }
    size_t n = want - c->in.len < len ? want - c->in.len : len;
    if (c->in.len == 0) {
        c->in_since_ms = c->heard_ms;
    }
    buf_put(&c->in, bytes, n);
    if (c->in.failed) {
        conn_out_of_memory(c);
        return len;
    }
    if (c->in.len == want && want > FRAME_HEAD_BYTES) {
        struct buf whole = c->in; /* ours alone: the owner may end the connection */
        buf_init(&c->in);
        got_frame(c, whole.data, want - FRAME_HEAD_BYTES - MAC_BYTES);
        if (whole.cap <= KEEP_BUFFER_BYTES && c->in.data == NULL && !conn_is_over(c)) {
            c->in = whole;
            buf_clear(&c->in);
        } else {
            buf_free(&whole);
        }
    }
    return n;
}

/* ---- The stream ---------------------------------------------------------------------------- */

static void on_data(void *arg, const uint8_t *bytes, size_t len)
{
    struct conn *c = arg;
    c->heard_ms = conn_now_ms(c);
    while (len > 0 && !conn_is_over(c)) {
        bool shaking =
            c->state == CONN_ANSWER || c->state == CONN_GREETING || c->state == CONN_PROOF;
        size_t used = shaking ? handshake_take(c, bytes, len) : take_frame(c, bytes, len);
        bytes += used;
        len -= used;
    }
}

static void on_closed(void *arg, int status)
{
    struct conn *c = arg;
    struct error e;
    error_clear(&e);
    if (!conn_is_over(c)) {
        bool early = c->state != CONN_UP;
        conn_move(c, CONN_CLOSED);
        (void)error_set(&e, ERR_IO, "%s",
                        status != 0 ? "the connection was cut"
                        : early     ? "the other side closed the connection during the handshake"
                                    : "the other side closed the connection");
        c->hooks->down(c->arg, c, FAULT_LOST, false, &e);
    }
    c->hooks->gone(c->arg, c);
    mac_free(c->mac_out);
    mac_free(c->mac_in);
    buf_free(&c->in);
    mem_free(c);
}

/* The frame that is coming in is late, or comes so slowly that it is none. */
static bool frame_is_overdue(const struct conn *c, uint64_t now)
{
    uint64_t ms = now - c->in_since_ms;
    return c->in.len > 0 && ms >= LINK_PACE_MS &&
           (ms >= LINK_FRAME_MS || c->in.len < ms * LINK_PACE_BYTES_PER_S / 1000);
}

void conn_tick(struct conn *c, uint64_t now)
{
    switch (c->state) {
    case CONN_CLOSED: break;
    case CONN_LINGER:
        if (now - c->since_ms >= LINGER_MS) {
            conn_close(c);
        }
        break;
    case CONN_UP:
        if (now - c->heard_ms >= LINK_SILENT_MS) {
            conn_fail(c, FAULT_SILENT, ERR_IO, "nothing heard for %d s", LINK_SILENT_MS / 1000);
        } else if (frame_is_overdue(c, now)) {
            conn_fail(c, FAULT_BROKEN, ERR_IO, "only %zu bytes of a frame in %llu ms", c->in.len,
                      (unsigned long long)(now - c->in_since_ms));
        } else if (now - c->said_ms >= LINK_KEEP_MS) {
            conn_control(c, CONTROL_KEEP, NULL);
        }
        break;
    case CONN_ANSWER:
    case CONN_VERDICT:
    case CONN_GREETING:
    case CONN_PROOF:
        if (now - c->opened_ms >= HANDSHAKE_MS) {
            conn_fail(c, FAULT_SILENT, ERR_IO, "no answer in the handshake for %d s",
                      HANDSHAKE_MS / 1000);
        }
        break;
    }
}

static const struct env_stream_events stream_events = { on_data, NULL, on_closed };

struct conn *conn_new(const struct conn_shared *shared, const struct conn_hooks *hooks, void *arg,
                      struct env_stream *stream, bool dialer)
{
    struct conn *c = mem_zalloc(sizeof *c);
    if (c == NULL) {
        shared->env->ops->stream_close(stream);
        return NULL;
    }
    c->shared = shared;
    c->hooks = hooks;
    c->arg = arg;
    c->stream = stream;
    c->dialer = dialer;
    c->state = dialer ? CONN_ANSWER : CONN_GREETING;
    c->opened_ms = c->since_ms = c->heard_ms = c->said_ms = conn_now_ms(c);
    return c;
}

void conn_start(struct conn *c)
{
    c->shared->env->ops->stream_start(c->stream, &stream_events, c);
    if (c->dialer) {
        handshake_greet(c);
    }
}
