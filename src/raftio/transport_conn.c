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

#define PROTOCOL_VERSION  1
#define HEAD_BYTES        4  /* version, type, length */
#define FRAME_HEAD_BYTES  13 /* length, channel, cluster id */
#define LINGER_MS         1000
/* Smaller frames are copied into one buffer; larger ones travel in the caller's. */
#define SMALL_FRAME_BYTES 4096
/* A buffer that one large frame has grown is given back after it. */
#define KEEP_BUFFER_BYTES (1024 * 1024)

enum message_type { MESSAGE_HELLO = 1, MESSAGE_ANSWER, MESSAGE_PROOF, MESSAGE_REJECT };
enum control_type { CONTROL_KEEP = 1, CONTROL_WELCOME, CONTROL_REFUSE };
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

static uint64_t now_ms(const struct conn *c)
{
    return c->shared->env->ops->mono_ms(c->shared->env);
}

static void move(struct conn *c, enum conn_state to)
{
    ASSERT((allowed[c->state] & (1u << to)) != 0);
    c->state = to;
    c->since_ms = now_ms(c);
}

static bool is_over(const struct conn *c)
{
    return c->state == CONN_LINGER || c->state == CONN_CLOSED;
}

/* ---- Ending ----------------------------------------------------------------------- */

void conn_close(struct conn *c)
{
    if (c->state != CONN_CLOSED) {
        move(c, CONN_CLOSED);
        c->shared->env->ops->stream_close(c->stream);
    }
}

static void end(struct conn *c, enum conn_fault fault, bool told, const struct error *why)
{
    if (!is_over(c)) {
        conn_close(c);
        c->hooks->down(c->arg, c, fault, told, why);
    }
}

__attribute__((format(printf, 4, 5))) static void fail(struct conn *c, enum conn_fault fault,
                                                       int code, const char *fmt, ...)
{
    struct error e;
    va_list args;
    va_start(args, fmt);
    error_clear(&e);
    (void)error_vset(&e, code, fmt, args);
    va_end(args);
    end(c, fault, false, &e);
}

static void out_of_memory(struct conn *c)
{
    fail(c, FAULT_LOST, ERR_NOMEM, "no memory for the connection");
}

/* The refusal is on its way: wait for the other side to close, so that no reset of ours
 * overtakes it. */
static void linger(struct conn *c, enum conn_fault fault, const struct error *why)
{
    if (!is_over(c)) {
        move(c, CONN_LINGER);
        buf_free(&c->in);
        c->hooks->down(c->arg, c, fault, false, why);
    }
}

/* ---- Sending ------------------------------------------------------------------------ */

static void write_out(struct conn *c, struct buf *b)
{
    if (b->failed) {
        buf_free(b);
        out_of_memory(c);
        return;
    }
    c->said_ms = now_ms(c);
    c->shared->env->ops->stream_write(c->stream, b);
}

static void put_head(struct buf *b, enum message_type type, size_t len)
{
    buf_put_u8(b, PROTOCOL_VERSION);
    buf_put_u8(b, (uint8_t)type);
    buf_put_u16(b, (uint16_t)len);
}

static void reject(struct conn *c, enum conn_fault fault, const struct error *why)
{
    struct buf b = BUF_INIT;
    size_t len = strlen(why->message);
    len = len > 255 ? 255 : len;
    put_head(&b, MESSAGE_REJECT, 1 + len);
    buf_put_u8(&b, (uint8_t)fault);
    buf_put(&b, why->message, len);
    write_out(c, &b);
    linger(c, fault, why);
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
        out_of_memory(c);
        return;
    }
    write_out(c, &head);
    if (!small) {
        write_out(c, b);
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

static void send_control(struct conn *c, enum control_type type, const struct error *why)
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
    if (!is_over(c)) {
        send_control(c, CONTROL_REFUSE, why);
        linger(c, FAULT_REFUSED, why);
    }
}

/* ---- Who is there --------------------------------------------------------------------- */

static size_t put_identity(const struct conn *c, uint8_t *out)
{
    const struct conn_shared *s = c->shared;
    uint8_t nonce[NONCE_BYTES];
    s->env->ops->random(s->env, nonce, sizeof nonce);
    struct buf b = BUF_INIT;
    buf_put(&b, nonce, sizeof nonce);
    buf_put_u64(&b, s->cluster_id(s->arg));
    buf_put_u64(&b, s->node_id);
    buf_put_u32(&b, s->version);
    buf_put_u32(&b, s->feature_level);
    buf_put_u8(&b, (uint8_t)strlen(s->address));
    buf_put_str(&b, s->address);
    size_t len = b.failed ? 0 : b.len;
    if (len > 0) {
        memcpy(out, b.data, len);
    }
    buf_free(&b);
    return len;
}

