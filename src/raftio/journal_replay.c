/* Reading one segment: records in order, and what to make of the first byte that is not
 * a good record.
 *
 * Behind the last record there must be zeros. Something else there is either a torn tail
 * (the last range was being written when the power went; it was never synced, so never
 * acknowledged, and its pages may have reached the disk in any order) or damage to bytes
 * that were durable once. The two are told apart by evidence, at the position X of the
 * first bad record:
 *
 *   - the segment is sealed or another one after it holds anything: all of it had been
 *     synced: damage
 *   - some whole record behind X says `durable` > X: X had been synced before that record
 *     was written: damage
 *   - the durable mark is behind X: damage (or a log that lost its end)
 *   - otherwise: a torn tail, cut at X
 *
 * What remains undecidable is damage inside the very last range, before the mark has been
 * brought up to date (at most about a second of an idle log, and at closing).
 *
 * Invariants
 *   1 entries are given out only up to X, in order, without a gap
 *   2 a cut never goes below the mark or below what a good record calls durable */
#include <inttypes.h>
#include <string.h>

#include "base/mem.h"
#include "raftio/journal_impl.h"

static bool grow_entries(struct replay *r)
{
    if (r->entries_count < r->entries_cap) {
        return true;
    }
    size_t cap = r->entries_cap * 2 + 256;
    struct journal_entry *entries = mem_realloc(r->entries, cap * sizeof *entries);
    if (entries == NULL) {
        return false;
    }
    r->entries = entries;
    size_t *sizes = mem_realloc(r->sizes, cap * sizeof *sizes);
    if (sizes == NULL) {
        return false;
    }
    r->sizes = sizes;
    r->entries_cap = cap;
    return true;
}

/* One good record changes the log as read so far. */
static int replay_record(struct replay *r, struct replay_segment *s, uint64_t offset,
                         const struct record *rec, struct error *e)
{
    switch (rec->kind) {
    case RECORD_ENTRY:
        if (rec->index != r->next_index || rec->index == UINT64_MAX) {
            return journal_corrupt(e, s->path, offset,
                                   "entry %" PRIu64 " stands where entry %" PRIu64 " belongs",
                                   rec->index, r->next_index);
        }
        if (!grow_entries(r)) {
            return error_set(e, ERR_NOMEM, "no memory to read the log");
        }
        r->entries[r->entries_count] = (struct journal_entry){
            .term = rec->term, .type = rec->type, .data = rec->data, .len = rec->len
        };
        r->sizes[r->entries_count] = record_bytes(rec->len);
        r->entries_count++;
        r->next_index++;
        return 0;
    case RECORD_TRUNCATE:
        if (rec->index >= r->next_index || rec->index == 0) {
            return journal_corrupt(e, s->path, offset,
                                   "truncation at %" PRIu64 " in a log that ends before it",
                                   rec->index);
        }
        if (rec->index < r->first_index) {
            r->first_index = rec->index;
        }
        r->next_index = rec->index;
        r->entries_count = (size_t)(r->next_index - r->first_index);
        return 0;
    case RECORD_RESTART:
        if (rec->index == UINT64_MAX) {
            return journal_corrupt(e, s->path, offset, "restart at an impossible index");
        }
        r->first_index = r->next_index = rec->index + 1;
        r->entries_count = 0;
        s->restarted = true;
        return 0;
    default: s->sealed = true; return 0;
    }
}

/* Looks behind the bad bytes at `bad` for a record that proves that they were durable.
 * Returns its offset, 0 when there is none. */
static uint64_t find_evidence(const struct replay *r, const struct replay_segment *s, uint64_t bad)
{
    uint64_t at = bad == 0 ? SEGMENT_HEADER_BYTES : bad + 8;
    while (at + RECORD_HEADER_BYTES <= s->size) {
        struct record rec;
        size_t size;
        if (record_decode(s->data + at, s->size - at, r->node_id, position_make(s->number, at),
                          &rec, &size) != FORMAT_OK) {
            at += 8;
        } else if (rec.durable > position_make(s->number, bad)) {
            return at;
        } else {
            at += size;
        }
    }
    return 0;
}

/* The record at s->end (0: the header) is not good. Cut or refuse. */
static int judge_tail(const struct replay *r, struct replay_segment *s, struct error *e)
{
    const uint64_t bad = s->end;
    const uint64_t position = position_make(s->number, bad);
    const uint8_t *rest = s->data + bad;
    const size_t left = s->size - bad;
    if (!s->last) {
        return journal_corrupt(e, s->path, bad, "a record is damaged in a finished segment");
    }
    bool zero = bytes_are_zero(rest, left);
    uint64_t proof = zero ? 0 : find_evidence(r, s, bad);
    if (proof != 0) {
        return journal_corrupt(e, s->path, bad,
                               "a record is damaged that was durable (see the one at %" PRIu64 ")",
                               proof);
    }
    if (r->mark > position) {
        return journal_corrupt(e, s->path, bad,
                               "the log ends here, but was durable up to offset %" PRIu64
                               " of segment %" PRIx64,
                               position_offset(r->mark), position_segment(r->mark));
    }
    if (!zero) {
        size_t cut = left;
        while (rest[cut - 1] == 0) {
            cut--;
        }
        s->cut_bytes = cut;
    }
    return 0;
}

int replay_segment(struct replay *r, struct replay_segment *s, struct error *e)
{
    struct segment_header h;
    s->end = 0;
    enum format_status status = segment_header_decode(s->data, s->size, r->node_id, &h);
    if (status == FORMAT_VERSION) {
        return journal_corrupt(e, s->path, 8, "the segment's format version is not known here");
    }
    if (status == FORMAT_FOREIGN) {
        return journal_corrupt(e, s->path, 16, "the segment belongs to another node");
    }
    if (status != FORMAT_OK) {
        return judge_tail(r, s, e);
    }
    if (h.number != s->number || h.first_index == 0) {
        return journal_corrupt(e, s->path, 24, "the segment calls itself number %" PRIx64,
                               h.number);
    }
    if (r->next_index == 0) {
        r->first_index = r->next_index = h.first_index;
    } else if (h.first_index != r->next_index) {
        return journal_corrupt(e, s->path, 32,
                               "the segment goes on at entry %" PRIu64
                               ", but the one before ends before entry %" PRIu64,
                               h.first_index, r->next_index);
    }
    s->first_index = h.first_index;
    s->end = SEGMENT_HEADER_BYTES;
    while (!s->sealed) {
        struct record rec;
        size_t size;
        status = record_decode(s->data + s->end, s->size - s->end, r->node_id,
                               position_make(s->number, s->end), &rec, &size);
        if (status != FORMAT_OK) {
            return judge_tail(r, s, e);
        }
        int rc = replay_record(r, s, s->end, &rec, e);
        if (rc != 0) {
            return rc;
        }
        s->end += size;
    }
    if (!bytes_are_zero(s->data + s->end, s->size - s->end)) {
        return journal_corrupt(e, s->path, s->end, "there are bytes behind the segment's end");
    }
    return 0;
}
