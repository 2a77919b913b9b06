/* Linearizable reads without a log write (Raft dissertation, 6.4).
 *
 * A read notes the commit index at its arrival and waits for a proof, made after its
 * arrival, that this node still leads:
 *
 *   a round: a number sent to all voters and echoed by a majority in this term, or
 *   an entry of this term, appended after the arrival, has committed
 *
 * then for the commit index to be applied. Reads that arrive while a round is out wait for
 * the next one: echoes already on their way prove nothing for them. One round serves all
 * that wait.
 *
 * Invariants
 *   RD1 a round that proves a read was issued after the read arrived
 *   RD2 a round counts only echoes of its own term, and answers only reads of that term */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/mem.h"
#include "cluster/internal.h"

static void send_round(struct cluster *c)
{
    c->round_sent_ms = now_ms(c);
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->member && is_voter(c, p->node_id) && p->echoed < c->round) {
            struct buf b = BUF_INIT;
            wire_put_words(&b, WIRE_ROUND, 2, c->raft.current_term, c->round, 0);
            peer_send(c, p, &b);
        }
    }
}

static void open_round(struct cluster *c)
{
    c->round++;
    c->round_open = true;
    send_round(c);
}

static bool round_proved(const struct cluster *c)
{
    unsigned n = is_voter(c, c->raft.id) ? 1 : 0;
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        n += p->echoed >= c->round && is_voter(c, p->node_id);
    }
    return n > voters_count(c) / 2;
}

void reads_on_round(struct cluster *c, struct peer *p, uint64_t term, uint64_t round)
{
    if (!c->raft_on || c->dead || c->quarantined || term != c->raft.current_term) {
        return; /* RD2: whoever is in another term confirms nothing */
    }
    struct buf b = BUF_INIT;
    wire_put_words(&b, WIRE_ECHO, 2, term, round, 0);
    peer_send(c, p, &b);
}

void reads_on_echo(struct cluster *c, struct peer *p, uint64_t term, uint64_t round)
{
    if (cluster_leads(c) && term == c->raft.current_term && round <= c->round &&
        round > p->echoed) {
        p->echoed = round;
    }
}

static struct reader_wait *take_first(struct cluster *c)
{
    struct reader_wait *w = c->reads;
    c->reads = w->next;
    if (c->reads == NULL) {
        c->reads_tail = NULL;
    }
    return w;
}

/* Everybody waiting gets the same status. */
void reads_fail(struct cluster *c, int status)
{
    c->round_open = false;
    while (c->reads != NULL) {
        struct reader_wait *w = take_first(c);
        cluster_later(c, w->cb, w->arg, status);
        mem_free(w);
    }
}

static void mark_proved(struct cluster *c)
{
    bool proved = c->round_open && round_proved(c);
    if (proved) {
        c->round_open = false;
    }
    bool entry = log_cache_term(&c->log, c->commit) == c->raft.current_term;
    for (struct reader_wait *w = c->reads; w != NULL; w = w->next) {
        if ((proved && w->round <= c->round) || (entry && c->commit > w->last_index)) {
            w->proved = true;
        }
    }
}

void reads_run(struct cluster *c)
{
    index_waits_run(c);
    if (c->reads == NULL) {
        return;
    }
    if (!cluster_leads(c) || c->reads->term != c->raft.current_term) {
        reads_fail(c, ERR_NOTLEADER);
        return;
    }
    if (!c->ready) {
        return; /* the commit index is not known to be the newest yet */
    }
    mark_proved(c);
    while (c->reads != NULL && c->reads->proved && c->applied >= c->reads->index) {
        struct reader_wait *w = take_first(c);
        cluster_later(c, w->cb, w->arg, 0);
        mem_free(w);
    }
    if (!c->round_open && c->reads != NULL && !c->reads_tail->proved) {
        open_round(c);
        if (round_proved(c)) { /* the only voter */
            c->again = true;
        }
    }
}

void reads_tick(struct cluster *c)
{
    uint64_t now = now_ms(c);
    read_index_tick(c);
    while (c->reads != NULL && now >= c->reads->deadline_ms) {
        struct reader_wait *w = take_first(c);
        cluster_later(c, w->cb, w->arg, ERR_NOQUORUM);
        mem_free(w);
    }
    if (c->round_open && cluster_leads(c) && now - c->round_sent_ms >= c->heartbeat_ms) {
        send_round(c); /* a frame may have been lost with a link */
    }
    index_waits_expire(c, now);
}

void reads_cancel(struct cluster *c)
{
    reads_fail(c, ERR_CANCELED);
    read_index_cancel(c);
    index_waits_cancel(c);
}

void cluster_read(struct cluster *c, cluster_read_cb cb, void *arg)
{
    cluster_kick(c);
    if (!cluster_leads(c)) {
        cluster_later(c, cb, arg, ERR_NOTLEADER);
        return;
    }
    struct reader_wait *w = mem_zalloc(sizeof *w);
    if (w == NULL) {
        cluster_later(c, cb, arg, ERR_NOMEM);
        return;
    }
    w->cb = cb;
    w->arg = arg;
    w->term = c->raft.current_term;
    w->round = c->round + 1; /* RD1: the one that is out now began before us */
    w->last_index = log_cache_last(&c->log);
    /* While not ready the newest commit may be unknown: then the whole log counts. */
    w->index = c->ready ? c->commit : w->last_index;
    w->deadline_ms = now_ms(c) + 4u * c->election_ms;
    if (c->reads_tail != NULL) {
        c->reads_tail->next = w;
    } else {
        c->reads = w;
    }
    c->reads_tail = w;
}

int cluster_local_ready(const struct cluster *c, struct error *e)
{
    if (c->quarantined) {
        return error_set(e, ERR_NOTREADY, "%s", c->quarantine_text);
    }
    if (!c->raft_on || c->dead || c->removed) {
        (void)error_set(e, ERR_NOTREADY, "this node serves nothing: %s",
                        c->removed ? "it was removed from the cluster"
                        : c->dead  ? "it is stopping"
                                   : "it has no cluster yet");
        if (c->removed) {
            error_hint(e, "ask a member; stop this node, or add it again: add-node %s", c->address);
        } else {
            error_hint(e, c->dead ? "ask another node" : "`status` says whom it waits for");
        }
        return e->code;
    }
    if (cluster_leads(c) && c->ready) {
        return 0;
    }
    if (!c->learned || c->applied < c->learned_index || c->installing) {
        (void)error_set(e, ERR_NOTREADY, "this node has not caught up since its start");
        error_hint(e, "ask another node, or this one again in a moment");
        return e->code;
    }
    return 0;
}