static int peer_decode(const uint8_t *data, size_t len, struct transport_peer *peer)
{
    struct reader r;
    reader_init(&r, data, len);
    memset(peer, 0, sizeof *peer);
    (void)reader_raw(&r, NONCE_BYTES);
    peer->cluster_id = reader_u64(&r);
    peer->node_id = reader_u64(&r);
    peer->version = reader_u32(&r);
    peer->feature_level = reader_u32(&r);
    size_t address_len = reader_u8(&r);
    const uint8_t *address = reader_raw(&r, address_len);
    if (address == NULL || address_len == 0 || reader_left(&r) != 0 || peer->node_id == 0) {
        return ERR_CORRUPT;
    }
    for (size_t i = 0; i < address_len; i++) {
        if (address[i] <= 0x20 || address[i] >= 0x7f) {
            return ERR_CORRUPT;
        }
    }
    memcpy(peer->address, address, address_len);
    return 0;
}

/* The proof of one role, with what that role adds to the transcript. */
static bool prove(const struct conn *c, const char *label, struct span more,
                  uint8_t out[PROOF_BYTES])
{
    struct span parts[3] = { span_make((const char *)c->hello, c->hello_len),
                             span_make((const char *)c->answer, c->answer_len), more };
    return crypto_derive(c->shared->key, label, parts, 3, out);
}

#define LABEL_ANSWER "acceptor's proof"
#define LABEL_PROOF  "dialer's proof"

/* Both greetings are known: the keys of the frames. */
static bool make_keys(struct conn *c)
{
    uint8_t from_dialer[KEY_BYTES], from_acceptor[KEY_BYTES];
    struct span none = { "", 0 };
    bool ok = prove(c, "frames of the dialer", none, from_dialer) &&
              prove(c, "frames of the acceptor", none, from_acceptor);
    if (ok) {
        c->mac_out = mac_new(c->dialer ? from_dialer : from_acceptor);
        c->mac_in = mac_new(c->dialer ? from_acceptor : from_dialer);
    }
    crypto_wipe(from_dialer, sizeof from_dialer);
    crypto_wipe(from_acceptor, sizeof from_acceptor);
    return ok && c->mac_out != NULL && c->mac_in != NULL;
}

static void crypto_failed(struct conn *c)
{
    fail(c, FAULT_LOST, ERR_INTERNAL, "libcrypto failed (out of memory?)");
}

static void malformed(struct conn *c)
{
    fail(c, FAULT_BROKEN, ERR_CORRUPT, "malformed handshake (state %s)", conn_state_name(c->state));
}

/* ---- The handshake, message by message ---------------------------------------------- */

static void greet(struct conn *c)
{
    uint8_t identity[GREETING_BYTES_MAX];
    size_t len = put_identity(c, identity);
    struct buf b = BUF_INIT;
    buf_put(&b, TRANSPORT_MAGIC, TRANSPORT_MAGIC_BYTES);
    put_head(&b, MESSAGE_HELLO, len);
    buf_put(&b, identity, len);
    if (len > 0 && !b.failed) {
        memcpy(c->hello, b.data, b.len);
        c->hello_len = b.len;
    }
    write_out(c, &b);
}

static void got_hello(struct conn *c, const uint8_t *body, size_t len)
{
    if (peer_decode(body, len, &c->peer) != 0) {
        malformed(c);
        return;
    }
    memcpy(c->hello, c->small, TRANSPORT_MAGIC_BYTES + HEAD_BYTES + len);
    c->hello_len = TRANSPORT_MAGIC_BYTES + HEAD_BYTES + len;
    c->answer_len = put_identity(c, c->answer);
    uint8_t proof[PROOF_BYTES];
    if (c->answer_len == 0 || !prove(c, LABEL_ANSWER, (struct span){ "", 0 }, proof) ||
        !make_keys(c)) {
        crypto_failed(c);
        return;
    }
    struct buf b = BUF_INIT;
    put_head(&b, MESSAGE_ANSWER, c->answer_len + PROOF_BYTES);
    buf_put(&b, c->answer, c->answer_len);
    buf_put(&b, proof, PROOF_BYTES);
    move(c, CONN_PROOF);
    write_out(c, &b);
}

