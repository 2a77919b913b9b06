/* Own snapshots: written in slices beside the traffic, then the log is cut.
 *
 *   idle -> slices (one store_snapshot_next per turn, then wait for the journal's flow
 *   control) -> finishing (sync, rename) -> the core and the log are told -> idle
 *
 * The store keeps the state as of the begin by itself (copy on write), so applying goes on.
 * A snapshot that the leader installs here meanwhile makes ours worthless: abandoned.
 *
 * How it fails: a write error is the journal's fatal error; a full disk, no descriptor and no
 * memory fail the snapshot, and the next one is begun after RETRY_MS (SN5). A file that turns out
 * to be damaged when it is sent or backed up is written anew: the state that it was made of is
 * still here.
 *
 * Invariants
 *   SN1 the snapshot's index is `applied` at its begin, its term the log's, its
 *       configuration the newest one applied
 *   SN2 at least one entry stays in the log behind it (engine.md: trailing)
 *   SN3 while a snapshot is on its way to a follower the log is not cut unless it has grown
 *       to four times the trigger: the follower needs what comes after
 *   SN4 while the newest file is bad nobody is sent it and no backup is made of it; it is
 *       written every RETRY_MS until it is whole, at the same entry when none came after
 *   SN5 bytes_since_snapshot begins anew with a snapshot; one that fails gives its bytes back */
#define LOG_MODULE "snapshot"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

/* Store bytes per turn: well under a millisecond of encoding. */
#define SLICE_BYTES        (128 * 1024)
/* Log kept behind a snapshot, so that a follower that was briefly away needs none. */
#define TRAILING_BYTES_MIN (1024 * 1024)
#define TRIGGER_BYTES      (64ull * 1024 * 1024)
#define META_VERSION       1
/* After one that failed, and between two tries to write a damaged one anew: a broken or full disk
 * is not written to for ever. */
#define RETRY_MS           10000

struct snap_own {
    struct cluster *c; /* NULL once abandoned while a callback is out */
    struct snapshot *snap;
    struct journal_snapshot_writer *writer;
    uint64_t index, term, bytes;
    uint64_t log_bytes; /* bytes_since_snapshot at its begin (SN5) */
    struct buf meta;
    bool writing; /* a journal callback is out */
    bool last;
};

void snapshot_meta_put(struct buf *b, uint64_t conf_index, const void *conf, size_t len)
{
    buf_put_u8(b, META_VERSION);
    buf_put_u64(b, conf_index);
    buf_put_bytes(b, conf, len);
}

int snapshot_meta_get(struct span meta, uint64_t *conf_index, struct span *conf, struct error *e)
{
    struct reader r;
    reader_init(&r, meta.data, meta.len);
    uint8_t version = reader_u8(&r);
    *conf_index = reader_u64(&r);
    *conf = reader_bytes(&r);
    if (r.failed || reader_left(&r) != 0 || version != META_VERSION || *conf_index == 0) {
        return error_set(e, ERR_CORRUPT, "the snapshot's header is damaged");
    }
    return message_check_configuration(conf->data, conf->len, e);
}

static uint64_t trigger_bytes(const struct cluster *c)
{
    if (c->o.snapshot_bytes != 0) {
        return c->o.snapshot_bytes;
    }
    return c->snapshot_size > TRIGGER_BYTES ? c->snapshot_size : TRIGGER_BYTES;
}

static void answer_waiters(struct cluster *c, int status)
{
    while (c->snapshot_waiters != NULL) {
        struct later *w = c->snapshot_waiters;
        c->snapshot_waiters = w->next;
        cluster_later(c, w->cb, w->arg, status);
        mem_free(w);
    }
}

static void own_free(struct snap_own *s)
{
    buf_free(&s->meta);
    mem_free(s);
}

/* ---- The end: the core, the log, the journal ------------------------------------- */

/* Entries <= the result are dropped: what stays is about trigger / 8 bytes, at least one. */
static uint64_t drop_to(const struct cluster *c, uint64_t index)
{
    uint64_t keep = trigger_bytes(c) / 8, bytes = 0, at = index;
    if (keep < TRAILING_BYTES_MIN && c->o.snapshot_bytes == 0) {
        keep = TRAILING_BYTES_MIN;
    }
    while (at > c->log.first) { /* SN2: `index` itself always stays */
        const struct log_entry *e = log_cache_get(&c->log, at);
        bytes += e->len;
        if (bytes > keep) {
            break;
        }
        at--;
    }
    return at - 1;
}

