/* Receiving a snapshot and putting it in place of log and state.
 *
 *   BEGIN -> chunks: each goes to a file (journal) and to a loader (worker job) at the same
 *   time; acknowledged when both have taken it -> last: the loader verifies checksum, digest
 *   and invariants in a job -> the file is synced and renamed (while a job takes long the last
 *   acknowledgement is repeated, so that the sender knows us there) -> the core is given the
 *   InstallSnapshot -> it asks for the install: the log restarts behind the snapshot ->
 *   RAFT_PERSISTED_SNAPSHOT, the store pointer is swapped
 *
 * Until the core has the message nothing of this node has changed: it goes on following,
 * voting and serving its old state. If the core finds it needless, file and store are
 * dropped; a complete snapshot file is true in any case, since leaders send committed state.
 *
 * How it fails: sender gone, a newer sender, a gap, damage, a full disk: the part file is
 * removed and SNAP_FAILED is sent; the leader starts over after a pause.
 *
 * Invariants
 *   SR1 one transfer at a time; a begin from a term not older replaces the one before
 *   SR2 a file gets its final name only after its content was loaded and verified
 *   SR3 between the install request and RAFT_PERSISTED_SNAPSHOT nothing is applied, and
 *       appends under way count for nothing (the log they belong to is gone) */
#define LOG_MODULE "snapshot"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"

#define CHUNKS_MAX  8 /* the sender keeps at most 4 in flight */
#define STALL_MS    20000
/* Repeated acknowledgements: some before the sender's patience (snapshot_send.c) ends. */
#define STILL_MS    3000
/* The leader tries again and again: a full disk may stay full. */
#define DROP_LOG_MS 60000

struct chunk {
    struct buf bytes;
    bool last;
};

struct snap_recv {
    struct cluster *c;
    char address[ADDRESS_BYTES_MAX + 1];
    uint64_t node_id, transfer, raft_term, index, term;
    struct buf meta;
    struct journal_snapshot_writer *writer;
    struct store_loader *loader;
    struct store *loaded;
    struct chunk queue[CHUNKS_MAX];
    unsigned queued;
    uint64_t expected, taken; /* bytes arrived, bytes written and loaded */
    struct env_job job;
    struct buf feed; /* the loader's copy of the chunk */
    bool feeding, writing, finishing, ending, aborted;
    int status;
    struct error error;
    uint64_t heard_ms, told_ms; /* from and to the sender */
};

static void recv_free(struct snap_recv *r)
{
    if (r->writer != NULL) {
        journal_snapshot_abandon(r->writer);
    }
    if (r->loader != NULL) {
        store_load_abort(r->loader);
    }
    if (r->loaded != NULL) {
        store_free(r->loaded);
    }
    for (unsigned i = 0; i < r->queued; i++) {
        buf_free(&r->queue[i].bytes);
    }
    buf_free(&r->feed);
    buf_free(&r->meta);
    mem_free(r);
}

static bool busy(const struct snap_recv *r) { return r->feeding || r->writing || r->finishing; }

static void send_ack(struct snap_recv *r, enum snap_ack state)
{
    struct peer *p = peer_find(r->c, r->address);
    r->told_ms = now_ms(r->c);
    if (p != NULL) {
        struct buf b = BUF_INIT;
        wire_put_words(&b, WIRE_SNAP_ACK, 3, r->transfer, r->taken, state);
        peer_send(r->c, p, &b);
    }
}

void snapshot_receive_abort(struct cluster *c)
{
    struct snap_recv *r = c->recv;
    if (r == NULL) {
        return;
    }
    c->recv = NULL;
    r->aborted = true;
    if (!busy(r)) {
        recv_free(r);
    }
}

static void fail(struct snap_recv *r, const char *why)
{
    if (log_allowed(&r->c->recv_log, now_ms(r->c), DROP_LOG_MS)) {
        log_warn("the snapshot of entry %llu from %s was dropped: %s", (unsigned long long)r->index,
                 r->address, why);
    }
    send_ack(r, SNAP_FAILED);
    snapshot_receive_abort(r->c);
}

/* ---- The end: give it to the core ----------------------------------------------------- */