static void got_answer(struct conn *c, const uint8_t *body, size_t len)
{
    if (len <= PROOF_BYTES || len - PROOF_BYTES > sizeof c->answer ||
        peer_decode(body, len - PROOF_BYTES, &c->peer) != 0) {
        malformed(c);
        return;
    }
    c->answer_len = len - PROOF_BYTES;
    memcpy(c->answer, body, c->answer_len);
    uint8_t proof[PROOF_BYTES];
    if (!prove(c, LABEL_ANSWER, (struct span){ "", 0 }, proof) || !make_keys(c)) {
        crypto_failed(c);
        return;
    }
    struct error e;
    error_clear(&e);
    if (!crypto_equal(proof, body + c->answer_len, PROOF_BYTES)) {
        (void)error_set(&e, ERR_NOAUTH, "the two nodes have different secrets");
        error_hint(&e, "give both profiles the same secret");
        reject(c, FAULT_SECRET, &e);
        return;
    }
    c->proved = true;
    int verdict = c->hooks->judge(c->arg, c, &e);
    if (is_over(c)) {
        return;
    }
    struct buf more = BUF_INIT;
    buf_put_u8(&more, (uint8_t)verdict);
    buf_put(&more, e.message, verdict != 0 ? strlen(e.message) : 0);
    struct buf b = BUF_INIT;
    bool ok = !more.failed && prove(c, LABEL_PROOF, span_make((char *)more.data, more.len), proof);
    put_head(&b, MESSAGE_PROOF, PROOF_BYTES + more.len);
    buf_put(&b, proof, PROOF_BYTES);
    buf_put(&b, more.data, more.len);
    buf_free(&more);
    if (!ok) {
        buf_free(&b);
        crypto_failed(c);
        return;
    }
    if (verdict == 0) {
        move(c, CONN_VERDICT);
    }
    write_out(c, &b);
    if (verdict != 0) {
        linger(c, FAULT_REFUSED, &e);
    }
}

static void go_up(struct conn *c)
{
    move(c, CONN_UP);
    c->up_ms = c->since_ms;
    c->hooks->up(c->arg, c);
}

static void got_proof(struct conn *c, const uint8_t *body, size_t len)
{
    uint8_t proof[PROOF_BYTES];
    if (len <= PROOF_BYTES) {
        malformed(c);
        return;
    }
    struct span more = span_make((const char *)body + PROOF_BYTES, len - PROOF_BYTES);
    if (!prove(c, LABEL_PROOF, more, proof)) {
        crypto_failed(c);
        return;
    }
    struct error e;
    error_clear(&e);
    if (!crypto_equal(proof, body, PROOF_BYTES)) {
        /* It saw our proof and went on with another: no honest node does that. */
        fail(c, FAULT_BROKEN, ERR_NOAUTH, "a wrong proof of the secret");
        return;
    }
    c->proved = true;
    uint8_t verdict = body[PROOF_BYTES];
    if (verdict != 0) {
        (void)error_set(&e, verdict < ERR_COUNT_ ? verdict : ERR_INTERNAL, "%.*s",
                        (int)(more.len - 1), more.data + 1);
        end(c, FAULT_REFUSED, true, &e);
        return;
    }
    if (c->hooks->judge(c->arg, c, &e) != 0) {
        conn_refuse(c, &e);
        return;
    }
    if (!is_over(c)) {
        send_control(c, CONTROL_WELCOME, NULL);
        if (!is_over(c)) {
            go_up(c);
        }
    }
}

static void got_reject(struct conn *c, const uint8_t *body, size_t len)
{
    if (len < 1) {
        malformed(c);
        return;
    }
    enum conn_fault fault = body[0] == FAULT_VERSION  ? FAULT_VERSION
                            : body[0] == FAULT_SECRET ? FAULT_SECRET
                                                      : FAULT_BROKEN;
    struct error e;
    error_clear(&e);
    (void)error_set(&e, ERR_NOAUTH, "%.*s", (int)(len - 1), (const char *)body + 1);
    end(c, fault, true, &e);
}

static void got_message(struct conn *c, uint8_t type, const uint8_t *body, size_t len)
{
    bool ours = (type == MESSAGE_HELLO && c->state == CONN_GREETING) ||
                (type == MESSAGE_ANSWER && c->state == CONN_ANSWER) ||
                (type == MESSAGE_PROOF && c->state == CONN_PROOF) ||
                (type == MESSAGE_REJECT && c->state != CONN_GREETING);
    if (!ours) {
        malformed(c);
        return;
    }
    switch ((enum message_type)type) {
    case MESSAGE_HELLO: got_hello(c, body, len); break;
    case MESSAGE_ANSWER: got_answer(c, body, len); break;
    case MESSAGE_PROOF: got_proof(c, body, len); break;
    case MESSAGE_REJECT: got_reject(c, body, len); break;
    }
}