static void snapshot_took(struct cluster *c, struct snap_own *s)
{
    if (snapshot_is_bad(c) && s->index == c->bad_snapshot) {
        c->bad_snapshot = 0;
        log_info("snapshot of entry %llu written anew", (unsigned long long)s->index);
        return; /* the core and the log know it */
    }
    if (s->index <= c->log.snapshot_index || log_cache_get(&c->log, s->index) == NULL ||
        log_cache_term(&c->log, s->index) != s->term) {
        return; /* an installed snapshot has overtaken it */
    }
    uint64_t drop = drop_to(c, s->index);
    struct span conf;
    struct raft_event event = { .type = RAFT_SNAPSHOT };
    struct raft_snapshot_metadata *m = &event.snapshot.metadata;
    m->index = s->index;
    m->term = s->term;
    uint64_t conf_index = 0;
    int rv =
        snapshot_meta_get(span_make((char *)s->meta.data, s->meta.len), &conf_index, &conf, NULL);
    struct raft_buffer b = { (void *)(uintptr_t)conf.data, conf.len };
    if (rv != 0 || raft_configuration_decode(&b, &m->configuration) != 0) {
        cluster_fail(c, true, ERR_INTERNAL, "the snapshot's own header cannot be read");
        return;
    }
    m->configuration_index = conf_index;
    event.snapshot.trailing = (unsigned)(s->index - drop);
    driver_stepped(c, driver_step(c, &event), "snapshot"); /* takes the configuration */
    log_cache_snapshot(&c->log, s->index, s->term, drop);
    journal_compact(c->journal, c->log.first);
    c->snapshot_size = s->bytes;
    log_info("snapshot of entry %llu written, %llu bytes; the log keeps %zu entries",
             (unsigned long long)s->index, (unsigned long long)s->bytes, c->log.count);
}

static void retry_later(struct cluster *c, const struct snap_own *s)
{
    c->bytes_since_snapshot += s->log_bytes;
    c->own_retry_ms = now_ms(c) + RETRY_MS;
}

static void on_finished(void *arg, int status)
{
    struct snap_own *s = arg;
    struct cluster *c = s->c;
    c->jobs--;
    if (c->own_snapshot == s) {
        c->own_snapshot = NULL;
        if (status != 0) {
            retry_later(c, s);
        } else if (c->raft_on && !c->dead && !c->installing && !c->quarantined) {
            snapshot_took(c, s);
        }
        answer_waiters(c, status);
    }
    own_free(s);
    cluster_pump(c);
    cluster_finish_stop(c);
}

/* ---- Slices --------------------------------------------------------------------------- */

static void write_slice(struct snap_own *s);

static void abandon(struct snap_own *s)
{
    if (s->snap != NULL) {
        store_snapshot_end(s->snap);
        s->snap = NULL;
    }
    if (s->writer != NULL) {
        journal_snapshot_abandon(s->writer);
        s->writer = NULL;
    }
}

/* `s` is gone afterwards. */
static void own_failed(struct snap_own *s, int status)
{
    retry_later(s->c, s);
    answer_waiters(s->c, status);
    snapshot_abandon(s->c);
}

