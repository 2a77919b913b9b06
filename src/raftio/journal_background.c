/* What the journal does beside its write jobs: the next segment, old segments, the tick.
 *
 * The next segment is made in the background when a quarter of the current one is used. A
 * batch that needs it waits until it is there; the write job itself never creates a file. A
 * full disk can therefore only stop the making of segments: nothing is half-written, the
 * queue waits, journal_has_space() says no, and each tick tries again. So it does when the
 * process has no file descriptor left.
 *
 * The tick (once a second) looks at the free space and, when the log is idle, brings the
 * durable mark up to date; a busy log needs no mark, since every record vouches for what was
 * synced before it. Closing writes the mark too.
 *
 * Invariants
 *   1 a spare is segment number + 1, and is made while no batch may need it
 *   2 a segment is removed only when a later, durable one begins at or below the compaction
 *     index, oldest first
 *   3 the mark is at most what `log.durable` was when no write job ran */
#include <inttypes.h>
#include <string.h>

#define LOG_MODULE "journal"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

/* ---- Removing old segments ---------------------------------------------- */

static void removal_run(struct env_job *job)
{
    struct journal *j = job->arg;
    const struct env_ops *ops = j->env->ops;
    struct error e = { 0 };
    int rc = 0;
    for (uint64_t n = j->removal_first; n < j->removal_end && rc == 0; n++) {
        char *path = journal_segment_path(j->dir, n);
        rc = path == NULL ? error_set(&e, ERR_NOMEM, "out of memory")
                          : ops->remove(j->env, path, &e);
        rc = rc == ERR_NOTFOUND ? 0 : rc;
        mem_free(path);
    }
    if (rc != 0) {
        /* It costs only space; the next open finds it covered by the snapshot. */
        log_warn("an old log segment stays: %s", e.message);
    }
    j->removal.status = ops->sync_dir(j->env, j->dir, &j->removal.error);
}

static void removal_done(struct env_job *job)
{
    struct journal *j = job->arg;
    j->removal.running = false;
    if (j->removal.status == ERR_BUSY) {
        /* A name that comes back after a power loss is one that the snapshot covers. */
        log_warn("%s; the next removal syncs what this one has removed", j->removal.error.message);
    } else if (j->removal.status != 0) {
        journal_fail(j, &j->removal.error);
    }
    journal_remove_old(j);
    journal_progress(j);
}

/* Removes the segments before the last one that begins at or below compact_index. */
void journal_remove_old(struct journal *j)
{
    struct log_writer *w = &j->log;
    if (j->removal.running || j->write.running || j->failed != 0) {
        return;
    }
    size_t keep = 0;
    for (size_t i = 1; i < w->segments_count; i++) {
        if (w->segments[i].first_index <= j->compact_index) {
            keep = i;
        }
    }
    if (keep == 0) {
        return;
    }
    j->removal_first = w->segments[0].number;
    j->removal_end = w->segments[keep].number;
    w->segments_count -= keep;
    memmove(w->segments, w->segments + keep, w->segments_count * sizeof *w->segments);
    j->removal.running = true;
    j->removal.job = (struct env_job){ .run = removal_run, .done = removal_done, .arg = j };
    j->env->ops->job(j->env, &j->removal.job);
}

/* ---- The next segment --------------------------------------------------- */

static void spare_run(struct env_job *job)
{
    struct journal *j = job->arg;
    j->spare.status = segment_create(j->env, j->dir, j->spare_number, j->spare_bytes,
                                     &j->spare_file, &j->spare.error);
}

static void spare_put_off(struct journal *j)
{
    int status = j->spare.status;
    if (j->spare_failed != status) {
        log_warn("no %s for the next log segment: %s; trying again every second",
                 status == ERR_NOSPACE ? "space" : "descriptor", j->spare.error.message);
    }
    j->spare_failed = status;
    j->spare_waits = true;
    j->low_space = j->low_space || status == ERR_NOSPACE;
}

