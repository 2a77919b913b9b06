/* Snapshot files: written off the loop, in bounded memory.
 *
 * Writing. Chunks queue up in the writer; a job at a time writes all that is queued into
 * snapshot-INDEX-TERM.N.part. The last job adds the trailer, syncs, renames the file to its
 * name, syncs the directory and removes all but the newest two. A writer that is abandoned or
 * failed removes its part file; a crash leaves it to the next open.
 *
 * Failing. A full disk fails the snapshot only: callbacks get ERR_NOSPACE and the part
 * file's space is given back; so does a lack of descriptors, with ERR_BUSY. Any other failed
 * write or sync is a broken disk and fatal for the journal.
 *
 * Invariants
 *   1 a file named snapshot-INDEX-TERM was complete and synced before it got that name
 *   2 callbacks come in the order of the calls, on the loop, never from inside a call */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "journal"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

#define SNAPSHOTS_KEPT 2
/* What failed in passing is tried again, and a disk may stay full. */
#define FAILED_LOG_MS  60000

struct chunk {
    struct chunk *next;
    struct buf data;
    journal_cb cb;
    void *arg;
};

struct journal_snapshot_writer {
    struct journal *j;
    struct snapshot_header header;
    struct buf meta, out;
    char *part, *path;
    /* The job's while it runs. */
    struct env_file *file;
    uint64_t at;
    struct snapshot_trailer written;
    struct chunk *running;
    bool last, discard; /* this job finishes or removes the file */
    struct background job;
    /* The loop's. */
    struct chunk *head, **tail;
    bool finishing, abandoned;
    int failed;
    journal_cb finish_cb;
    void *finish_arg;
};

/* ---- Writing, on the worker --------------------------------------------- */

static int put(struct journal_snapshot_writer *w, const void *data, size_t len, struct error *e)
{
    int rc = w->j->env->ops->file_write(w->file, w->at, data, len, e);
    w->at += len;
    return rc;
}

static int put_out(struct journal_snapshot_writer *w, struct error *e)
{
    int rc = w->out.failed ? error_set(e, ERR_NOMEM, "no memory to write a snapshot")
                           : put(w, w->out.data, w->out.len, e);
    buf_clear(&w->out);
    return rc;
}

static int begin_file(struct journal_snapshot_writer *w, struct error *e)
{
    int rc = w->j->env->ops->file_open(w->j->env, w->part, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE,
                                       &w->file, e);
    if (rc != 0) {
        w->file = NULL;
        return rc;
    }
    snapshot_header_encode(&w->out, &w->header, w->meta.data);
    return put_out(w, e);
}

static int put_chunk(struct journal_snapshot_writer *w, const struct buf *data, struct error *e)
{
    int rc = 0;
    for (size_t at = 0; at < data->len && rc == 0;) {
        size_t len = data->len - at;
        len = len < SNAPSHOT_BLOCK_MAX ? len : SNAPSHOT_BLOCK_MAX;
        uint8_t block[SNAPSHOT_BLOCK_HEADER];
        snapshot_block_encode(block, &w->header, w->written.blocks, data->data + at, len);
        buf_put(&w->out, block, sizeof block);
        buf_put(&w->out, data->data + at, len);
        rc = put_out(w, e);
        w->written.blocks++;
        w->written.bytes += len;
        at += len;
    }
    return rc;
}

struct found {
    uint64_t index[64], term[64];
    size_t n;
};

static void find_snapshot(void *arg, const char *name)
{
    struct found *f = arg;
    uint64_t index, term;
    if (f->n < 64 && snapshot_parse_name(name, &index, &term)) {
        f->index[f->n] = index;
        f->term[f->n++] = term;
    }
}

/* Failing to remove costs only space: the next snapshot tries again. */
static void remove_older(struct journal *j)
{
    struct found f = { .n = 0 };
    struct error e = { 0 };
    if (j->env->ops->list_dir(j->env, j->dir, find_snapshot, &f, &e) != 0) {
        log_warn("old snapshots stay: %s", e.message);
        return;
    }
    for (size_t i = 0; i < f.n; i++) {
        size_t newer = 0;
        for (size_t k = 0; k < f.n; k++) {
            newer += f.index[k] > f.index[i] || (f.index[k] == f.index[i] && f.term[k] > f.term[i]);
        }
        char *path = newer < SNAPSHOTS_KEPT ? NULL : snapshot_path(j->dir, f.index[i], f.term[i]);
        if (path != NULL && j->env->ops->remove(j->env, path, &e) != 0) {
            log_warn("an old snapshot stays: %s", e.message);
        }
        mem_free(path);
    }
}

static int finish_file(struct journal_snapshot_writer *w, struct error *e)
{
    const struct env_ops *ops = w->j->env->ops;
    uint8_t trailer[SNAPSHOT_TRAILER_BYTES];
    snapshot_trailer_encode(trailer, &w->header, &w->written);
    int rc = put(w, trailer, sizeof trailer, e);
    rc = rc != 0 ? rc : ops->file_sync(w->file, e);
    ops->file_close(w->file);
    w->file = NULL;
    rc = rc != 0 ? rc : ops->rename(w->j->env, w->part, w->path, e);
    rc = rc != 0 ? rc : ops->sync_dir(w->j->env, w->j->dir, e);
    if (rc == 0) {
        remove_older(w->j);
    }
    return rc;
}

