/* The membership operation in the store: one record, replicated like everything else.
 *
 * The record "membership" holds the operation under way, if any, and how the last ones
 * ended, so that whoever asked learns it from the next leader too. It is written by the
 * leader in an entry of its own (a transaction of the command "membership", docs/formats.md),
 * is part of the digest and of snapshots, and so survives whatever the cluster survives.
 *
 *   IDLE -> RUNNING -> IDLE              the goal is reached, or nothing had been changed yet
 *              \-> UNDOING -> IDLE       too late or canceled: the new node is dropped again
 *
 * Which step of a running operation is next is read off the configuration, never from the
 * record (member_run.c): the two cannot contradict one another.
 *
 * How it fails: a record that cannot be read (damage would have changed the digest) counts
 * as idle and is overwritten by the next operation. */
#define LOG_MODULE "member"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/internal.h"

#define RECORD_NAME    "membership"
#define RECORD_VERSION 1

static void get_text(struct reader *r, char *out, size_t cap)
{
    struct span s = reader_bytes(r);
    (void)snprintf(out, cap, "%.*s", (int)s.len, s.len > 0 ? s.data : "");
}

static void put_result(struct buf *b, const struct member_result *m)
{
    buf_put_u64(b, m->id);
    buf_put_u8(b, m->failed);
    buf_put_span(b, span_of(m->text));
}

static void get_result(struct reader *r, struct member_result *m)
{
    m->id = reader_u64(r);
    m->failed = reader_u8(r);
    get_text(r, m->text, sizeof m->text);
}

static void encode(const struct member_op *op, struct buf *b)
{
    buf_put_u8(b, RECORD_VERSION);
    buf_put_u8(b, op->kind);
    buf_put_u8(b, op->step);
    buf_put_u64(b, op->id);
    buf_put_u64(b, op->deadline_ms);
    buf_put_u64(b, op->node_id);
    buf_put_span(b, span_of(op->address));
    buf_put_u64(b, op->old_id);
    buf_put_span(b, span_of(op->old));
    put_result(b, &op->now);
    unsigned n = 0;
    while (n < MEMBER_RESULTS_KEPT && op->results[n].id != 0) {
        n++;
    }
    buf_put_u8(b, (uint8_t)n);
    for (unsigned i = 0; i < n; i++) {
        put_result(b, &op->results[i]);
    }
}

static bool decode(struct span bytes, struct member_op *op)
{
    struct reader r;
    reader_init(&r, bytes.data, bytes.len);
    uint8_t version = reader_u8(&r);
    op->kind = reader_u8(&r);
    op->step = reader_u8(&r);
    op->id = reader_u64(&r);
    op->deadline_ms = reader_u64(&r);
    op->node_id = reader_u64(&r);
    get_text(&r, op->address, sizeof op->address);
    op->old_id = reader_u64(&r);
    get_text(&r, op->old, sizeof op->old);
    get_result(&r, &op->now);
    uint8_t n = reader_u8(&r);
    for (unsigned i = 0; i < n && i < MEMBER_RESULTS_KEPT; i++) {
        get_result(&r, &op->results[i]);
    }
    return !r.failed && version == RECORD_VERSION && n <= MEMBER_RESULTS_KEPT &&
           op->step <= MEMBER_UNDOING && op->kind <= CHANGE_REPLACE;
}

void member_load(const struct cluster *c, struct member_op *op)
{
    struct span bytes = store_record(c->store, span_of(RECORD_NAME));
    memset(op, 0, sizeof *op);
    if (bytes.len > 0 && !decode(bytes, op)) {
        memset(op, 0, sizeof *op);
    }
}

const struct member_result *member_result_of(const struct member_op *op, uint64_t id)
{
    for (unsigned i = 0; i < MEMBER_RESULTS_KEPT; i++) {
        if (op->results[i].id == id) {
            return &op->results[i];
        }
    }
    return NULL;
}

int member_save(struct cluster *c, const struct member_op *op)
{
    struct error e = { 0 };
    struct buf bytes = BUF_INIT;
    encode(op, &bytes);
    int rv = bytes.failed
                 ? ERR_NOMEM
                 : record_save(c, RECORD_NAME, span_make((const char *)bytes.data, bytes.len),
                               &c->member_index, &e);
    buf_free(&bytes);
    return rv;
}