static void spare_done(struct env_job *job)
{
    struct journal *j = job->arg;
    j->spare.running = false;
    if (j->spare.status == 0) {
        ASSERT(j->log.spare == NULL && j->spare_number == j->log.number + 1);
        j->log.spare = j->spare_file;
        j->log.spare_capacity = j->spare_bytes;
        j->spare_ready = true;
        j->spare_failed = 0;
        j->spare_want = 0;
    } else if (journal_passes(j->spare.status)) {
        spare_put_off(j);
    } else {
        journal_fail(j, &j->spare.error);
    }
    journal_pump(j);
    journal_progress(j);
}

/* Sees to it that there will be a spare of at least `bytes`. While it is being made no batch
 * that could use it is started (batch_limit), so the current segment stays the same. */
void journal_want_spare(struct journal *j, uint64_t bytes)
{
    struct log_writer *w = &j->log;
    bytes = bytes > j->options.segment_bytes ? bytes : j->options.segment_bytes;
    bytes = block_end(bytes);
    if (bytes > j->spare_want) {
        j->spare_want = bytes;
    }
    if (j->spare.running || j->spare_waits || j->write.running || j->failed != 0) {
        return;
    }
    if (w->spare != NULL) {
        if (w->spare_capacity >= j->spare_want) {
            return;
        }
        j->env->ops->file_close(w->spare); /* made again, larger */
        w->spare = NULL;
        j->spare_ready = false;
    }
    j->spare_number = w->number + 1;
    j->spare_bytes = j->spare_want;
    j->spare.running = true;
    j->spare.job = (struct env_job){ .run = spare_run, .done = spare_done, .arg = j };
    j->env->ops->job(j->env, &j->spare.job);
}

/* ---- The tick ----------------------------------------------------------- */

static void tick_run(struct env_job *job)
{
    struct journal *j = job->arg;
    struct error e = { 0 };
    j->tick_free_known = j->env->ops->free_bytes(j->env, j->dir, &j->tick_free_bytes, &e) == 0;
    j->tick.status = j->tick_marks ? slots_write_mark(&j->slots, j->tick_mark, &j->tick.error) : 0;
}

/* Until the next segment exists there must be room for it. */
bool journal_is_low(const struct journal *j, uint64_t free_bytes)
{
    bool made = j->spare_ready || j->spare.running;
    return free_bytes < j->options.reserve_bytes + (made ? 0 : j->options.segment_bytes);
}

static void tick_done(struct env_job *job)
{
    struct journal *j = job->arg;
    j->tick.running = false;
    if (j->tick.status != 0) {
        journal_fail(j, &j->tick.error);
    }
    if (j->tick_free_known) {
        j->free_bytes = j->tick_free_bytes;
        bool low = journal_is_low(j, j->tick_free_bytes) || j->spare_failed == ERR_NOSPACE;
        if (low && !j->low_space) {
            log_warn("%s: the disk is nearly full (%" PRIu64 " MiB free): new requests are refused",
                     j->dir, j->tick_free_bytes >> 20);
        } else if (!low && j->low_space) {
            log_info("%s: there is space again (%" PRIu64 " MiB free)", j->dir,
                     j->tick_free_bytes >> 20);
        }
        j->low_space = low;
    }
    if (!j->closing) {
        j->spare_waits = false;
        if (j->spare_failed != 0) {
            journal_want_spare(j, 0);
        }
        j->env->ops->timer_start(j->timer, JOURNAL_TICK_MS);
    }
    journal_progress(j);
}

void journal_start_tick(struct journal *j)
{
    /* With a write under way `durable` is the worker's, and the next record vouches anyway. */
    bool quiet = !j->write.running && j->head == NULL && j->failed == 0;
    j->tick_mark = quiet ? j->log.durable : 0;
    j->tick_marks = quiet && j->tick_mark != j->slots.mark_now.a;
    j->tick.running = true;
    j->tick.job = (struct env_job){ .run = tick_run, .done = tick_done, .arg = j };
    j->env->ops->job(j->env, &j->tick.job);
}

void journal_on_timer(void *arg) { journal_start_tick(arg); }