static void discard_file(struct journal_snapshot_writer *w)
{
    if (w->file != NULL) {
        w->j->env->ops->file_close(w->file);
        w->file = NULL;
    }
    (void)w->j->env->ops->remove(w->j->env, w->part, NULL);
}

static void writer_run(struct env_job *job)
{
    struct journal_snapshot_writer *w = job->arg;
    struct error *e = &w->job.error;
    int rc = 0;
    if (w->discard) {
        discard_file(w);
        return;
    }
    if (w->file == NULL) {
        rc = begin_file(w, e);
    }
    for (struct chunk *c = w->running; c != NULL && rc == 0; c = c->next) {
        rc = put_chunk(w, &c->data, e);
    }
    if (rc == 0 && w->last) {
        rc = finish_file(w, e);
    }
    if (rc != 0) {
        discard_file(w);
    }
    w->job.status = rc;
}

/* ---- Writing, on the loop ----------------------------------------------- */

static void writer_free(struct journal_snapshot_writer *w)
{
    struct journal *j = w->j;
    buf_free(&w->meta);
    buf_free(&w->out);
    mem_free(w->part);
    mem_free(w->path);
    mem_free(w);
    j->snapshots--;
    journal_progress(j);
}

static void answer(struct chunk *c, int status)
{
    while (c != NULL) {
        struct chunk *next = c->next;
        journal_cb cb = c->cb;
        void *arg = c->arg;
        buf_free(&c->data);
        mem_free(c);
        if (cb != NULL) {
            cb(arg, status);
        }
        c = next;
    }
}

static void writer_pump(struct journal_snapshot_writer *w)
{
    bool more = w->head != NULL || w->finishing || w->abandoned;
    if (w->job.running || !more) {
        return;
    }
    w->running = w->head;
    w->head = NULL;
    w->tail = &w->head;
    w->last = w->finishing && w->failed == 0;
    w->discard = w->abandoned || w->failed != 0;
    w->job.running = true;
    w->job.status = 0;
    w->j->env->ops->job(w->j->env, &w->job.job);
}

static void writer_done(struct env_job *job)
{
    struct journal_snapshot_writer *w = job->arg;
    struct journal *j = w->j;
    bool was_last = w->last || (w->discard && w->finishing), was_discard = w->discard;
    if (w->job.status != 0 && w->failed == 0) {
        w->failed = w->job.status;
        if (journal_passes(w->failed)) {
            if (log_allowed(&j->snapshot_log, j->env->ops->mono_ms(j->env), FAILED_LOG_MS)) {
                log_warn("a snapshot was not written: %s", w->job.error.message);
            }
            /* Until the next look at the disk. */
            j->low_space = j->low_space || w->failed == ERR_NOSPACE;
        } else {
            journal_fail(j, &w->job.error);
        }
    }
    struct chunk *done = w->running;
    w->running = NULL;
    /* job.running stays set: calls from these callbacks only queue. */
    answer(done, was_discard && w->failed == 0 ? ERR_CANCELED : w->failed);
    w->job.running = false;
    if (was_last && w->head == NULL) {
        if (w->finish_cb != NULL) {
            w->finish_cb(w->finish_arg, w->failed);
        }
        writer_free(w);
    } else if (was_discard && w->abandoned && w->head == NULL) {
        writer_free(w);
    } else {
        writer_pump(w);
    }
}

struct journal_snapshot_writer *journal_snapshot_create(struct journal *j, uint64_t index,
                                                        uint64_t term, struct span meta)
{
    ASSERT(!j->closing && meta.len <= SNAPSHOT_META_MAX);
    struct journal_snapshot_writer *w = mem_zalloc(sizeof *w);
    char name[JOURNAL_NAME_BYTES];
    (void)snprintf(name, sizeof name, "snapshot-%016" PRIx64 "-%016" PRIx64 ".%" PRIu64 ".part",
                   index, term, ++j->snapshot_counter);
    char *part = journal_path(j->dir, name);
    char *path = snapshot_path(j->dir, index, term);
    if (w == NULL || part == NULL || path == NULL) {
        mem_free(w);
        mem_free(part);
        mem_free(path);
        return NULL;
    }
    w->j = j;
    w->header = (struct snapshot_header){ index, term, (uint32_t)meta.len };
    buf_put(&w->meta, meta.data, meta.len);
    if (w->meta.failed) {
        mem_free(w);
        mem_free(part);
        mem_free(path);
        return NULL;
    }
    w->part = part;
    w->path = path;
    w->tail = &w->head;
    w->job.job = (struct env_job){ .run = writer_run, .done = writer_done, .arg = w };
    j->snapshots++;
    return w;
}

void journal_snapshot_write(struct journal_snapshot_writer *w, struct buf *b, journal_cb cb,
                            void *arg)
{
    ASSERT(!w->finishing && !w->abandoned);
    struct chunk *c = mem_must_alloc(sizeof *c);
    *c = (struct chunk){ .data = *b, .cb = cb, .arg = arg };
    buf_init(b);
    *w->tail = c;
    w->tail = &c->next;
    writer_pump(w);
}

void journal_snapshot_finish(struct journal_snapshot_writer *w, journal_cb cb, void *arg)
{
    ASSERT(!w->finishing && !w->abandoned);
    w->finishing = true;
    w->finish_cb = cb;
    w->finish_arg = arg;
    writer_pump(w);
}

void journal_snapshot_abandon(struct journal_snapshot_writer *w)
{
    ASSERT(!w->finishing && !w->abandoned);
    w->abandoned = true;
    writer_pump(w);
}
