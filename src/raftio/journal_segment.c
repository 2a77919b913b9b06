/* The log writer: records into preallocated segments.
 *
 * A segment is a file of zeros, made in the background, in which records are laid one
 * behind the other. Records are gathered in a buffer (a range) and go out with one write
 * and one sync. When a record does not fit, the current segment gets a SEAL record and is
 * synced, and the next segment begins with a header that says which index comes next.
 * Sealing costs one extra sync per segment and buys a simple rule for recovery: a segment
 * that holds anything proves that the one before it is whole.
 *
 * Every record carries `durable`, the start of its range: all before it had been synced
 * when it was written. So a later record is evidence against damage in earlier ones
 * (journal_replay.c), without any extra write.
 *
 * Whole blocks are written, and the block in which the log ended last is written again, with the
 * same bytes in front. They are kept in memory: were a part of a block written, somebody would
 * have to read the rest (the kernel, which keeps no page of these files), and a disk that gives
 * other bytes this once would have them made durable. A sector that is rewritten is assumed to
 * hold the old or the new bytes after a power loss; the shared bytes are the same in both.
 *
 * Invariants
 *   1 behind the last record there are only zeros; what was acknowledged never changes
 *   2 a new segment is written to only after the one before is sealed and synced
 *   3 after an error the writer is not used again */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

/* A range buffer that a rare huge batch has grown beyond this is given back. */
#define RANGE_KEEP_BYTES ((size_t)4 * 1024 * 1024)

char *journal_path(const char *dir, const char *name)
{
    size_t len = strlen(dir) + strlen(name) + 2;
    char *path = mem_alloc(len);
    if (path != NULL) {
        (void)snprintf(path, len, "%s/%s", dir, name);
    }
    return path;
}

char *journal_segment_path(const char *dir, uint64_t number)
{
    char name[JOURNAL_NAME_BYTES];
    (void)snprintf(name, sizeof name, "log-%016" PRIx64, number);
    return journal_path(dir, name);
}

int segment_create(struct env *env, const char *dir, uint64_t number, uint64_t bytes,
                   struct env_file **out, struct error *e)
{
    const struct env_ops *ops = env->ops;
    char *path = journal_segment_path(dir, number);
    if (path == NULL) {
        return error_set(e, ERR_NOMEM, "no memory for a log segment");
    }
    struct env_file *f = NULL;
    int rc = ops->file_open(env, path,
                            ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE | ENV_DIRECT, &f, e);
    if (rc != 0) {
        goto done;
    }
    rc = ops->file_allocate(f, bytes, e);
    rc = rc != 0 ? rc : ops->file_sync(f, e);
    rc = rc != 0 ? rc : ops->sync_dir(env, dir, e);
    if (rc != 0) {
        ops->file_close(f);
        (void)ops->remove(env, path, NULL); /* gives its space back; best effort */
        goto done;
    }
    *out = f;
done:
    mem_free(path);
    return rc;
}

uint64_t log_room(uint64_t capacity, uint64_t offset)
{
    uint64_t used = (offset == 0 ? SEGMENT_HEADER_BYTES : offset) + record_bytes(0);
    return capacity > used ? capacity - used : 0;
}

