/* Opening, second half: the segments of a directory, and the log writer behind them.
 *
 * Which segments belong together: numbers without a gap, up to the highest. Files before
 * a gap are left from a removal that the power cut short; they are removed, provided the
 * snapshot covers what they held (else a file is missing, and that is damage).
 *
 * What was read may never have reached the disk (the last process may have been killed
 * before its sync, or because its sync failed, and the page cache still shows the bytes).
 * So the unproven end of the log is written and synced again before anyone relies on it. And a
 * tail is cut only when a second reading says the same.
 *
 * Invariants
 *   1 reading changes nothing
 *   2 what is given out is durable */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

/* Offsets are 32 bits; no segment of ours comes near. */
#define SEGMENT_FILE_MAX ((uint64_t)1024 * 1024 * 1024)
#define ZERO_PIECE       ((size_t)1024 * 1024)

/* ---- The segments ------------------------------------------------------- */

static int missing_segment(struct opening *o, uint64_t number, const char *why)
{
    char *path = journal_segment_path(o->j->dir, number);
    int rc = journal_corrupt(o->e, path != NULL ? path : o->j->dir, 0,
                             "this log segment is missing (%s)", why);
    mem_free(path);
    return rc;
}

/* Reads and replays numbers[i]; *data is kept for the entries' sake. */
static int read_segment(struct opening *o, size_t i, struct replay_segment *s, uint8_t **data)
{
    struct journal *j = o->j;
    char *path = journal_segment_path(j->dir, o->numbers[i]);
    *s = (struct replay_segment){ .number = o->numbers[i] };
    int rc = path == NULL ? error_set(o->e, ERR_NOMEM, "no memory to read the log")
                          : journal_read_file(j->env, path, data, &s->size, o->e);
    if (rc == 0 && s->size > SEGMENT_FILE_MAX) {
        rc = journal_corrupt(o->e, path, 0, "the segment is too large");
    }
    s->data = *data;
    mem_free(path);
    return rc;
}

static int replay_one(struct opening *o, struct replay_segment *s, bool first, bool last)
{
    char *path = journal_segment_path(o->j->dir, s->number);
    if (path == NULL) {
        return error_set(o->e, ERR_NOMEM, "no memory to read the log");
    }
    s->path = path;
    s->last = last;
    int rc = replay_segment(&o->replay, s, o->e);
    if (rc == 0 && s->end == 0) {
        /* A torn header: the log goes on from the sealed segment before, or, if this is
         * the very first, begins here. */
        if (first && s->number != 1) {
            rc = journal_corrupt(o->e, path, 0, "the log's first segment is damaged");
        }
    } else if (rc == 0 &&
               !log_add_segment(&o->j->log, s->number, s->restarted ? 0 : s->first_index)) {
        rc = error_set(o->e, ERR_NOMEM, "no memory to read the log");
    }
    s->path = NULL;
    mem_free(path);
    return rc;
}

/* What is cut is gone: a disk that gives wrong bytes once must not cost an acknowledged entry. */
static int confirm_cut(struct opening *o, size_t i, const struct replay_segment *s)
{
    struct replay_segment again;
    uint8_t *data = NULL;
    int rc = s->cut_bytes > 0 ? read_segment(o, i, &again, &data) : 0;
    if (rc == 0 && data != NULL &&
        (again.size != s->size || memcmp(again.data, s->data, s->size) != 0)) {
        rc = error_set(o->e, ERR_IO, "%s: log segment %" PRIx64 " reads differently each time",
                       o->j->dir, s->number);
        error_hint(o->e, "the disk or the memory fails; start the node again, and replace them");
    }
    mem_free(data);
    return rc;
}

/* Where the log goes on behind the last segment that holds anything. */
static int find_end(struct opening *o, const struct replay_segment *s, size_t last)
{
    uint64_t mark = o->j->slots.mark_now.a;
    o->number = s->number;
    o->offset = s->end;
    o->dirty_tail = s->cut_bytes > 0;
    o->rec->cut_bytes = s->cut_bytes;
    o->rewrite_number = s->number;
    o->rewrite_data = s->data;
    o->rewrite_end = s->end;
    o->rewrite_from = position_segment(mark) == s->number ? position_offset(mark) : 0;
    if (s->sealed) {
        if (last + 1 == o->count) {
            return missing_segment(o, s->number + 1, "the one before it is sealed");
        }
        o->number++;
        o->offset = 0;
    }
    if (mark > position_make(o->number, o->offset)) {
        return missing_segment(o, position_segment(mark),
                               "the durable mark says that it held acknowledged entries");
    }
    return 0;
}

