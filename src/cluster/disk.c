/* A leader whose disk fails it hands over.
 *
 * What a leader commits needs no disk of its own as long as a majority of the others stores. One
 * whose disk hangs, or whose append waits for a descriptor, would thus keep its office, and
 * refuse every write once UNSTORED_BYTES_MAX wait (propose.c); one whose disk is full refuses
 * them at once, though others have room. As a follower it only lags.
 *
 *   well -> the oldest append is out for HANG_ELECTIONS timeouts, or no space for FULL_MS
 *        -> the others can go on without this disk -> RAFT_TRANSFER, or again after
 *           TRY_ELECTIONS election timeouts
 *
 * Invariants
 *   1 it hands over only where a majority without it is connected, tells of no trouble with its
 *     own disks and has stored all that is committed, and the append that hangs here, too: nodes
 *     that share a disk, or that are all full, do not pass the office around. The next leader
 *     judges itself by the same rule.
 *   2 a node that says nothing of its disk (an older program) counts as one that is well */
#define LOG_MODULE "cluster"

#include "base/log.h"
#include "cluster/internal.h"

#define HANG_ELECTIONS 3u
/* Good disks stand still for some hundred milliseconds now and then, however short the timeout. */
#define HANG_MS_MIN    1000
#define TRY_ELECTIONS  10u
/* The others have told of their own disks by then: they look, and tell, once a second. */
#define FULL_MS        3000

uint64_t disk_append_age_ms(const struct cluster *c)
{
    return c->appends != NULL ? now_ms(c) - c->appends->since_ms : 0;
}

static bool hangs(const struct cluster *c)
{
    uint64_t age = disk_append_age_ms(c);
    return age > HANG_MS_MIN && age > (uint64_t)HANG_ELECTIONS * c->election_ms;
}

uint64_t disk_state(const struct cluster *c)
{
    return (journal_has_space(c->journal) ? 0 : DISK_FULL) | (hangs(c) ? DISK_HANGS : 0);
}

static bool other_voter(const struct cluster *c, const struct peer *p)
{
    return p->member && p->up && p->node_id != c->raft.id && is_voter(c, p->node_id);
}

/* With a majority away this is not what is wrong. */
bool disk_majority_has_space(const struct cluster *c)
{
    unsigned up = 1, room = journal_has_space(c->journal) ? 1 : 0;
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        if (other_voter(c, p)) {
            up++;
            room += (p->vitals.disk & DISK_FULL) == 0 ? 1 : 0;
        }
    }
    unsigned majority = voters_count(c) / 2 + 1;
    return up < majority || room >= majority;
}

/* Entries that a leader without this disk must have stored. */
static bool stores(const struct cluster *c, const struct peer *p, uint64_t up_to)
{
    raft_index match = 0;
    return other_voter(c, p) && p->vitals.disk == 0 &&
           raft_match_index(&c->raft, p->node_id, &match) == 0 && match >= up_to;
}

static bool others_go_on(const struct cluster *c)
{
    uint64_t up_to = c->commit, next = transfer_choose(c);
    unsigned well = 0;
    bool next_well = false;
    if (hangs(c) && c->appends->index > up_to) {
        up_to = c->appends->index;
    }
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        if (stores(c, p, up_to)) {
            well++;
            next_well = next_well || p->node_id == next;
        }
    }
    return next_well && well > voters_count(c) / 2;
}

static bool full_for_long(struct cluster *c)
{
    if (journal_has_space(c->journal)) {
        c->full_since_ms = 0;
        return false;
    }
    if (c->full_since_ms == 0) {
        c->full_since_ms = now_ms(c);
    }
    return now_ms(c) - c->full_since_ms >= FULL_MS;
}

static bool may_try(const struct cluster *c)
{
    return !c->transferring && raft_transferee(&c->raft) == 0 &&
           (c->disk_tried_ms == 0 ||
            now_ms(c) - c->disk_tried_ms >= (uint64_t)TRY_ELECTIONS * c->election_ms);
}

void disk_run(struct cluster *c)
{
    if (!cluster_leads(c) || c->handing_over) {
        c->full_since_ms = 0;
        return;
    }
    bool full = full_for_long(c);
    if ((!full && !hangs(c)) || !may_try(c) || !others_go_on(c)) {
        return;
    }
    c->disk_tried_ms = now_ms(c);
    if (hangs(c)) {
        log_warn("an append waits for this node's disk since %llu ms: it hands over leadership",
                 (unsigned long long)disk_append_age_ms(c));
    } else {
        log_warn("this node's disk is full and others have room: it hands over leadership");
    }
    cluster_transfer(c, "", NULL, NULL);
}
