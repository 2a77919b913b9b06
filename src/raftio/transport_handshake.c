/* The handshake of a peer connection, message by message (the picture is in
 * transport_conn.c, the bytes in docs/wire.md).
 *
 * Everything here handles bytes of strangers: they are collected in a fixed buffer of
 * HANDSHAKE_BYTES_MAX, each message is bounded before it is read, and whatever does not
 * fit the state ends the connection. */
#include <string.h>

#include "base/limits.h"
#include "raftio/transport_conn_impl.h"

#define PROTOCOL_VERSION 1
#define HEAD_BYTES       4 /* version, type, length: the same in every version */

enum message_type { MESSAGE_HELLO = 1, MESSAGE_ANSWER, MESSAGE_PROOF, MESSAGE_REJECT };

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
    conn_write(c, &b);
    conn_linger(c, fault, why);
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

static void malformed(struct conn *c)
{
    conn_fail(c, FAULT_BROKEN, ERR_CORRUPT, "malformed handshake (state %s)",
              conn_state_name(c->state));
}

/* ---- The handshake, message by message ---------------------------------------------- */

void handshake_greet(struct conn *c)
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
    conn_write(c, &b);
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
        conn_crypto_failed(c);
        return;
    }
    struct buf b = BUF_INIT;
    put_head(&b, MESSAGE_ANSWER, c->answer_len + PROOF_BYTES);
    buf_put(&b, c->answer, c->answer_len);
    buf_put(&b, proof, PROOF_BYTES);
    conn_move(c, CONN_PROOF);
    conn_write(c, &b);
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
        conn_crypto_failed(c);
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
    if (conn_is_over(c)) {
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
        conn_crypto_failed(c);
        return;
    }
    if (verdict == 0) {
        conn_move(c, CONN_VERDICT);
    }
    conn_write(c, &b);
    if (verdict != 0) {
        conn_linger(c, FAULT_REFUSED, &e);
    }
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
        conn_crypto_failed(c);
        return;
    }
    struct error e;
    error_clear(&e);
    if (!crypto_equal(proof, body, PROOF_BYTES)) {
        /* It saw our proof and went on with another: no honest node does that. */
        conn_fail(c, FAULT_BROKEN, ERR_NOAUTH, "a wrong proof of the secret");
        return;
    }
    c->proved = true;
    uint8_t verdict = body[PROOF_BYTES];
    if (verdict != 0) {
        (void)error_set(&e, verdict < ERR_COUNT_ ? verdict : ERR_INTERNAL, "%.*s",
                        (int)(more.len - 1), more.data + 1);
        conn_end(c, FAULT_REFUSED, true, &e);
        return;
    }
    if (c->hooks->judge(c->arg, c, &e) != 0) {
        conn_refuse(c, &e);
        return;
    }
    if (!conn_is_over(c)) {
        conn_control(c, CONTROL_WELCOME, NULL);
        if (!conn_is_over(c)) {
            conn_go_up(c);
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
    conn_end(c, fault, true, &e);
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
size_t handshake_take(struct conn *c, const uint8_t *bytes, size_t len)
{
    size_t magic = c->state == CONN_GREETING ? TRANSPORT_MAGIC_BYTES : 0;
    size_t head = magic + HEAD_BYTES;
    size_t used = 0;
    for (;;) {
        size_t want = head;
        if (c->small_len >= head) {
            size_t body = c->small[magic + 2] | (size_t)c->small[magic + 3] << 8;
            if (c->small[magic + 1] < MESSAGE_HELLO || c->small[magic + 1] > MESSAGE_REJECT) {
                malformed(c); /* not one of ours at all: a web server, say */
                return len;
            }
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