int load_segments(struct opening *o)
{
    struct journal *j = o->j;
    if (o->count == 0) {
        return missing_segment(o, 1, "there is none at all");
    }
    o->begin = o->count - 1;
    while (o->begin > 0 && o->numbers[o->begin - 1] + 1 == o->numbers[o->begin]) {
        o->begin--;
    }
    size_t n = o->count - o->begin;
    struct replay_segment *s = mem_zalloc(n * sizeof *s);
    j->recovery_data = mem_zalloc(n * sizeof *j->recovery_data);
    if (s == NULL || j->recovery_data == NULL) {
        mem_free(s);
        return error_set(o->e, ERR_NOMEM, "no memory to read the log");
    }
    j->recovery_count = n;
    size_t used = 0; /* segments up to the last that holds anything */
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = read_segment(o, o->begin + i, &s[i], &j->recovery_data[i]);
        if (rc == 0 && !bytes_are_zero(s[i].data, s[i].size)) {
            used = i + 1;
        }
    }
    o->replay.node_id = j->identity.node_id;
    o->replay.mark = j->slots.mark_now.a;
    for (size_t i = 0; i < used && rc == 0; i++) {
        rc = replay_one(o, &s[i], i == 0, i + 1 == used);
    }
    if (rc == 0 && used == 0) {
        /* Nothing was ever written; only the very first segment may say so. */
        if (s[0].number != 1 || j->slots.mark_now.a > position_make(1, 0)) {
            rc = journal_corrupt(o->e, j->dir, 0, "the log is empty, but held entries before");
        }
        o->number = s[0].number;
    } else if (rc == 0) {
        rc = confirm_cut(o, o->begin + used - 1, &s[used - 1]);
        rc = rc != 0 ? rc : find_end(o, &s[used - 1], o->begin + used - 1);
    }
    if (rc == 0 && o->replay.next_index == 0) {
        o->replay.first_index = o->replay.next_index = 1;
    }
    mem_free(s);
    return rc;
}

/* ---- The writer --------------------------------------------------------- */

/* Writes bytes [from, to) of o->rewrite_data in whole blocks: what stands before them in their
 * first block is as it was read and checked, behind them are zeros. The file ends at `size`, or
 * will (journal_segment.c says why whole blocks). */
static int write_blocks(struct opening *o, struct env_file *f, uint64_t from, uint64_t to,
                        uint64_t size)
{
    const struct env_ops *ops = o->j->env->ops;
    const uint8_t *segment = o->rewrite_data;
    uint64_t begin = block_begin(from), last = block_begin(to);
    int rc = 0;
    if (begin < last) {
        rc = ops->file_write(f, begin, segment + begin, (size_t)(last - begin), o->e);
    }
    if (rc == 0 && last < to) {
        uint8_t block[ENV_BLOCK_BYTES] = { 0 };
        memcpy(block, segment + last, (size_t)(to - last));
        uint64_t len = size - last < sizeof block ? size - last : sizeof block;
        rc = ops->file_write(f, last, block, (size_t)len, o->e);
    }
    return rc;
}

static int zero_range(struct env *env, struct env_file *f, uint64_t from, uint64_t to,
                      struct error *e)
{
    if (from >= to) {
        return 0;
    }
    uint8_t *zeros = mem_zalloc(to - from < ZERO_PIECE ? (size_t)(to - from) : ZERO_PIECE);
    if (zeros == NULL) {
        return error_set(e, ERR_NOMEM, "no memory to clear the log's end");
    }
    int rc = 0;
    while (from < to && rc == 0) {
        size_t len = to - from < ZERO_PIECE ? (size_t)(to - from) : ZERO_PIECE;
        rc = env->ops->file_write(f, from, zeros, len, e);
        from += len;
    }
    mem_free(zeros);
    return rc;
}

