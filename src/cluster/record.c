/* Cluster records: small named blobs in the store that the leader sets by an entry of its own,
 * one transaction whose command is the record's name (docs/formats.md). */
#define LOG_MODULE "cluster"

#include "base/log.h"
#include "cluster/internal.h"

/* The open batch becomes one transaction that sets the record. */
static int fill_batch(struct cluster *c, const char *name, struct span bytes, uint64_t time_ms,
                      struct buf *entry, struct error *e)
{
    struct effect f = { .kind = EFFECT_RECORD_SET, .id = span_of(name), .text = bytes };
    entry_begin(entry, time_ms, cluster_batch_digest(c), cluster_feature_level(c));
    store_tx_begin(c->store);
    int rv = store_do(c->store, &f, e);
    if (rv != 0) {
        store_tx_undo(c->store);
        return rv;
    }
    struct entry_tx tx = { .user = span_of(""),
                           .command = span_of(name),
                           .args = span_make("\0", 1), /* a list of none */
                           .request = span_of(""),
                           .effects = store_tx_effects(c->store) };
    entry_add(entry, &tx);
    store_tx_end(c->store);
    entry_end(entry, 1);
    return 0;
}

int record_save(struct cluster *c, const char *name, struct span bytes, uint64_t *index,
                struct error *e)
{
    uint64_t at = 0, time_ms = 0;
    struct buf entry = BUF_INIT;
    int rv = cluster_batch_open(c, &at, &time_ms, e);
    if (rv != 0) {
        return rv;
    }
    rv = fill_batch(c, name, bytes, time_ms, &entry, e);
    if (rv != 0) {
        buf_free(&entry);
        cluster_batch_abandon(c);
        log_error("the record %s was refused: %s", name, e->message);
        return rv;
    }
    rv = cluster_batch_propose(c, &entry, e);
    if (rv == 0) {
        c->own[c->own_count - 1].internal = true;
        if (index != NULL) {
            *index = at;
        }
    }
    return rv;
}
