/* The journal's queue and group commit.
 *
 *   append, truncate, restart, vote                       loop
 *      -> queue -> (end of the turn) pump takes a batch
 *            small, without vote: encoded at once, one durable write         loop, kernel
 *            else: write job: vote slots, then records, one write, one sync  worker
 *      <- done: next batch starts at once, then callbacks in order           loop
 *
 * So while one sync is under way everything that arrives waits together for the next one:
 * group commit without a timer. One append on an idle journal costs one durable write into a
 * file whose blocks exist and are zeroed, so no metadata goes with it, and no thread switch
 * (base/env.h, env_write). What is longer than LOG_DIRECT_BYTES, changes the segment or holds a
 * vote goes to a worker: encoding it would hold up the loop, or it takes more than one write.
 *
 * Making the next segment, removing old ones and the once-a-second tick are in
 * journal_background.c; a batch that needs the next segment waits until it is there. A vote that
 * stands behind it does not: it needs no space, and without it nobody could be elected.
 *
 * How it fails: any other error of a write or sync ends the journal: nothing is tried again,
 * fatal is called once, all waiting and later callbacks get the error, in order.
 *
 * Invariants (besides J1 to J4 in journal.h)
 *   5 at most one write job runs; `log` and `slots.vote` are its own while it does, but for a
 *     direct write, whose job only has `direct`
 *   6 a batch changes the segment at most once, and only to a spare that is durable */
#include <inttypes.h>
#include <string.h>

#define LOG_MODULE "journal"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

/* More than this is not written at once: an entry is in memory twice meanwhile. */
#define BATCH_WRITE_MAX ((uint64_t)16 * 1024 * 1024)
/* Log bytes per accounting sample: the error of journal_log_bytes after a compaction. */
#define SAMPLE_BYTES    ((uint64_t)64 * 1024)

static void pump_later(struct journal *j) { j->env->ops->defer(j->env, &j->pump); }

/* ---- Failing ------------------------------------------------------------ */

void journal_fail(struct journal *j, const struct error *e)
{
    if (j->failed != 0) {
        return;
    }
    j->failed = e->code != 0 ? e->code : ERR_IO;
    log_error("%s: stopping, nothing is tried again", e->message);
    pump_later(j); /* what waits for space is told, too */
    if (j->options.fatal != NULL) {
        j->options.fatal(j->options.arg, e);
    }
}

/* ---- Accounting of live bytes ------------------------------------------- */

void journal_account(struct journal *j, uint64_t index, size_t bytes)
{
    uint64_t before = j->bytes_total;
    j->bytes_total += bytes;
    size_t n = j->samples_count;
    if (n > 0 && before - j->samples[n - 1].bytes < SAMPLE_BYTES) {
        return;
    }
    if (n == j->samples_cap) {
        size_t cap = n * 2 + 64;
        struct size_sample *grown = mem_realloc(j->samples, cap * sizeof *grown);
        if (grown == NULL) {
            return; /* coarser accounting, no harm */
        }
        j->samples = grown;
        j->samples_cap = cap;
    }
    j->samples[j->samples_count++] = (struct size_sample){ index, before };
}

static void account_truncate(struct journal *j, uint64_t index)
{
    while (j->samples_count > 0 && j->samples[j->samples_count - 1].index >= index) {
        j->samples_count--;
    }
}

/* Entries below index count no more. */
static void account_compact(struct journal *j, uint64_t index)
{
    size_t drop = 0;
    while (drop < j->samples_count && j->samples[drop].index <= index) {
        j->bytes_base = j->samples[drop].bytes;
        drop++;
    }
    drop -= drop > 0; /* the last one is the base */
    if (drop > 0) {
        j->samples_count -= drop;
        memmove(j->samples, j->samples + drop, j->samples_count * sizeof *j->samples);
    }
}

uint64_t journal_log_bytes(const struct journal *j) { return j->bytes_total - j->bytes_base; }

uint64_t journal_write_us(const struct journal *j) { return j->write_us; }

uint64_t journal_free_bytes(const struct journal *j) { return j->free_bytes; }

bool journal_has_space(const struct journal *j) { return !j->low_space && j->failed == 0; }

static void answer(struct op *op, int status)
{
    while (op != NULL) {
        struct op *next = op->next;
        journal_cb cb = op->cb;
        void *arg = op->arg;
        mem_free(op);
        if (cb != NULL) {
            cb(arg, status);
        }
        op = next;
    }
}

