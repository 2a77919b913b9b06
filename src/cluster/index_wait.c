/* Waiting until an index is applied here: --min-index, and sessions that read their own writes.
 *
 * A heap, the lowest index first: whoever asks in whatever order costs the logarithm of those who
 * wait. They are told in the turn in which their entry is applied, the others that it has not come
 * at the tick behind their deadline.
 *
 * How it fails: without memory ERR_NOMEM, beyond INDEX_WAITS_MAX ERR_BUSY. */
#define LOG_MODULE "cluster"

#include "base/limits.h"
#include "base/mem.h"
#include "cluster/internal.h"

static void swap(struct index_wait *a, struct index_wait *b)
{
    struct index_wait w = *a;
    *a = *b;
    *b = w;
}

static void sink(struct index_waits *h, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && h->wait[child + 1].index < h->wait[child].index) {
            child++;
        }
        if (h->wait[i].index <= h->wait[child].index) {
            return;
        }
        swap(&h->wait[i], &h->wait[child]);
    }
}

static void rise(struct index_waits *h, size_t i)
{
    for (size_t up; i > 0 && h->wait[up = (i - 1) / 2].index > h->wait[i].index; i = up) {
        swap(&h->wait[i], &h->wait[up]);
    }
}

void index_waits_run(struct cluster *c)
{
    struct index_waits *h = &c->waits;
    while (h->count > 0 && h->wait[0].index <= c->applied) {
        struct index_wait w = h->wait[0];
        h->wait[0] = h->wait[--h->count];
        sink(h, 0);
        cluster_later(c, w.cb, w.arg, 0);
    }
}

void index_waits_expire(struct cluster *c, uint64_t now)
{
    struct index_waits *h = &c->waits;
    size_t left = 0;
    for (size_t i = 0; i < h->count; i++) {
        if (now >= h->wait[i].deadline_ms) {
            cluster_later(c, h->wait[i].cb, h->wait[i].arg, ERR_UNKNOWN);
        } else {
            h->wait[left++] = h->wait[i];
        }
    }
    if (left == h->count) {
        return;
    }
    h->count = left;
    for (size_t i = left / 2; i-- > 0;) {
        sink(h, i);
    }
}

void index_waits_cancel(struct cluster *c)
{
    struct index_waits *h = &c->waits;
    while (h->count > 0) {
        const struct index_wait *w = &h->wait[--h->count];
        cluster_later(c, w->cb, w->arg, ERR_CANCELED);
    }
    mem_free(h->wait);
    *h = (struct index_waits){ 0 };
}

static int room(struct index_waits *h)
{
    if (h->count >= INDEX_WAITS_MAX) {
        return ERR_BUSY;
    }
    if (h->count == h->cap) {
        size_t cap = h->cap == 0 ? 16 : h->cap * 2;
        struct index_wait *wait = mem_realloc(h->wait, cap * sizeof *wait);
        if (wait == NULL) {
            return ERR_NOMEM;
        }
        h->wait = wait;
        h->cap = cap;
    }
    return 0;
}

void cluster_wait_index(struct cluster *c, uint64_t index, uint64_t timeout_ms, cluster_read_cb cb,
                        void *arg)
{
    struct index_waits *h = &c->waits;
    cluster_kick(c);
    int status = c->applied >= index ? 0 : c->dead ? ERR_CANCELED : room(h);
    if (c->applied >= index || status != 0) {
        cluster_later(c, cb, arg, status);
        return;
    }
    h->wait[h->count] = (struct index_wait){ cb, arg, index, now_ms(c) + timeout_ms };
    rise(h, h->count++);
}
