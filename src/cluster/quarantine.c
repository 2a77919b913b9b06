/* Replicas that differ: who is wrong?
 *
 * Every entry carries the digest of the state it was computed on. A node whose own digest
 * differs stops before that entry and asks all others for theirs, taken before the same
 * index (design.md 2.1, 5):
 *
 *   majority has another digest than we  -> we are wrong: quarantine
 *   majority has ours                    -> the proposer was wrong. Its group is committed
 *                                           and may have been acknowledged, so it is not
 *                                           thrown away: apply.c salvages it, transaction by
 *                                           transaction, the same on every correct node
 *   neither                              -> stand still and ask again
 *
 * A question shows the asker's own digest, so a leader that computed on a wrong state
 * learns it from the questions: contradicted by a majority it quarantines itself, and the
 * others elect another.
 *
 * Quarantined: the core gets no events and sends nothing, so no votes are given or asked;
 * reads and proposals are refused. The log on disk is good, only the state is not.
 *
 * Invariants
 *   Q1 ring[] holds the digest before the last DIGEST_RING commands, as this node had it
 *   Q2 a node leaves suspicion only by a majority of the voters, itself counted */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/log.h"
#include "cluster/internal.h"

#define ASK_EVERY_MS 200

void digest_record(struct cluster *c, uint64_t index, uint64_t digest)
{
    struct digest_mark *m = &c->ring[index % DIGEST_RING];
    m->index = index;
    m->digest = digest;
    c->newest_digest = index;
}

void digest_forget(struct cluster *c, uint64_t index)
{
    struct digest_mark *m = &c->ring[index % DIGEST_RING];
    m->index = m->index == index ? 0 : m->index;
}

bool digest_known(const struct cluster *c, uint64_t index, uint64_t *digest)
{
    const struct digest_mark *m = &c->ring[index % DIGEST_RING];
    *digest = m->digest;
    return index != 0 && m->index == index;
}

static void ask_all(struct cluster *c)
{
    c->suspect_asked_ms = now_ms(c);
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->member) {
            struct buf b = BUF_INIT;
            wire_put_words(&b, WIRE_DIGEST_ASK, 2, c->suspect_index, c->suspect_digest, 0);
            peer_send(c, p, &b);
        }
    }
}

/* How many voters, this node included, had `digest` before `index`. */
static unsigned count_claims(const struct cluster *c, uint64_t index, uint64_t digest)
{
    uint64_t mine;
    unsigned n = digest_known(c, index, &mine) && mine == digest && is_voter(c, c->raft.id);
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        n += p->claim_index == index && p->claim_digest == digest && is_voter(c, p->node_id);
    }
    return n;
}

void quarantine_enter(struct cluster *c, const char *why)
{
    if (c->quarantined) {
        return;
    }
    c->quarantined = true;
    snprintf(c->quarantine_text, sizeof c->quarantine_text,
             "%s; it serves nothing and votes for nobody. Rebuild it from the others: stop it, and "
             "start it again with --rebuild (its files in %s are moved aside)",
             why, c->dir);
    c->ready = false;
    propose_undo(c);
    snapshot_abandon(c);
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->send != NULL) {
            snapshot_send_abort(c, p, "quarantine");
        }
    }
    cluster_fail(c, false, ERR_NOTREADY, "%s", c->quarantine_text);
}

/* Looks whether a majority agrees on what stood before `index`. */
static void judge(struct cluster *c, uint64_t index)
{
    uint64_t mine;
    if (c->quarantined || !digest_known(c, index, &mine)) {
        return;
    }
    unsigned majority = voters_count(c) / 2 + 1;
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->claim_index == index && p->claim_digest != mine &&
            count_claims(c, index, p->claim_digest) >= majority) {
            char why[160];
            snprintf(why, sizeof why,
                     "this node's state before entry %llu differs from the majority's",
                     (unsigned long long)index);
            quarantine_enter(c, why);
            return;
        }
    }
    if (c->suspect_index == index && !c->suspect_right &&
        count_claims(c, index, mine) >= majority) {
        c->suspect_right = true;
        c->again = true;
    }
}

void suspect_begin(struct cluster *c, uint64_t index)
{
    c->suspect_index = index;
    c->suspect_digest = store_digest(c->store);
    c->suspect_right = false;
    ask_all(c);
    judge(c, index);
}

void suspect_tick(struct cluster *c)
{
    if (c->suspect_index != 0 && !c->quarantined &&
        now_ms(c) - c->suspect_asked_ms >= ASK_EVERY_MS) {
        ask_all(c);
    }
}

static void claim(struct cluster *c, struct peer *p, uint64_t index, uint64_t digest)
{
    p->claim_index = index;
    p->claim_digest = digest;
    judge(c, index);
}

void quarantine_on_ask(struct cluster *c, struct peer *p, uint64_t index, uint64_t digest)
{
    uint64_t mine;
    if (!p->member || !c->raft_on) {
        return;
    }
    if (digest_known(c, index, &mine)) {
        struct buf b = BUF_INIT;
        wire_put_words(&b, WIRE_DIGEST, 2, index, mine, 0);
        peer_send(c, p, &b);
    } /* else not there yet, or long past: the asker asks again, or others know */
    claim(c, p, index, digest);
}

void quarantine_on_digest(struct cluster *c, struct peer *p, uint64_t index, uint64_t digest)
{
    if (p->member && c->raft_on) {
        claim(c, p, index, digest);
    }
}
