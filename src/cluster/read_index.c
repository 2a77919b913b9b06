/* The read index (Raft paper, 6.4; Ongaro's thesis, 6.4): what was acknowledged before this
 * call is at most here.
 *
 *   a leader:    proves its leadership with a round (reads.c); then what it has applied
 *   any other:   WIRE_INDEX_ASK(serial) to the leader, which does that and answers
 *                WIRE_INDEX(serial, index, status); then it waits until that is applied here
 *
 * How it fails: no leader, a lost frame, a leader that is deposed meanwhile: the question is
 * put again every ASK_EVERY_MS until ASK_MS have passed, then NOQUORUM. What was proved is waited
 * for longer: a node that lags needs its time.
 *
 * Invariants
 *   RI1 the proof began after the call: an answer to an older serial counts for nothing
 *   RI2 every asker is called exactly once, at the latest when the cluster stops */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/mem.h"
#include "cluster/backup.h"
#include "cluster/internal.h"

#define ASK_MS       2000
#define ASK_EVERY_MS 400
#define APPLY_MS     10000

struct index_ask {
    struct index_ask *next;
    struct cluster *c;
    cluster_index_cb cb;
    void *arg;
    uint64_t serial, index, deadline_ms, again_ms;
    bool waiting; /* a callback of reads.c is out: not to be freed */
    int status;
};

/* A follower's question at the leader. */
struct index_answer {
    struct cluster *c;
    uint64_t serial;
    char address[ADDRESS_BYTES_MAX + 1];
};

static void unlink_ask(struct index_ask *a)
{
    struct index_ask **at = &a->c->index_asks;
    while (*at != a) {
        at = &(*at)->next;
    }
    *at = a->next;
}

static void deliver(void *arg, int status)
{
    struct index_ask *a = arg;
    a->cb(a->arg, status != 0 ? status : a->status, a->index);
    mem_free(a);
}

static void finish(struct index_ask *a, int status)
{
    a->status = status;
    unlink_ask(a);
    cluster_later(a->c, deliver, a, status);
}

static void on_applied(void *arg, int status)
{
    struct index_ask *a = arg;
    a->waiting = false;
    finish(a, status == ERR_UNKNOWN ? ERR_NOQUORUM : status);
}

static void proved(struct index_ask *a, uint64_t index)
{
    a->index = index;
    a->waiting = true;
    cluster_wait_index(a->c, index, APPLY_MS, on_applied, a);
}

static void on_own_read(void *arg, int status)
{
    struct index_ask *a = arg;
    a->waiting = false;
    if (status == 0) {
        proved(a, a->c->applied);
    } else if (status == ERR_CANCELED || a->c->dead) {
        finish(a, ERR_CANCELED);
    } /* else the tick asks again, here or at the new leader */
}

static void ask(struct index_ask *a)
{
    struct cluster *c = a->c;
    a->again_ms = now_ms(c) + ASK_EVERY_MS;
    if (cluster_leads(c)) {
        a->waiting = true;
        cluster_read(c, on_own_read, a);
        return;
    }
    const char *leader = status_leader(c);
    struct peer *p = leader[0] != '\0' ? peer_find(c, leader) : NULL;
    if (p != NULL) {
        struct buf b = BUF_INIT;
        a->serial = ++c->index_serial; /* RI1 */
        wire_put_words(&b, WIRE_INDEX_ASK, 1, a->serial, 0, 0);
        peer_send(c, p, &b);
    }
}

void cluster_read_index(struct cluster *c, cluster_index_cb cb, void *arg)
{
    struct index_ask *a = mem_must_alloc(sizeof *a);
    *a = (struct index_ask){ .c = c, .cb = cb, .arg = arg, .deadline_ms = now_ms(c) + ASK_MS };
    a->next = c->index_asks;
    c->index_asks = a;
    cluster_kick(c);
    if (c->dead || c->quarantined || c->removed || !c->raft_on) {
        finish(a, c->dead ? ERR_CANCELED : ERR_NOTREADY);
    } else {
        ask(a);
    }
}

void read_index_tick(struct cluster *c)
{
    uint64_t now = now_ms(c);
    for (struct index_ask *a = c->index_asks, *next; a != NULL; a = next) {
        next = a->next;
        if (a->waiting) {
            continue;
        }
        if (now >= a->deadline_ms) {
            finish(a, ERR_NOQUORUM);
        } else if (now >= a->again_ms) {
            ask(a);
        }
    }
}

void read_index_cancel(struct cluster *c)
{
    for (struct index_ask *a = c->index_asks, *next; a != NULL; a = next) {
        next = a->next;
        if (!a->waiting) {
            finish(a, ERR_CANCELED);
        }
    }
}

/* ---- Between nodes ------------------------------------------------------------------------ */

static void on_read_for_peer(void *arg, int status)
{
    struct index_answer *x = arg;
    struct peer *p = peer_find(x->c, x->address);
    if (status == 0 && p != NULL) {
        struct buf b = BUF_INIT;
        wire_put_words(&b, WIRE_INDEX, 2, x->serial, x->c->applied, 0);
        peer_send(x->c, p, &b);
    }
    mem_free(x);
}

void read_index_on_ask(struct cluster *c, struct peer *p, uint64_t serial)
{
    struct index_answer *x = cluster_leads(c) && p->member ? mem_zalloc(sizeof *x) : NULL;
    if (x == NULL) {
        return; /* not ours to answer: it asks again, another one */
    }
    x->c = c;
    x->serial = serial;
    memcpy(x->address, p->address, sizeof x->address);
    cluster_read(c, on_read_for_peer, x);
}

void read_index_on_answer(struct cluster *c, struct peer *p, uint64_t serial, uint64_t index)
{
    (void)p;
    for (struct index_ask *a = c->index_asks; a != NULL; a = a->next) {
        if (!a->waiting && a->serial == serial && serial != 0) {
            proved(a, index);
            return;
        }
    }
}