static void give_to_core(struct cluster *c, struct snap_recv *r)
{
    struct raft_message m = { .type = RAFT_INSTALL_SNAPSHOT };
    struct span conf;
    uint64_t conf_index = 0;
    m.server_id = r->node_id;
    m.server_address = r->address;
    m.install_snapshot.version = 0;
    m.install_snapshot.term = r->raft_term;
    m.install_snapshot.last_index = r->index;
    m.install_snapshot.last_term = r->term;
    int rv =
        snapshot_meta_get(span_make((char *)r->meta.data, r->meta.len), &conf_index, &conf, NULL);
    struct raft_buffer b = { (void *)(uintptr_t)conf.data, conf.len };
    if (rv != 0 || raft_configuration_decode(&b, &m.install_snapshot.conf) != 0) {
        log_error("the snapshot's configuration cannot be read");
        return;
    }
    m.install_snapshot.conf_index = conf_index;
    c->install_store = r->loaded;
    struct raft_event event = { .type = RAFT_RECEIVE };
    event.receive.message = &m;
    driver_stepped(c, driver_step(c, &event), "snapshot");
    if (c->installing) {
        r->loaded = NULL; /* on_restarted swaps it in */
    } else {
        c->install_store = NULL; /* the core has no need of it */
    }
}

static void on_finished(void *arg, int status)
{
    struct snap_recv *r = arg;
    struct cluster *c = r->c;
    c->jobs--;
    r->finishing = false;
    if (!r->aborted) {
        c->recv = NULL;
        bool able = status == 0 && c->raft_on && !c->dead && !c->quarantined && !c->installing &&
                    c->raft.state != RAFT_LEADER;
        send_ack(r, able ? SNAP_DONE : SNAP_FAILED);
        if (able) {
            give_to_core(c, r);
        }
    }
    recv_free(r);
    cluster_pump(c);
    cluster_finish_stop(c);
}

/* ---- Install ----------------------------------------------------------------------------- */