/* Takes bytes until one message is whole and handles it; returns how many it used. */
static size_t take_handshake(struct conn *c, const uint8_t *bytes, size_t len)
{
    size_t magic = c->state == CONN_GREETING ? TRANSPORT_MAGIC_BYTES : 0;
    size_t head = magic + HEAD_BYTES;
    size_t used = 0;
    for (;;) {
        size_t want = head;
        if (c->small_len >= head) {
            size_t body = c->small[magic + 2] | (size_t)c->small[magic + 3] << 8;
            if (c->small[magic] != PROTOCOL_VERSION) {
                struct error e;
                error_clear(&e);
                (void)error_set(&e, ERR_CONFLICT, "peer protocol %u here, %u there",
                                PROTOCOL_VERSION, c->small[magic]);
                error_hint(&e, "run the same major version on every node");
                reject(c, FAULT_VERSION, &e);
                return len;
            }
            if (head + body > sizeof c->small || (magic > 0 && head + body > GREETING_BYTES_MAX)) {
                malformed(c);
                return len;
            }
            want = head + body;
            if (c->small_len == want) {
                c->small_len = 0;
                got_message(c, c->small[magic + 1], c->small + head, body);
                return used;
            }
        }
        if (used == len) {
            return used;
        }
        size_t n = want - c->small_len;
        n = n < len - used ? n : len - used;
        memcpy(c->small + c->small_len, bytes + used, n);
        c->small_len += n;
        used += n;
        size_t seen = c->small_len < magic ? c->small_len : magic;
        if (memcmp(c->small, TRANSPORT_MAGIC, seen) != 0) {
            malformed(c);
            return len;
        }
    }
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
        go_up(c);
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
            end(c, FAULT_REFUSED, true, &e);
            return;
        }
    }
    fail(c, FAULT_BROKEN, ERR_CORRUPT, "control frame %u in state %s", type,
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
    return !is_over(c);
}

static void got_frame(struct conn *c, const uint8_t *frame, size_t body_len)
{
    uint8_t mac[MAC_BYTES];
    const uint8_t *body = frame + FRAME_HEAD_BYTES;
    if (!mac_frame(c->mac_in, c->count_in, span_make((const char *)frame, FRAME_HEAD_BYTES),
                   span_make((const char *)body, body_len), mac)) {
        crypto_failed(c);
        return;
    }
    if (!crypto_equal(mac, body + body_len, MAC_BYTES)) {
        fail(c, FAULT_BROKEN, ERR_CORRUPT, "a frame failed its check (altered or replayed)");
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
        fail(c, FAULT_BROKEN, ERR_CORRUPT, "a frame on channel %u in state %s", channel,
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
        fail(c, FAULT_BROKEN, ERR_TOOBIG, "a frame of %zu bytes (at most %zu)", *len, max);
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
        out_of_memory(c);
        return len;
    }
    if (c->in.len == want && want > FRAME_HEAD_BYTES) {
        struct buf whole = c->in; /* ours alone: the owner may end the connection */
        buf_init(&c->in);
        got_frame(c, whole.data, want - FRAME_HEAD_BYTES - MAC_BYTES);
        if (whole.cap <= KEEP_BUFFER_BYTES && c->in.data == NULL && !is_over(c)) {
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
    c->heard_ms = now_ms(c);
    while (len > 0 && !is_over(c)) {
        bool shaking =
            c->state == CONN_ANSWER || c->state == CONN_GREETING || c->state == CONN_PROOF;
        size_t used = shaking ? take_handshake(c, bytes, len) : take_frame(c, bytes, len);
        bytes += used;
        len -= used;
    }
}

static void on_closed(void *arg, int status)
{
    struct conn *c = arg;
    struct error e;
    error_clear(&e);
    if (!is_over(c)) {
        bool early = c->state != CONN_UP;
        move(c, CONN_CLOSED);
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
            fail(c, FAULT_SILENT, ERR_IO, "nothing heard for %d s", LINK_SILENT_MS / 1000);
        } else if (c->in.len > 0 && now - c->in_since_ms >= LINK_FRAME_MS) {
            fail(c, FAULT_BROKEN, ERR_IO, "a frame not whole after %d s", LINK_FRAME_MS / 1000);
        } else if (now - c->said_ms >= LINK_KEEP_MS) {
            send_control(c, CONTROL_KEEP, NULL);
        }
        break;
    case CONN_ANSWER:
    case CONN_VERDICT:
    case CONN_GREETING:
    case CONN_PROOF:
        if (now - c->opened_ms >= HANDSHAKE_MS) {
            fail(c, FAULT_SILENT, ERR_IO, "no answer in the handshake for %d s",
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
    c->opened_ms = c->since_ms = c->heard_ms = c->said_ms = now_ms(c);
    return c;
}

void conn_start(struct conn *c)
{
    c->shared->env->ops->stream_start(c->stream, &stream_events, c);
    if (c->dialer) {
        greet(c);
    }
}
