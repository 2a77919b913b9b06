/* A backup as a stream of pieces (see backup.h).
 *
 *   PROVING     the read index is asked for (left out with `local`)
 *   WAITING     for a snapshot of that index or a later one
 *   READING     its file is read in jobs: header and first blocks, blocks, ..., trailer
 *   ENDED       the last piece was given out, or an error
 *
 * A snapshot file is the committed state at one index, so is the backup; the configuration
 * in it stays behind: a restored cluster has its own.
 *
 * How it fails: nobody proves leadership (NOQUORUM, with what to do), the snapshot cannot be
 * written (its error): one error, then nothing. A file that is damaged is written anew (SN4): a
 * backup of which nothing was given out yet is made of that one, a later one ends (CORRUPT).
 *
 * Invariants
 *   B1 the snapshot's index is not below the read index
 *   B2 while something of it is out (`busy`) the object lives on; freed, it only ends then */
#define LOG_MODULE "backup"

#include "cluster/backup.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "raftio/journal_format.h"

#define PIECE_BYTES   (256 * 1024)
/* A received snapshot or a leader change may spoil a snapshot under way. */
#define SNAPSHOTS_TRY 8

enum backup_state { BACKUP_NEW, BACKUP_PROVING, BACKUP_WAITING, BACKUP_READING, BACKUP_ENDED };

struct cluster_backup {
    struct cluster *c;
    bool local, busy, freed;
    enum backup_state state;
    unsigned tries;
    cluster_backup_cb cb;
    void *arg;
    uint64_t need; /* B1 */
    struct env_job job;
    struct journal_snapshot_reader *reader;
    struct buf meta, raw, out;
    struct backup_head head;
    struct snapshot_trailer written;
    uint64_t bytes;
    bool last;
    int status;
    struct error error;
};

static void destroy(struct cluster_backup *b)
{
    journal_snapshot_close(b->reader);
    buf_free(&b->meta);
    buf_free(&b->raw);
    buf_free(&b->out);
    mem_free(b);
}

/* Something came back. True: the object was given up meanwhile and is gone. */
static bool back(struct cluster_backup *b)
{
    ASSERT(b->busy);
    b->busy = false;
    if (b->freed) {
        destroy(b);
        return true;
    }
    return false;
}

static void give_error(struct cluster_backup *b, int code, const struct error *e)
{
    cluster_backup_cb cb = b->cb;
    b->state = BACKUP_ENDED;
    b->cb = NULL;
    if (cb != NULL) {
        cb(b->arg, code, e, &b->out, true);
    }
}

static void fail(struct cluster_backup *b, int code)
{
    struct error e;
    switch (code) {
    case ERR_NOQUORUM:
        (void)error_set(&e, code, "no leader proves what is the newest state; nothing was written");
        error_hint(&e, "`backup FILE --stale` takes what this node has committed");
        break;
    case ERR_CANCELED:
        (void)error_set(&e, ERR_NOTREADY, "this node is stopping; the backup has ended");
        error_hint(&e, "ask another node");
        break;
    default:
        if (cluster_local_ready(b->c, &e) == 0) {
            (void)error_set(&e, code, "no snapshot can be written now (%s)", error_text(code));
            error_hint(&e, code == ERR_NOSPACE ? "make room on this node's disk, or ask another"
                                               : "try again in a moment, or ask another node");
        }
        break;
    }
    give_error(b, e.code, &e);
}

/* ---- READING: jobs ------------------------------------------------------------------- */

static void first_piece(struct cluster_backup *b)
{
    struct store_snapshot_facts facts;
    uint8_t head[BACKUP_HEADER_BYTES];
    b->status = store_snapshot_peek(b->raw.data, b->raw.len, &facts, &b->error);
    if (b->status != 0) {
        return;
    }
    b->head.time_ms = facts.time_ms;
    b->head.digest = facts.digest;
    backup_head_encode(head, &b->head);
    buf_put(&b->out, head, sizeof head);
}

static void run_job(struct env_job *job)
{
    struct cluster_backup *b = job->arg;
    bool first = b->reader == NULL;
    uint64_t bytes = 0;
    size_t got = 0;
    b->status = 0;
    if (first) {
        b->status = journal_snapshot_open(b->c->journal, b->head.index, b->head.term, &b->reader,
                                          &b->meta, &bytes, &b->error);
    }
    if (b->status == 0 && !buf_reserve(&b->raw, PIECE_BYTES)) {
        b->status = error_set(&b->error, ERR_NOMEM, "out of memory");
    }
    if (b->status == 0) {
        b->status = journal_snapshot_read(b->reader, b->raw.data, PIECE_BYTES, &got, &b->error);
        b->raw.len = got;
    }
    if (b->status == 0 && first) {
        first_piece(b);
    }
    if (b->status != 0) {
        return;
    }
    if (got > 0) {
        backup_put_blocks(&b->out, &b->head, &b->written, b->raw.data, got);
    } else {
        backup_put_trailer(&b->out, &b->head, &b->written);
        b->last = true;
    }
    b->raw.len = 0;
    if (b->out.failed) {
        b->status = error_set(&b->error, ERR_NOMEM, "out of memory");
    }
}

