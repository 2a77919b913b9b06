/* Slots: requests in order, their answers in the same order (N1). Freed slots are kept with
 * their buffers, so that a busy node allocates nothing per request. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/resp/conn.h"

#define SPARE_MAX       8192
#define SPARE_BYTES_MAX 4096 /* a buffer that one large request made bigger is not kept */

struct slot *slot_new(struct resp *r)
{
    struct slot *x = r->spare;
    if (x != NULL) {
        r->spare = x->next;
        r->spare_count--;
    } else {
        x = mem_zalloc(sizeof *x);
        if (x == NULL) {
            return NULL;
        }
    }
    x->next = NULL;
    x->conn = NULL;
    x->argc = 0;
    x->kind = SLOT_DONE;
    x->request.impl = NULL;
    return x;
}

static void shrink(struct buf *b)
{
    if (b->cap > SPARE_BYTES_MAX || b->failed) {
        buf_free(b);
    } else {
        buf_clear(b);
    }
}

void slot_free(struct slot *x)
{
    struct resp *r = x->conn->server;
    if (r->closing || r->spare_count >= SPARE_MAX) {
        buf_free(&x->words);
        buf_free(&x->answer);
        mem_free(x->argv);
        mem_free(x);
        return;
    }
    x->kind = SLOT_DONE;
    x->conn = NULL;
    shrink(&x->words);
    shrink(&x->answer);
    if (x->argv_cap * sizeof *x->argv > SPARE_BYTES_MAX) {
        mem_free(x->argv);
        x->argv = NULL;
        x->argv_cap = 0;
    }
    x->next = r->spare;
    r->spare = x;
    r->spare_count++;
}

void slot_append(struct conn *c, struct slot *x)
{
    x->conn = c;
    x->next = NULL;
    if (c->tail != NULL) {
        c->tail->next = x;
    } else {
        c->head = x;
    }
    c->tail = x;
    c->slots++;
    c->slots_bytes += x->words.len;
}

struct buf *slot_out(struct slot *x) { return x->conn->head == x ? &x->conn->out : &x->answer; }

void slot_done(struct slot *x)
{
    struct conn *c = x->conn;
    x->kind = SLOT_DONE;
    if (c->head == x) {
        slots_written(c); /* x is free now */
    }
    resp_conn_touch(c);
}

void slots_written(struct conn *c)
{
    while (c->head != NULL) {
        struct slot *x = c->head;
        if (x->answer.failed) {
            c->out.failed = true;
        }
        buf_put(&c->out, x->answer.data, x->answer.len);
        buf_clear(&x->answer);
        if (x->kind != SLOT_DONE) {
            return;
        }
        c->head = x->next;
        if (c->head == NULL) {
            c->tail = NULL;
        }
        ASSERT(c->slots > 0);
        c->slots--;
        c->slots_bytes -= x->words.len;
        slot_free(x);
    }
}
