/* Entries: what one RAFT_COMMAND holds, a group of transactions.
 *
 *   head          28 bytes: u32 version, u32 feature level, u64 time, u64 digest before
 *                 the first effect, u32 number of transactions
 *   transactions  each: varint code, then user, command, arguments, request and
 *                 effects, as length and bytes
 *
 * Applying compares the digest first, so every entry proves once more that replicas
 * agree (design.md 2.1). It is all or nothing: a malformed or refused effect anywhere
 * undoes the whole group, and the caller decides what such a node does next. */
#include "store/effect.h"

#include "base/assert.h"
#include "store/store_impl.h"

#define HEAD_BYTES   28
#define HEAD_COUNT   24 /* where the number of transactions stands */
#define TX_BYTES_MIN 6

void entry_begin(struct buf *out, uint64_t time_ms, uint64_t digest_before, uint32_t feature_level)
{
    ASSERT(out->len == 0);
    buf_put_u32(out, ENTRY_VERSION);
    buf_put_u32(out, feature_level);
    buf_put_u64(out, time_ms);
    buf_put_u64(out, digest_before);
    buf_put_u32(out, 0);
}

void entry_add(struct buf *out, const struct entry_tx *tx)
{
    ASSERT(tx->code >= 0);
    buf_put_varint(out, (uint64_t)tx->code);
    buf_put_span(out, tx->user);
    buf_put_span(out, tx->command);
    buf_put_span(out, tx->args);
    buf_put_span(out, tx->request);
    buf_put_span(out, tx->effects);
}

void entry_end(struct buf *out, uint32_t transactions)
{
    buf_set_u32(out, HEAD_COUNT, transactions);
}

int entry_open(struct reader *r, const void *data, size_t len, struct entry_head *head,
               struct error *e)
{
    reader_init(r, data, len);
    head->version = reader_u32(r);
    head->feature_level = reader_u32(r);
    head->time_ms = reader_u64(r);
    head->digest_before = reader_u64(r);
    head->transactions = reader_u32(r);
    if (r->failed) {
        return error_set(e, ERR_CORRUPT, "entry: shorter than its head");
    }
    if (head->version != ENTRY_VERSION) {
        r->failed = true;
        return error_set(e, ERR_CORRUPT, "entry: version %u is not known here", head->version);
    }
    if (head->transactions > reader_left(r) / TX_BYTES_MIN) {
        r->failed = true;
        return error_set(e, ERR_CORRUPT, "entry: counts more transactions than it holds");
    }
    return 0;
}

int entry_next(struct reader *r, struct entry_tx *tx, struct error *e)
{
    uint64_t code = reader_varint(r);
    tx->user = reader_bytes(r);
    tx->command = reader_bytes(r);
    tx->args = reader_bytes(r);
    tx->request = reader_bytes(r);
    tx->effects = reader_bytes(r);
    if (r->failed || code >= ERR_COUNT_) {
        r->failed = true;
        return error_set(e, ERR_CORRUPT, "entry: malformed transaction");
    }
    tx->code = (int)code;
    return 0;
}

/* Every effect of one transaction. The store refuses only what its leader's store
 * would have refused too, so a refusal here means that the two differ. */
static int apply_tx(struct store *s, const struct entry_tx *tx, struct buf *scratch,
                    struct error *e)
{
    struct reader r;
    struct effect f;
    reader_init(&r, tx->effects.data, tx->effects.len);
    while (reader_left(&r) > 0) {
        int rc = effect_decode(&r, &f, scratch, e);
        if (rc != 0) {
            return rc;
        }
        rc = store_do(s, &f, e);
        if (rc != 0) {
            error_prefix(e, "effect %d refused", (int)f.kind);
            return rc == ERR_NOMEM ? rc : ERR_CORRUPT;
        }
    }
    return 0;
}

/* Asks for the memory that a transaction further on will want, so that it is there when
 * its turn comes: most of a booking's time in a large store is waiting for it. Reads
 * only; bytes that make no sense are for apply_tx to refuse. */
static void look_ahead(const struct store *s, struct reader *ahead, struct buf *scratch)
{
    struct entry_tx tx;
    struct reader r;
    struct effect f;
    if (entry_next(ahead, &tx, NULL) == 0) {
        reader_init(&r, tx.effects.data, tx.effects.len);
        if (effect_decode(&r, &f, scratch, NULL) == 0 && f.kind == EFFECT_TAKE) {
            take_prefetch(s, &f);
        }
    }
}

#define LOOK_AHEAD 4 /* transactions: some 4 us, several times what memory takes */

static int apply_all(struct store *s, struct reader *r, uint32_t transactions, struct error *e)
{
    struct buf scratch = BUF_INIT;
    struct reader ahead = *r;
    uint32_t seen = 0;
    int rc = 0;
    for (uint32_t i = 0; i < transactions && rc == 0; i++) {
        struct entry_tx tx;
        for (; seen < transactions && seen < i + LOOK_AHEAD; seen++) {
            look_ahead(s, &ahead, &scratch);
        }
        rc = entry_next(r, &tx, e);
        if (rc == 0) {
            store_tx_begin(s);
            rc = apply_tx(s, &tx, &scratch, e);
            if (rc == 0) {
                store_tx_end(s);
            } else {
                store_tx_undo(s);
            }
        }
    }
    if (rc == 0 && reader_left(r) > 0) {
        rc = error_set(e, ERR_CORRUPT, "%zu bytes follow the last transaction", reader_left(r));
    }
    buf_free(&scratch);
    return rc;
}

int entry_apply(struct store *s, const void *data, size_t len, uint64_t index, struct error *e)
{
    struct reader r;
    struct entry_head head;
    int rc = entry_open(&r, data, len, &head, e);
    if (rc != 0) {
        return rc;
    }
    if (head.digest_before != store_digest(s)) {
        return error_set(e, ERR_CONFLICT,
                         "entry %llu: the state here (digest %016llx) is not the leader's "
                         "(%016llx)",
                         (unsigned long long)index, (unsigned long long)store_digest(s),
                         (unsigned long long)head.digest_before);
    }
    if (head.time_ms < store_time_ms(s) || index <= store_index(s)) {
        return error_set(e, ERR_CORRUPT, "entry %llu: its time or index goes back",
                         (unsigned long long)index);
    }
    store_group_begin(s, head.time_ms, index);
    rc = apply_all(s, &r, head.transactions, e);
    if (rc != 0) {
        store_group_cancel(s);
        error_prefix(e, "entry %llu", (unsigned long long)index);
        if (e != NULL) {
            e->code = rc;
        }
        return rc;
    }
    store_group_seal(s);
    return 0;
}