static void on_restarted(void *arg, int status)
{
    struct cluster *c = arg;
    if (status == 0 && c->raft_on && !c->dead) {
        struct raft_event event = { .type = RAFT_PERSISTED_SNAPSHOT };
        uint64_t index = c->install_meta.index;
        event.persisted_snapshot.metadata = c->install_meta;
        event.persisted_snapshot.last = true;
        memset(&c->install_meta, 0, sizeof c->install_meta);
        store_free(c->store);
        c->store = c->install_store;
        c->install_store = NULL;
        c->applied = index;
        c->suspect_index = 0;
        c->installing = false;
        driver_stepped(c, driver_step(c, &event), "snapshot persisted");
        learn_again(c);
        peers_sync(c);
        log_info("installed the snapshot of entry %llu", (unsigned long long)index);
        if (c->o.on.restored != NULL && !c->dead) {
            c->o.on.restored(c->o.arg, c->store);
        }
        c->again = true;
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

/* Called from inside the update loop: the core has thrown its log away (SR3). */
void snapshot_install(struct cluster *c, struct raft_snapshot_metadata *meta)
{
    ASSERT(c->install_store != NULL && !c->installing && c->own_count == 0);
    snapshot_abandon(c); /* it reads the store that goes */
    c->installing = true;
    c->install_meta = *meta;
    struct raft_buffer b;
    if (raft_configuration_encode(&meta->configuration, &b) == 0) {
        apply_set_conf(c, meta->configuration_index, b.base, b.len);
        raft_free(b.base);
    } else {
        cluster_fail(c, true, ERR_NOMEM, "out of memory");
    }
    log_cache_restart(&c->log, meta->index, meta->term);
    for (struct append *a = c->appends; a != NULL; a = a->next) {
        a->n = 0;
    }
    c->bytes_since_snapshot = 0;
    journal_restart(c->journal, meta->index, on_restarted, c);
}

/* ---- Chunks -----------------------------------------------------------------------------------
 */

static void take_next(struct snap_recv *r);

/* One of the two consumers is done; the second one ends the chunk. */
static void step_done(struct snap_recv *r)
{
    struct cluster *c = r->c;
    c->jobs--;
    if (r->aborted) {
        if (!busy(r)) {
            recv_free(r);
        }
    } else if (!busy(r)) {
        if (r->status != 0) {
            fail(r, r->error.message[0] != '\0' ? r->error.message : error_text(r->status));
        } else if (r->ending) {
            struct journal_snapshot_writer *w = r->writer; /* SR2 */
            r->writer = NULL;
            r->finishing = true;
            c->jobs++;
            journal_snapshot_finish(w, on_finished, r);
        } else {
            r->taken += r->feed.len;
            send_ack(r, SNAP_OK);
            take_next(r);
        }
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void on_written(void *arg, int status)
{
    struct snap_recv *r = arg;
    r->writing = false;
    if (status != 0) {
        r->status = status;
    }
    step_done(r);
}

static void run_feed(struct env_job *job)
{
    struct snap_recv *r = job->arg;
    int rv;
    if (r->ending) {
        rv = store_load_end(r->loader, &r->loaded, &r->error);
        r->loader = NULL;
        rv = rv != 0 ? rv : feature_check_store(r->c, r->loaded, &r->error);
    } else {
        rv = store_load_feed(r->loader, r->feed.data, r->feed.len, &r->error);
    }
    if (rv != 0) {
        r->feed.failed = true; /* r->status belongs to the loop thread */
    }
}

static void done_feed(struct env_job *job)
{
    struct snap_recv *r = job->arg;
    r->feeding = false;
    if (r->feed.failed) {
        r->status = r->error.code != 0 ? r->error.code : ERR_CORRUPT;
        r->feed.failed = false;
    }
    step_done(r);
}

static void start_feed(struct snap_recv *r)
{
    r->feeding = true;
    r->c->jobs++;
    r->job.run = run_feed;
    r->job.done = done_feed;
    r->job.arg = r;
    r->c->env->ops->job(r->c->env, &r->job);
}

static void take_next(struct snap_recv *r)
{
    if (busy(r) || r->queued == 0) {
        return;
    }
    struct chunk chunk = r->queue[0];
    r->queued--;
    memmove(r->queue, r->queue + 1, r->queued * sizeof r->queue[0]);
    buf_clear(&r->feed);
    if (chunk.last) {
        buf_free(&chunk.bytes);
        r->ending = true;
        start_feed(r);
        return;
    }
    buf_put(&r->feed, chunk.bytes.data, chunk.bytes.len);
    if (r->feed.failed) {
        buf_free(&chunk.bytes);
        r->feed.failed = false;
        fail(r, "out of memory");
        return;
    }
    r->writing = true;
    r->c->jobs++;
    start_feed(r);
    journal_snapshot_write(r->writer, &chunk.bytes, on_written, r);
}

void snapshot_receive_chunk(struct cluster *c, struct peer *p, struct reader *in)
{
    struct snap_recv *r = c->recv;
    uint64_t transfer = reader_u64(in), offset = reader_u64(in);
    bool last = reader_u8(in) != 0;
    size_t len = reader_left(in);
    const uint8_t *bytes = reader_raw(in, len);
    if (r == NULL || in->failed || r->transfer != transfer || r->node_id != p->node_id) {
        return;
    }
    r->heard_ms = now_ms(c);
    if (offset != r->expected || r->queued == CHUNKS_MAX || (last && len > 0) ||
        (!last && (len == 0 || len > SNAPSHOT_CHUNK_BYTES))) {
        fail(r, "a chunk is missing");
        return;
    }
    struct chunk *chunk = &r->queue[r->queued];
    buf_init(&chunk->bytes);
    chunk->last = last;
    buf_put(&chunk->bytes, bytes, len);
    if (chunk->bytes.failed) {
        fail(r, "out of memory");
        return;
    }
    r->queued++;
    r->expected += len;
    take_next(r);
}

void snapshot_receive_begin(struct cluster *c, struct peer *p, const struct wire_snapshot *s)
{
    uint64_t conf_index;
    struct span conf;
    if (!c->raft_on || c->dead || c->quarantined || c->installing ||
        s->raft_term < c->raft.current_term || s->index <= c->log.snapshot_index ||
        snapshot_meta_get(s->meta, &conf_index, &conf, NULL) != 0) {
        struct buf b = BUF_INIT;
        wire_put_words(&b, WIRE_SNAP_ACK, 3, s->transfer, 0, SNAP_FAILED);
        peer_send(c, p, &b);
        return;
    }
    if (c->recv != NULL && c->recv->raft_term > s->raft_term) {
        return; /* SR1 */
    }
    snapshot_receive_abort(c);
    struct snap_recv *r = mem_zalloc(sizeof *r);
    if (r == NULL) {
        return;
    }
    r->c = c;
    snprintf(r->address, sizeof r->address, "%s", p->address);
    r->node_id = p->node_id;
    r->transfer = s->transfer;
    r->raft_term = s->raft_term;
    r->index = s->index;
    r->term = s->term;
    r->heard_ms = r->told_ms = now_ms(c);
    buf_put(&r->meta, s->meta.data, s->meta.len);
    r->loader = store_load_begin();
    if (!r->meta.failed && r->loader != NULL) {
        r->writer = journal_snapshot_create(c->journal, r->index, r->term, s->meta);
    }
    if (r->writer == NULL) {
        recv_free(r);
        return;
    }
    c->recv = r;
    log_info("receiving the snapshot of entry %llu, %llu bytes, from %s",
             (unsigned long long)s->index, (unsigned long long)s->bytes, p->address);
}

void snapshot_receive_tick(struct cluster *c)
{
    struct snap_recv *r = c->recv;
    if (r == NULL) {
        return;
    }
    if (busy(r)) {
        if (now_ms(c) - r->told_ms >= STILL_MS) {
            send_ack(r, SNAP_OK);
        }
    } else if (now_ms(c) - r->heard_ms > STALL_MS) {
        fail(r, "the sender is gone");
    }
}