static void want_snapshot(struct cluster_backup *b);

/* True: another snapshot takes the place of this one, and the backup is made of that. */
static bool begin_again(struct cluster_backup *b)
{
    if (!snapshot_unreadable(b->c, b->head.index, b->status, &b->error)) {
        return false;
    }
    if (b->bytes > 0 || ++b->tries >= SNAPSHOTS_TRY) {
        error_hint(&b->error, "a new snapshot takes its place: try again in a moment");
        return false;
    }
    journal_snapshot_close(b->reader);
    b->reader = NULL;
    want_snapshot(b);
    return true;
}

static void done_job(struct env_job *job)
{
    struct cluster_backup *b = job->arg;
    struct cluster *c = b->c;
    c->jobs--;
    if (!back(b)) {
        if (b->status != 0 && begin_again(b)) {
            log_info("a backup waits for another snapshot");
        } else if (b->status != 0) {
            log_error("a backup cannot be read from the snapshot of entry %llu: %s",
                      (unsigned long long)b->head.index, b->error.message);
            give_error(b, b->status, &b->error);
        } else {
            cluster_backup_cb cb = b->cb;
            b->bytes += b->out.len;
            b->cb = NULL;
            b->state = b->last ? BACKUP_ENDED : b->state;
            cb(b->arg, 0, NULL, &b->out, b->last); /* may free b */
        }
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void read_piece(struct cluster_backup *b)
{
    struct cluster *c = b->c;
    if (c->dead) {
        fail(b, ERR_CANCELED);
        return;
    }
    buf_clear(&b->out);
    b->busy = true;
    c->jobs++;
    b->job = (struct env_job){ .run = run_job, .done = done_job, .arg = b };
    c->env->ops->job(c->env, &b->job);
}

/* ---- PROVING, WAITING ------------------------------------------------------------------------ */

static void on_snapshot(void *arg, int status);

static void want_snapshot(struct cluster_backup *b)
{
    struct cluster *c = b->c;
    b->state = BACKUP_WAITING;
    if (c->log.snapshot_index >= b->need && c->log.snapshot_index != 0 && !snapshot_is_bad(c)) {
        b->state = BACKUP_READING;
        b->head.index = c->log.snapshot_index;
        b->head.term = c->log.snapshot_term;
        b->head.cluster_id = c->identity.cluster_id;
        b->head.node_id = c->identity.node_id;
        b->head.taken_ms = c->env->ops->wall_ms(c->env);
        b->head.version = c->o.version;
        b->head.feature_level = cluster_feature_level(c);
        (void)snprintf(b->head.address, sizeof b->head.address, "%s", c->address);
        read_piece(b);
        return;
    }
    b->busy = true;
    cluster_snapshot(c, on_snapshot, b);
}

static void on_snapshot(void *arg, int status)
{
    struct cluster_backup *b = arg;
    if (back(b)) {
        return;
    }
    b->tries++;
    if ((status != 0 && status != ERR_CANCELED) || b->c->dead) {
        fail(b, status != 0 ? status : ERR_CANCELED);
    } else if (b->tries >= SNAPSHOTS_TRY) {
        fail(b, ERR_BUSY);
    } else {
        want_snapshot(b);
    }
}

static void on_index(void *arg, int status, uint64_t index)
{
    struct cluster_backup *b = arg;
    if (back(b)) {
        return;
    }
    if (status != 0) {
        fail(b, status);
        return;
    }
    b->need = index;
    want_snapshot(b);
}

static void begin_later(void *arg, int status)
{
    on_index(arg, status, ((struct cluster_backup *)arg)->c->applied);
}

struct cluster_backup *cluster_backup_new(struct cluster *c, bool local)
{
    struct cluster_backup *b = mem_zalloc(sizeof *b);
    if (b != NULL) {
        b->c = c;
        b->local = local;
    }
    return b;
}

void cluster_backup_next(struct cluster_backup *b, cluster_backup_cb cb, void *arg)
{
    ASSERT(!b->busy && b->cb == NULL && (b->state == BACKUP_NEW || b->state == BACKUP_READING));
    b->cb = cb;
    b->arg = arg;
    if (b->state == BACKUP_READING) {
        read_piece(b);
        return;
    }
    b->state = BACKUP_PROVING;
    b->busy = true;
    if (b->local) {
        struct error e;
        cluster_later(b->c, begin_later, b, cluster_backup_possible(b->c, &e));
    } else {
        cluster_read_index(b->c, on_index, b);
    }
}

int cluster_backup_possible(const struct cluster *c, struct error *e)
{
    if (c->raft_on && !c->dead && !c->removed && !c->quarantined) {
        return 0; /* it may not know what is newest, but what it has was committed */
    }
    return cluster_local_ready(c, e);
}

const struct backup_head *cluster_backup_head(const struct cluster_backup *b) { return &b->head; }
uint64_t cluster_backup_bytes(const struct cluster_backup *b) { return b->bytes; }

uint64_t cluster_snapshot_bytes(const struct cluster *c) { return c->snapshot_size; }

void cluster_backup_free(struct cluster_backup *b)
{
    b->freed = true;
    b->cb = NULL;
    if (!b->busy) {
        destroy(b);
    }
}