static void on_written(void *arg, int status)
{
    struct snap_own *s = arg;
    struct cluster *c = s->c;
    c->jobs--;
    s->writing = false;
    if (c->own_snapshot != s) {
        own_free(s); /* abandoned meanwhile */
    } else if (status != 0) {
        own_failed(s, status);
    } else if (c->dead) {
        snapshot_abandon(c);
    } else {
        write_slice(s);
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void finish(struct snap_own *s)
{
    struct journal_snapshot_writer *w = s->writer;
    store_snapshot_end(s->snap);
    s->snap = NULL;
    s->writer = NULL;
    s->writing = true;
    s->c->jobs++;
    journal_snapshot_finish(w, on_finished, s);
}

static void write_slice(struct snap_own *s)
{
    if (s->last) {
        finish(s);
        return;
    }
    struct buf b = BUF_INIT;
    struct error e = { 0 };
    bool done = false;
    if (store_snapshot_next(s->snap, SLICE_BYTES, &b, &done, &e) != 0 || b.failed) {
        log_error("a snapshot was given up: %s", e.message);
        buf_free(&b);
        own_failed(s, ERR_NOMEM);
        return;
    }
    s->last = done;
    s->bytes += b.len;
    s->writing = true;
    s->c->jobs++;
    journal_snapshot_write(s->writer, &b, on_written, s);
}

static int begin(struct cluster *c)
{
    struct error e = { 0 };
    struct snap_own *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return ERR_NOMEM;
    }
    s->c = c;
    s->index = c->applied;
    s->term = log_cache_term(&c->log, c->applied); /* SN1 */
    snapshot_meta_put(&s->meta, c->conf_index, c->conf.data, c->conf.len);
    ASSERT(s->term != 0);
    if (s->meta.failed || store_snapshot_begin(c->store, &s->snap, &e) != 0) {
        own_free(s);
        return ERR_NOMEM;
    }
    s->writer = journal_snapshot_create(c->journal, s->index, s->term,
                                        span_make((char *)s->meta.data, s->meta.len));
    if (s->writer == NULL) {
        abandon(s);
        own_free(s);
        return ERR_NOMEM;
    }
    s->log_bytes = c->bytes_since_snapshot;
    c->bytes_since_snapshot = 0;
    c->own_snapshot = s;
    write_slice(s);
    return 0;
}

/* After this the store may be replaced or freed. Waiters get ERR_CANCELED. */
void snapshot_abandon(struct cluster *c)
{
    struct snap_own *s = c->own_snapshot;
    answer_waiters(c, ERR_CANCELED);
    if (s == NULL) {
        return;
    }
    c->own_snapshot = NULL;
    abandon(s);
    if (!s->writing) {
        own_free(s); /* else by the callback that is out */
    }
}

static bool possible(const struct cluster *c)
{
    return c->raft_on && !c->dead && !c->quarantined && !c->installing && c->own_snapshot == NULL &&
           !c->batch && c->suspect_index == 0 && c->conf.len > 0 &&
           (c->applied > c->log.snapshot_index || snapshot_is_bad(c)) &&
           log_cache_term(&c->log, c->applied) != 0;
}

bool snapshot_is_bad(const struct cluster *c)
{
    return c->bad_snapshot != 0 && c->bad_snapshot == c->log.snapshot_index;
}

bool snapshot_unreadable(struct cluster *c, uint64_t index, int status, const struct error *e)
{
    if (status != ERR_CORRUPT && status != ERR_IO && status != ERR_NOTFOUND) {
        return false;
    }
    if (index == c->log.snapshot_index && !snapshot_is_bad(c)) {
        log_error("%s: a new snapshot takes its place", e->message);
        c->bad_snapshot = index;
    }
    return true;
}

void snapshot_run(struct cluster *c)
{
    uint64_t trigger = trigger_bytes(c);
    if (snapshot_send_active(c)) {
        trigger *= 4; /* SN3 */
    }
    bool again = snapshot_is_bad(c) && now_ms(c) >= c->bad_retry_ms;
    bool due = c->bytes_since_snapshot >= trigger && now_ms(c) >= c->own_retry_ms;
    bool wanted = c->snapshot_waiters != NULL || due || again;
    if (!wanted || c->own_snapshot != NULL) {
        return;
    }
    if (!possible(c)) {
        if (c->snapshot_waiters != NULL && c->raft_on && !c->installing) {
            answer_waiters(c, c->applied == c->log.snapshot_index ? 0 : ERR_NOTREADY);
        }
        return;
    }
    c->bad_retry_ms = snapshot_is_bad(c) ? now_ms(c) + RETRY_MS : 0;
    if (begin(c) != 0) {
        answer_waiters(c, ERR_NOMEM);
        c->own_retry_ms = now_ms(c) + RETRY_MS;
    }
}

void cluster_snapshot(struct cluster *c, cluster_read_cb cb, void *arg)
{
    cluster_kick(c);
    struct later *w = mem_zalloc(sizeof *w);
    if (w == NULL || c->dead || !c->raft_on) {
        mem_free(w);
        cluster_later(c, cb, arg, ERR_NOTREADY);
        return;
    }
    w->cb = cb;
    w->arg = arg;
    w->next = c->snapshot_waiters;
    c->snapshot_waiters = w;
}

/* ---- Start-up -------------------------------------------------------------------------------- */

static int load_all(struct cluster *c, struct journal_snapshot_reader *r, struct error *e)
{
    struct store_loader *loader = store_load_begin();
    uint8_t *chunk = mem_alloc(SNAPSHOT_CHUNK_BYTES);
    int rv = loader != NULL && chunk != NULL ? 0 : error_set(e, ERR_NOMEM, "out of memory");
    size_t got = 1;
    while (rv == 0 && got > 0) {
        rv = journal_snapshot_read(r, chunk, SNAPSHOT_CHUNK_BYTES, &got, e);
        if (rv == 0 && got > 0) {
            rv = store_load_feed(loader, chunk, got, e);
        }
    }
    mem_free(chunk);
    struct store *loaded = NULL;
    if (rv != 0) {
        if (loader != NULL) {
            store_load_abort(loader);
        }
        return rv;
    }
    rv = store_load_end(loader, &loaded, e);
    if (rv == 0) {
        store_free(c->store);
        c->store = loaded;
    }
    return rv;
}

int snapshot_restore(struct cluster *c, uint64_t index, uint64_t term, struct error *e)
{
    struct journal_snapshot_reader *r = NULL;
    struct buf meta = BUF_INIT;
    struct span conf;
    uint64_t conf_index = 0;
    int rv = journal_snapshot_open(c->journal, index, term, &r, &meta, &c->snapshot_size, e);
    if (rv == 0) {
        rv = snapshot_meta_get(span_make((char *)meta.data, meta.len), &conf_index, &conf, e);
    }
    if (rv == 0) {
        apply_set_conf(c, conf_index, conf.data, conf.len);
        rv = load_all(c, r, e);
    }
    if (r != NULL) {
        journal_snapshot_close(r);
    }
    buf_free(&meta);
    if (rv != 0) {
        error_prefix(e, "snapshot of entry %llu", (unsigned long long)index);
    }
    return rv;
}
