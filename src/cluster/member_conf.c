/* Configurations: looking things up, making the next one, telling what has changed.
 *
 * A change goes through the core as a RAFT_CHANGE entry and counts from the moment it is in
 * the log. At most one is under way: the core refuses a second (RAFT_CANTCHANGE), and nothing
 * is submitted while leadership is being handed over (docs/engine.md, trap 10).
 *
 * Invariants
 *   MC1 every configuration submitted has a voter (trap 5: the core would accept none)
 *   MC2 it differs from the one before in one server */
#define LOG_MODULE "member"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"

const struct raft_server *conf_by_id(const struct cluster *c, uint64_t node_id)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (c->raft.configuration.servers[i].id == node_id) {
            return &c->raft.configuration.servers[i];
        }
    }
    return NULL;
}

const struct raft_server *conf_by_address(const struct cluster *c, const char *address)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (strcmp(c->raft.configuration.servers[i].address, address) == 0) {
            return &c->raft.configuration.servers[i];
        }
    }
    return NULL;
}

unsigned conf_reachable(const struct cluster *c, uint64_t without_id)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        if (s->role != RAFT_VOTER || s->id == without_id) {
            continue;
        }
        const struct peer *p = c->peers;
        while (p != NULL && strcmp(p->address, s->address) != 0) {
            p = p->next;
        }
        n += s->id == c->raft.id || (p != NULL && p->up && p->link_id == s->id);
    }
    return n;
}

/* The newest configuration with one server put in, changed or left out. */
static int build(const struct cluster *c, uint64_t node_id, const char *address, int role,
                 struct raft_buffer *out)
{
    const struct raft_configuration *now = &c->raft.configuration;
    struct raft_configuration next;
    bool found = false;
    unsigned voters = 0;
    int rv = 0;
    raft_configuration_init(&next);
    for (unsigned i = 0; i < now->n && rv == 0; i++) {
        const struct raft_server *s = &now->servers[i];
        bool it = s->id == node_id;
        int as = it ? role : s->role;
        found = found || it;
        if (as >= 0) {
            rv = raft_configuration_add(&next, s->id, s->address, as);
            voters += as == RAFT_VOTER;
        }
    }
    if (rv == 0 && !found && role >= 0) {
        rv = raft_configuration_add(&next, node_id, address, role);
        voters += role == RAFT_VOTER;
    }
    if (rv == 0 && voters == 0) {
        rv = RAFT_INVALID; /* MC1 */
    }
    if (rv == 0) {
        rv = raft_configuration_encode(&next, out);
    }
    raft_configuration_close(&next);
    return rv;
}

bool conf_submit(struct cluster *c, uint64_t node_id, const char *address, int role)
{
    struct raft_buffer bytes = { NULL, 0 };
    if (!cluster_leads(c) || c->batch || raft_transferee(&c->raft) != 0 ||
        c->raft.configuration_uncommitted_index != 0) {
        return false;
    }
    int rv = build(c, node_id, address, role, &bytes);
    if (rv != 0) {
        log_error("no configuration can be made for %s: %s", address, raft_strerror(rv));
        return false;
    }
    struct payload *payload = payload_of_raft(bytes.base);
    rv = propose_submit(c, RAFT_CHANGE, payload, bytes.base, bytes.len);
    if (rv != 0) {
        payload_unref(payload);
        if (rv != RAFT_NOTLEADER && rv != RAFT_CANTCHANGE) {
            driver_stepped(c, rv, "configuration change");
        }
    }
    return rv == 0;
}

/* ---- What has changed -------------------------------------------------------------------- */

static bool open_conf(struct span bytes, struct raft_configuration *conf)
{
    struct raft_buffer b = { (void *)(uintptr_t)bytes.data, bytes.len };
    raft_configuration_init(conf);
    return bytes.len > 0 && raft_configuration_decode(&b, conf) == 0;
}

static const struct raft_server *server_in(const struct raft_configuration *conf, uint64_t id)
{
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id) {
            return &conf->servers[i];
        }
    }
    return NULL;
}

static void tell_one(struct cluster *c, uint64_t index, const struct raft_server *s,
                     const char *change, unsigned voters)
{
    struct cluster_member_change m = { s->address, change, s->id, index, voters };
    log_info("%s is %s; voters: %u", s->address,
             strcmp(change, "removed") == 0 ? "no member any more"
             : strcmp(change, "voter") == 0 ? "a voter"
                                            : "a learner",
             voters);
    if (c->o.on.member != NULL && !c->stopping) {
        c->o.on.member(c->o.arg, &m);
    }
}

/* Tells the user, and the removed themselves. */
void conf_tell(struct cluster *c, uint64_t index, struct span before, struct span after)
{
    struct raft_configuration old, new;
    unsigned voters = 0;
    if (!open_conf(after, &new)) {
        return;
    }
    if (open_conf(before, &old)) {
        for (unsigned i = 0; i < new.n; i++) {
            voters += new.servers[i].role == RAFT_VOTER;
        }
        for (unsigned i = 0; i < new.n; i++) {
            const struct raft_server *s = &new.servers[i], *was = server_in(&old, s->id);
            if (was == NULL || was->role != s->role) {
                tell_one(c, index, s, s->role == RAFT_VOTER ? "voter" : "learner", voters);
            }
        }
        for (unsigned i = 0; i < old.n; i++) {
            if (server_in(&new, old.servers[i].id) == NULL) {
                tell_one(c, index, &old.servers[i], "removed", voters);
                struct peer *p = peer_find(c, old.servers[i].address);
                if (p != NULL) {
                    told_check(c, p, old.servers[i].id);
                }
            }
        }
    }
    raft_configuration_close(&old);
    raft_configuration_close(&new);
}