/* Answers all that waits with an error: it will not be written. */
void journal_drop_queue(struct journal *j, int status)
{
    struct op *op = j->head;
    j->head = NULL;
    j->tail = &j->head;
    answer(op, status);
}

/* ---- The write job ------------------------------------------------------ */

static int write_op(struct journal *j, const struct op *op, struct error *e)
{
    struct log_writer *w = &j->log;
    int rc = 0;
    switch (op->kind) {
    case OP_APPEND:
        for (size_t i = 0; i < op->n && rc == 0; i++) {
            const struct journal_entry *entry = &op->entries[i];
            rc = log_put(w,
                         &(struct record){ .kind = RECORD_ENTRY,
                                           .type = entry->type,
                                           .term = entry->term,
                                           .index = op->index + i,
                                           .data = entry->data,
                                           .len = entry->len },
                         e);
        }
        return rc;
    case OP_TRUNCATE:
        return log_put(w, &(struct record){ .kind = RECORD_TRUNCATE, .index = op->index }, e);
    case OP_RESTART:
        return log_put(w, &(struct record){ .kind = RECORD_RESTART, .index = op->index }, e);
    case OP_VOTE: return 0;
    }
    return 0;
}

static int write_ops(struct journal *j, struct error *e)
{
    int rc = 0;
    for (const struct op *op = j->running; op != NULL && rc == 0; op = op->next) {
        rc = write_op(j, op, e);
    }
    return rc;
}

static void write_run(struct env_job *job)
{
    struct journal *j = job->arg;
    struct error *e = &j->write.error;
    int rc = 0;
    /* Term and vote first: they must be durable before any append that follows them, and
     * being early hurts none that came before. Only the last one counts. */
    const struct op *vote = NULL;
    for (const struct op *op = j->running; op != NULL; op = op->next) {
        vote = op->kind == OP_VOTE ? op : vote;
    }
    if (vote != NULL) {
        rc = slots_write_vote(&j->slots, vote->term, vote->vote, e);
    }
    rc = rc != 0 ? rc : write_ops(j, e);
    j->write.status = rc != 0 ? rc : log_flush(&j->log, e);
}

/* Where the env has nothing better. */
static void direct_run(struct env_job *job)
{
    struct journal *j = job->arg;
    const struct env_ops *ops = j->env->ops;
    struct env_write *w = &j->direct;
    int rc = ops->file_write(w->file, w->at, w->data, w->len, &w->error);
    w->status = rc != 0 ? rc : ops->file_sync(w->file, &w->error);
}

static void write_done(struct env_job *job)
{
    struct journal *j = job->arg;
    struct op *done = j->running;
    j->running = NULL;
    j->write.running = false;
    uint64_t us = (j->env->ops->mono_ns(j->env) - j->write_ns) / 1000;
    j->write_us = j->write_us == 0 ? us : (15 * j->write_us + us) / 16;
    int status = j->write.status;
    j->spare_ready = j->log.spare != NULL;
    if (status != 0) {
        journal_fail(j, &j->write.error);
    }
    if (j->failed != 0) { /* now or, by another job, while this one ran: the queue is dropped */
        answer(done, status);
        journal_pump(j);
    } else {
        journal_remove_old(j);
        journal_pump(j); /* the next batch does not wait for what the callbacks do */
        answer(done, 0);
    }
    journal_progress(j);
}

static void failed_run(struct env_job *job) { (void)job; }

static void direct_done(struct env_job *job)
{
    struct journal *j = job->arg;
    j->write.status = j->direct.status;
    if (j->direct.status == 0) {
        log_written(&j->log);
    } else {
        j->write.error = j->direct.error;
    }
    write_done(job);
}

/* How many log bytes the next batch may have: what the current segment still takes or, with
 * a spare, what that takes (records may lie in both, but never in a third one). */
static uint64_t batch_limit(const struct journal *j)
{
    const struct log_writer *w = &j->log;
    uint64_t room = log_room(w->capacity, w->offset);
    uint64_t spare = w->spare != NULL ? log_room(w->spare_capacity, 0) : 0;
    return room > spare ? room : spare;
}

/* Moves the votes alone, in order, from behind appends that wait. */
static bool take_votes(struct journal *j)
{
    struct op **at = &j->head, **end = &j->running;
    while (*at != NULL) {
        struct op *op = *at;
        if (op->kind == OP_VOTE) {
            *at = op->next;
            op->next = NULL;
            *end = op;
            end = &op->next;
        } else {
            at = &op->next;
        }
    }
    j->tail = at;
    return j->running != NULL;
}