static int open_segment(struct opening *o, uint64_t number, struct env_file **out, uint64_t *size)
{
    struct journal *j = o->j;
    char *path = journal_segment_path(j->dir, number);
    int rc = path == NULL ? error_set(o->e, ERR_NOMEM, "no memory to open the log")
                          : j->env->ops->file_open(j->env, path, ENV_READ | ENV_WRITE | ENV_DIRECT,
                                                   out, o->e);
    if (rc != 0) {
        *out = NULL;
    } else {
        rc = j->env->ops->file_size(*out, size, o->e);
    }
    mem_free(path);
    return rc;
}

/* Writes the unproven end again (banner); it may lie in the sealed segment before. */
static int rewrite_end(struct opening *o)
{
    struct env *env = o->j->env;
    struct env_file *f = o->j->log.file;
    uint64_t size = o->j->log.capacity;
    int rc = 0;
    if (o->rewrite_from >= o->rewrite_end) {
        return 0;
    }
    if (o->rewrite_number != o->number) {
        rc = open_segment(o, o->rewrite_number, &f, &size);
    }
    if (rc == 0) {
        rc = write_blocks(o, f, o->rewrite_from, o->rewrite_end, size);
        rc = rc != 0 ? rc : env->ops->file_sync(f, o->e);
    }
    if (f != NULL && f != o->j->log.file) {
        env->ops->file_close(f);
    }
    return rc;
}

/* Nothing but zeros from o->offset to the segment's end. */
static int clear_tail(struct opening *o)
{
    struct log_writer *w = &o->j->log;
    int rc = write_blocks(o, w->file, o->offset, o->offset, w->capacity);
    return rc != 0 ? rc : zero_range(o->j->env, w->file, block_end(o->offset), w->capacity, o->e);
}

/* Removes leftovers; what cannot be removed now is found again next time. */
static void tidy(struct opening *o)
{
    struct journal *j = o->j;
    for (size_t i = 0; i < o->parts_count; i++) {
        char *path = journal_path(j->dir, o->parts[i]);
        if (path != NULL) {
            (void)j->env->ops->remove(j->env, path, NULL);
        }
        mem_free(path);
    }
    for (size_t i = 0; i < o->count; i++) {
        if (i < o->begin || o->numbers[i] > o->number + 1) {
            char *path = journal_segment_path(j->dir, o->numbers[i]);
            if (path != NULL) {
                (void)j->env->ops->remove(j->env, path, NULL);
            }
            mem_free(path);
        }
    }
}

int load_writer(struct opening *o)
{
    struct journal *j = o->j;
    struct log_writer *w = &j->log;
    if (w->file == NULL) {
        uint64_t size = 0;
        int rc = open_segment(o, o->number, &w->file, &size);
        if (rc != 0) {
            return rc;
        }
        w->capacity = size > j->options.segment_bytes ? size : j->options.segment_bytes;
        rc = rewrite_end(o);
        if (rc == 0 && (o->dirty_tail || size < w->capacity)) {
            rc = clear_tail(o);
        }
        rc = rc != 0 ? rc : j->env->ops->file_sync(w->file, o->e);
        if (rc != 0) {
            return rc;
        }
    }
    tidy(o);
    w->env = j->env;
    w->dir = j->dir;
    w->node_id = j->identity.node_id;
    ASSERT(o->offset == 0 || o->rewrite_number == o->number);
    w->number = o->number;
    w->offset = w->range_at = o->offset;
    w->next_index = o->replay.next_index;
    w->durable = position_make(o->number, o->offset);
    int opened = log_open_range(w, o->rewrite_data, o->e);
    if (opened != 0) {
        return opened;
    }
    if (o->count > 0 && o->numbers[o->count - 1] > o->number) {
        uint64_t size = 0;
        int rc = open_segment(o, o->number + 1, &w->spare, &size);
        if (rc != 0) {
            return rc;
        }
        w->spare_capacity = size;
        if (size < j->options.segment_bytes) {
            j->env->ops->file_close(w->spare); /* made again when it is needed */
            w->spare = NULL;
        }
    }
    return j->env->ops->sync_dir(j->env, j->dir, o->e);
}
