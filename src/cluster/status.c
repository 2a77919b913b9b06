/* What the node says about itself. Reads state, changes nothing. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/internal.h"

const char *cluster_role_name(int role)
{
    switch (role) {
    case ROLE_FOUNDING: return "founding";
    case ROLE_FOLLOWER: return "follower";
    case ROLE_CANDIDATE: return "candidate";
    case ROLE_LEADER: return "leader";
    case ROLE_QUARANTINED: return "quarantined";
    case ROLE_REMOVED: return "removed";
    default: return "unknown";
    }
}

int status_role(const struct cluster *c)
{
    if (c->quarantined) {
        return ROLE_QUARANTINED;
    }
    if (c->removed) {
        return ROLE_REMOVED;
    }
    if (!c->raft_on) {
        return ROLE_FOUNDING;
    }
    switch (c->raft.state) {
    case RAFT_LEADER: return ROLE_LEADER;
    case RAFT_CANDIDATE: return ROLE_CANDIDATE;
    default: return ROLE_FOLLOWER;
    }
}

const char *status_leader(struct cluster *c)
{
    raft_id id = 0;
    const char *address = NULL;
    if (c->raft_on && !c->dead && !c->quarantined && !c->removed) {
        raft_leader(&c->raft, &id, &address);
    }
    return id != 0 && address != NULL ? address : "";
}

/* What its frames have told. */
static void fill_seen(struct cluster *c, const struct peer *p, struct cluster_member *m)
{
    uint64_t mine = 0;
    m->heard_ms = p->heard_ms != 0 ? now_ms(c) - p->heard_ms : UINT64_MAX;
    m->rtt_us = p->up ? p->rtt_us : 0;
    m->deaf = p->up && p->unheard >= UNHEARD_MAX;
    m->clock_known = p->clock_ms != 0;
    m->clock_ms = m->clock_known ? clock_offset(c, p) : 0;
    if (!p->up) {
        snprintf(m->why, sizeof m->why, "%.*s", (int)sizeof m->why - 1,
                 p->down_code != 0 ? p->down : "no answer yet");
    }
    if (p->vitals_ms != 0) {
        m->vitals = p->vitals;
        m->vitals_ms = now_ms(c) - p->vitals_ms;
        if (digest_known(c, p->vitals.digest_index, &mine)) {
            m->digest_agrees = mine == p->vitals.digest ? 1 : -1;
        }
    }
}

static void fill_member(struct cluster *c, const struct raft_server *s, struct cluster_member *m)
{
    struct peer *p = peer_get(c, s->address);
    raft_index match = 0;
    memset(m, 0, sizeof *m);
    m->self = s->id == c->raft.id;
    m->address = m->self || p == NULL ? c->address : p->address;
    m->node_id = s->id;
    m->voter = s->role == RAFT_VOTER;
    m->leader = strcmp(status_leader(c), s->address) == 0;
    m->reachable = m->self || (p != NULL && p->up && p->link_id == s->id);
    m->vitals_ms = m->heard_ms = UINT64_MAX;
    if (m->self) {
        m->vitals = c->vitals;
        m->vitals_ms = m->heard_ms = 0;
        m->clock_known = true;
        m->digest_agrees = 1;
    } else if (p != NULL) {
        fill_seen(c, p, m);
    }
    if (cluster_leads(c) && raft_match_index(&c->raft, s->id, &match) == 0) {
        m->match = match;
    }
}

static void fill_members(struct cluster *c, struct cluster_status *out)
{
    unsigned n = c->raft_on ? c->raft.configuration.n : 0;
    mem_free(c->members);
    c->members = n > 0 ? mem_alloc(n * sizeof *c->members) : NULL;
    out->members = c->members;
    for (unsigned i = 0; c->members != NULL && i < n; i++) {
        fill_member(c, &c->raft.configuration.servers[i], &c->members[i]);
        out->members_count++;
    }
}

void cluster_status(struct cluster *c, struct cluster_status *out)
{
    memset(out, 0, sizeof *out);
    out->address = c->address;
    out->leader = status_leader(c);
    out->node_id = c->identity.node_id;
    out->cluster_id = c->identity.cluster_id;
    out->term = c->raft_on ? raft_current_term(&c->raft) : 0;
    out->commit = c->commit;
    out->applied = c->applied;
    out->last = log_cache_last(&c->log);
    out->digest = store_digest(c->store);
    out->snapshot_index = c->log.snapshot_index;
    out->role = status_role(c);
    out->ready = cluster_leads(c) && c->ready;
    buf_clear(&c->waiting);
    if (!c->raft_on) {
        founding_waiting(c, &c->waiting);
    } else if (c->quarantined) {
        buf_put_str(&c->waiting, c->quarantine_text);
    }
    buf_put_u8(&c->waiting, 0);
    out->waiting = c->waiting.failed ? "" : (const char *)c->waiting.data;
    out->log_bytes = journal_log_bytes(c->journal);
    out->entries_in_flight = c->own_count;
    fill_members(c, out);
}