/* Moves the next batch from the queue to `running`; false when it must wait for a spare.
 * *direct: it can be written without a worker. */
static bool take_batch(struct journal *j, bool *direct)
{
    uint64_t limit = batch_limit(j), bytes = 0;
    bool votes = false;
    struct op **end = &j->head;
    while (*end != NULL && bytes + (*end)->bytes <= limit &&
           (end == &j->head || bytes + (*end)->bytes <= BATCH_WRITE_MAX)) {
        bytes += (*end)->bytes;
        votes = votes || (*end)->kind == OP_VOTE;
        end = &(*end)->next;
    }
    *direct = !votes && log_is_direct(&j->log, bytes);
    if (end == &j->head) {
        journal_want_spare(j, j->head->bytes + SEGMENT_HEADER_BYTES + record_bytes(0));
        *direct = false;
        return take_votes(j);
    }
    j->running = j->head;
    j->head = *end;
    *end = NULL;
    if (j->head == NULL) {
        j->tail = &j->head;
    }
    return true;
}

/* The batch is encoded here; should that fail, the job only brings the news. */
static struct env_job direct_job(struct journal *j)
{
    struct error *e = &j->write.error;
    int rc = write_ops(j, e);
    rc = rc != 0 ? rc : log_prepare(&j->log, &j->direct, e);
    if (rc != 0) {
        j->write.status = rc;
        return (struct env_job){ .run = failed_run, .done = write_done, .arg = j };
    }
    return (struct env_job){
        .run = direct_run, .done = direct_done, .arg = j, .urgent = true, .write = &j->direct
    };
}

static void start_write(struct journal *j, bool direct)
{
    j->write.running = true;
    j->write_ns = j->env->ops->mono_ns(j->env);
    j->write.job =
        direct ? direct_job(j)
               : (struct env_job){ .run = write_run, .done = write_done, .arg = j, .urgent = true };
    j->env->ops->job(j->env, &j->write.job);
}

void journal_pump(struct journal *j)
{
    bool direct;
    if (j->write.running) {
        return;
    }
    if (j->failed != 0) {
        journal_drop_queue(j, j->failed);
        return;
    }
    if (!j->closing && j->log.spare == NULL && j->log.offset > j->log.capacity / 4) {
        journal_want_spare(j, 0);
    }
    if (j->head == NULL || !take_batch(j, &direct)) {
        return;
    }
    start_write(j, direct);
}

/* ---- The calls ---------------------------------------------------------- */

static struct op *add_op(struct journal *j, enum op_kind kind, size_t entries, journal_cb cb,
                         void *arg)
{
    ASSERT(!j->closing);
    struct op *op = mem_must_alloc(sizeof *op + entries * sizeof op->entries[0]);
    *op = (struct op){ .kind = kind, .n = entries, .cb = cb, .arg = arg };
    *j->tail = op;
    j->tail = &op->next;
    pump_later(j);
    return op;
}

void journal_append(struct journal *j, uint64_t index, const struct journal_entry *entries,
                    size_t n, journal_cb cb, void *arg)
{
    ASSERT(index == j->next_index && n > 0);
    for (size_t i = 0; i < n; i++) {
        ASSERT(entries[i].len <= ENTRY_BYTES_MAX);
    }
    struct op *op = add_op(j, OP_APPEND, n, cb, arg);
    op->index = index;
    memcpy(op->entries, entries, n * sizeof *entries);
    for (size_t i = 0; i < n; i++) {
        size_t bytes = record_bytes(entries[i].len);
        op->bytes += bytes;
        journal_account(j, index + i, bytes);
    }
    j->next_index += n;
}

void journal_truncate(struct journal *j, uint64_t index)
{
    ASSERT(index > 0);
    if (index >= j->next_index) {
        return;
    }
    struct op *op = add_op(j, OP_TRUNCATE, 0, NULL, NULL);
    op->index = index;
    op->bytes = record_bytes(0);
    account_truncate(j, index);
    j->next_index = index;
}

void journal_restart(struct journal *j, uint64_t index, journal_cb cb, void *arg)
{
    struct op *op = add_op(j, OP_RESTART, 0, cb, arg);
    op->index = index;
    op->bytes = record_bytes(0);
    j->samples_count = 0;
    j->bytes_base = j->bytes_total;
    j->next_index = index + 1;
    j->compact_index = index;
}