bool log_add_segment(struct log_writer *w, uint64_t number, uint64_t first_index)
{
    if (w->segments_count == w->segments_cap) {
        size_t cap = w->segments_cap * 2 + 8;
        struct segment *grown = mem_realloc(w->segments, cap * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        w->segments = grown;
        w->segments_cap = cap;
    }
    w->segments[w->segments_count++] = (struct segment){ number, first_index };
    return true;
}

static int no_memory(struct error *e)
{
    return error_set(e, ERR_NOMEM, "no memory to write the log");
}

/* ---- Writing -------------------------------------------------------------- */

static uint64_t range_begin(const struct log_writer *w) { return block_begin(w->range_at); }

/* Where the range's last block ends. A segment of an older version may end within it, and one
 * that was cut short leaves no room for the seal, which then makes it longer again. */
static uint64_t range_end(const struct log_writer *w)
{
    uint64_t end = block_end(w->offset);
    return end <= w->capacity ? end : w->offset > w->capacity ? w->offset : w->capacity;
}

int log_open_range(struct log_writer *w, const uint8_t *segment, struct error *e)
{
    size_t before = (size_t)(w->offset - block_begin(w->offset));
    w->direct = mem_alloc_aligned(ENV_BLOCK_BYTES,
                                  (size_t)block_end(LOG_DIRECT_BYTES) + 2 * ENV_BLOCK_BYTES);
    if (before > 0) {
        buf_put(&w->range, segment + (w->offset - before), before);
    }
    return w->direct == NULL || w->range.failed ? no_memory(e) : 0;
}

bool log_is_direct(const struct log_writer *w, uint64_t bytes)
{
    return bytes > 0 && bytes <= LOG_DIRECT_BYTES && bytes <= log_room(w->capacity, w->offset) &&
           block_end(w->offset + SEGMENT_HEADER_BYTES + bytes) <= w->capacity;
}

int log_prepare(struct log_writer *w, struct env_write *out, struct error *e)
{
    if (w->range.failed) {
        return no_memory(e);
    }
    size_t used = w->range.len, len = (size_t)(range_end(w) - range_begin(w));
    ASSERT(used <= LOG_DIRECT_BYTES + SEGMENT_HEADER_BYTES + ENV_BLOCK_BYTES);
    memcpy(w->direct, w->range.data, used);
    memset(w->direct + used, 0, len - used);
    *out =
        (struct env_write){ .file = w->file, .at = range_begin(w), .data = w->direct, .len = len };
    return 0;
}

void log_written(struct log_writer *w)
{
    uint8_t last[ENV_BLOCK_BYTES];
    size_t keep = (size_t)(w->offset - block_begin(w->offset));
    if (keep > 0) {
        memcpy(last, w->range.data + w->range.len - keep, keep);
    }
    if (w->range.cap > RANGE_KEEP_BYTES) {
        buf_free(&w->range);
    }
    buf_clear(&w->range);
    buf_put(&w->range, last, keep);
    w->range_at = w->offset;
    w->durable = position_make(w->number, w->offset);
}

int log_flush(struct log_writer *w, struct error *e)
{
    static const uint8_t zeros[ENV_BLOCK_BYTES];
    if (w->offset == w->range_at) {
        return 0;
    }
    size_t used = w->range.len, len = (size_t)(range_end(w) - range_begin(w));
    buf_put(&w->range, zeros, len - used);
    if (w->range.failed) {
        return no_memory(e);
    }
    const struct env_ops *ops = w->env->ops;
    int rc = ops->file_write(w->file, range_begin(w), w->range.data, len, e);
    rc = rc != 0 ? rc : ops->file_sync(w->file, e);
    if (rc == 0) {
        w->range.len = used;
        log_written(w);
    }
    return rc;
}

/* ---- Records into segments ------------------------------------------------ */

/* Puts r where it fits for sure. */
static void put_here(struct log_writer *w, const struct record *r)
{
    struct record placed = *r;
    placed.durable = position_make(w->number, w->range_at);
    record_encode(&w->range, w->node_id, position_make(w->number, w->offset), &placed);
    w->offset += record_bytes(r->len);
}

static int begin_segment(struct log_writer *w, struct error *e)
{
    uint8_t header[SEGMENT_HEADER_BYTES];
    segment_header_encode(header, w->node_id, &(struct segment_header){ w->number, w->next_index });
    buf_put(&w->range, header, sizeof header);
    w->offset = sizeof header;
    if (!log_add_segment(w, w->number, w->next_index)) {
        return no_memory(e);
    }
    return 0;
}

static int change_segment(struct log_writer *w, struct error *e)
{
    ASSERT(w->spare != NULL);
    put_here(w, &(struct record){ .kind = RECORD_SEAL, .index = w->next_index });
    int rc = log_flush(w, e);
    if (rc != 0) {
        return rc;
    }
    w->env->ops->file_close(w->file);
    w->file = w->spare;
    w->capacity = w->spare_capacity;
    w->spare = NULL;
    w->number++;
    w->offset = 0;
    w->range_at = 0;
    buf_clear(&w->range);
    return 0;
}

int log_put(struct log_writer *w, const struct record *r, struct error *e)
{
    int rc = 0;
    if (record_bytes(r->len) > log_room(w->capacity, w->offset)) {
        rc = change_segment(w, e);
        ASSERT(rc != 0 || record_bytes(r->len) <= log_room(w->capacity, w->offset));
    }
    if (rc == 0 && w->offset == 0) {
        rc = begin_segment(w, e);
    }
    if (rc != 0) {
        return rc;
    }
    put_here(w, r);
    switch (r->kind) {
    case RECORD_ENTRY: w->next_index = r->index + 1; break;
    case RECORD_TRUNCATE: w->next_index = r->index; break;
    case RECORD_RESTART:
        w->next_index = r->index + 1;
        /* Nothing before this segment is needed any more. */
        w->segments[w->segments_count - 1].first_index = 0;
        break;
    default: break;
    }
    return 0;
}

void log_close(struct log_writer *w)
{
    if (w->file != NULL) {
        w->env->ops->file_close(w->file);
    }
    if (w->spare != NULL) {
        w->env->ops->file_close(w->spare);
    }
    buf_free(&w->range);
    mem_free(w->direct);
    mem_free(w->segments);
    *w = (struct log_writer){ 0 };
}