void journal_compact(struct journal *j, uint64_t index)
{
    if (index > j->next_index) {
        index = j->next_index;
    }
    if (index > j->compact_index) {
        j->compact_index = index;
    }
    account_compact(j, index);
    journal_remove_old(j);
}

/* J4. The same term with the same vote again changes nothing and is allowed. */
static void check_vote(const struct journal *j, uint64_t term, uint64_t vote)
{
    ASSERT(term > j->term || (term == j->term && (j->vote == 0 || j->vote == vote)));
}

void journal_set_vote(struct journal *j, uint64_t term, uint64_t vote, journal_cb cb, void *arg)
{
    check_vote(j, term, vote);
    struct op *op = add_op(j, OP_VOTE, 0, cb, arg);
    op->term = j->term = term;
    op->vote = j->vote = vote;
}

int journal_set_vote_now(struct journal *j, uint64_t term, uint64_t vote, struct error *e)
{
    ASSERT(!j->write.running && j->head == NULL);
    check_vote(j, term, vote);
    int rc = slots_write_vote(&j->slots, term, vote, e);
    if (rc == 0) {
        j->term = term;
        j->vote = vote;
    }
    return rc;
}

int journal_set_identity(struct journal *j, const struct journal_identity *id, struct error *e)
{
    int rc = identity_write(j->env, j->dir, id, e);
    if (rc == 0) {
        j->identity = *id;
    }
    return rc;
}

/* ---- Opening's end and closing ------------------------------------------ */

static void on_turn_end(void *arg)
{
    struct journal *j = arg;
    journal_pump(j);
    journal_progress(j);
}

int journal_start(struct journal *j, struct error *e)
{
    j->tail = &j->head;
    j->pump = (struct env_defer){ .cb = on_turn_end, .arg = j };
    uint64_t free_bytes = 0;
    int rc = j->env->ops->free_bytes(j->env, j->dir, &free_bytes, e);
    if (rc != 0) {
        return rc;
    }
    j->spare_ready = j->log.spare != NULL;
    j->free_bytes = free_bytes;
    j->low_space = journal_is_low(j, free_bytes);
    j->timer = j->env->ops->timer_new(j->env, journal_on_timer, j);
    j->env->ops->timer_start(j->timer, JOURNAL_TICK_MS);
    return 0;
}

void journal_destroy(struct journal *j)
{
    log_close(&j->log);
    slots_close(&j->slots);
    if (j->lock != NULL) {
        j->env->ops->file_close(j->lock);
    }
    if (j->timer != NULL) {
        j->env->ops->timer_free(j->timer);
    }
    for (size_t i = 0; i < j->recovery_count; i++) {
        mem_free(j->recovery_data[i]);
    }
    mem_free(j->recovery_data);
    mem_free(j->samples);
    mem_free(j->dir);
    mem_free(j);
}

static bool is_idle(const struct journal *j)
{
    return j->head == NULL && !j->write.running && !j->spare.running && !j->removal.running &&
           !j->tick.running && j->snapshots == 0;
}

void journal_progress(struct journal *j)
{
    if (!j->closing) {
        return;
    }
    if (j->spare_waits && !j->write.running) {
        journal_drop_queue(j, j->spare_failed); /* the last try for the next segment */
    }
    if (!is_idle(j)) {
        return;
    }
    if (!j->closed_started) {
        j->closed_started = true; /* one last tick writes the mark, then we come back here */
        journal_start_tick(j);
        return;
    }
    void (*cb)(void *) = j->close_cb;
    void *arg = j->close_arg;
    j->env->ops->undefer(j->env, &j->pump);
    journal_destroy(j);
    cb(arg);
}

static void close_later(void *arg)
{
    struct journal *j = arg;
    j->env->ops->timer_stop(j->timer);
    on_turn_end(j);
}

void journal_close(struct journal *j, void (*cb)(void *arg), void *arg)
{
    ASSERT(!j->closing);
    j->closing = true;
    j->spare_waits = false; /* one last try for what waits */
    j->close_cb = cb;
    j->close_arg = arg;
    /* From the loop: the caller may be inside one of our callbacks. */
    j->env->ops->undefer(j->env, &j->pump);
    j->pump.cb = close_later;
    pump_later(j);
}
