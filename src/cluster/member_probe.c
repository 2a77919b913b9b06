/* Who answers at an address? Asked before anything is logged (docs/design.md, 5).
 *
 * The leader keeps a link to the address while somebody wants it added and says hello over
 * it. The answers come from two places: the handshake (other secret, other cluster, another
 * spelling of a member's address, this very node) and the node's own hello (empty, promised,
 * member). Only "no answer yet" is waited for: the documented order is add first, start
 * second. Everything else is final and says what to do.
 *
 *   no host, no answer, no hello yet     ERR_NOTREADY, the caller asks again
 *   empty, or an old member of ours      0 and its id: its log goes on where it ended
 *   anything else                        final
 *
 * A candidate is forgotten when nobody has wanted it for some seconds. */
#define LOG_MODULE "member"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cluster/internal.h"

#define FRESH_MS 3000 /* an answer counts this long */
#define GREET_MS 300

static void wait_for(struct cluster_change_state *st, const char *text)
{
    st->stage = STAGE_REACHING;
    (void)snprintf(st->text, sizeof st->text, "%s", text);
}

static bool fresh(const struct cluster *c, uint64_t at_ms)
{
    return at_ms != 0 && now_ms(c) - at_ms < FRESH_MS;
}

/* Somebody proved the secret there, but the link was refused: who was it? */
static int judge_refused(struct cluster *c, const struct peer *p, struct cluster_change_state *st)
{
    const struct raft_server *known = conf_by_id(c, p->other_id);
    if (p->other_id == c->raft.id || (known != NULL && known->id == p->other_id)) {
        const char *name = p->other_id == c->raft.id ? c->address : known->address;
        change_fail(st, ERR_CONFLICT, "`nodes` lists the members",
                    "%s is %s, which is a member already; nothing was changed", p->address, name);
    } else if (strcmp(p->other_address, p->address) != 0) {
        change_fail(st, ERR_CONFLICT, "use the address that the node itself uses",
                    "the node at %s calls itself %s; nothing was changed", p->address,
                    p->other_address);
    } else if (p->other_cluster != 0 && p->other_cluster != c->identity.cluster_id) {
        change_fail(st, ERR_CONFLICT,
                    "stop it, remove its data directory, start it again and repeat this command",
                    "%s belongs to another cluster (%016llx); nothing was changed", p->address,
                    (unsigned long long)p->other_cluster);
    } else {
        change_fail(st, ERR_CONFLICT, "the node's own log says more", "%s: %s; nothing was changed",
                    p->address, p->down);
    }
    return ERR_CONFLICT;
}

static int judge_down(struct cluster *c, const struct peer *p, struct cluster_change_state *st)
{
    if (p->other_id != 0) {
        return judge_refused(c, p, st);
    }
    if (p->down_code == ERR_NOAUTH) {
        change_fail(st, ERR_NOAUTH, "give both profiles the same `secret` and start the node again",
                    "%s has another secret than this cluster; nothing was changed", p->address);
        return ERR_NOAUTH;
    }
    if (p->down_code == ERR_CORRUPT) {
        wait_for(st, "what answers there is no usher node");
    } else {
        wait_for(st, p->down_code != 0 ? p->down : "no answer yet");
    }
    return ERR_NOTREADY;
}

static int judge_hello(struct cluster *c, struct peer *p, uint64_t *node_id,
                       struct cluster_change_state *st)
{
    if (p->version / 1000000 != c->o.version / 1000000) {
        change_fail(st, ERR_CONFLICT, "run the same major version on every node",
                    "%s runs version %u.%u.%u, which does not fit; nothing was changed", p->address,
                    p->version / 1000000, p->version / 1000 % 1000, p->version % 1000);
        return ERR_CONFLICT;
    }
    if (p->hello_state == HELLO_PROMISED) {
        change_fail(st, ERR_CONFLICT,
                    "stop it, remove its data directory, start it again and repeat this command",
                    "%s has promised itself to the founder of another cluster; nothing was changed",
                    p->address);
        return ERR_CONFLICT;
    }
    *node_id = p->node_id;
    return 0;
}

int probe_new(struct cluster *c, const char *address, uint64_t *node_id,
              struct cluster_change_state *st)
{
    struct peer *p = peer_get(c, address);
    if (p == NULL) {
        change_fail(st, ERR_CONFLICT, "`nodes` lists the members",
                    "%s is this node itself; nothing was changed", address);
        return ERR_CONFLICT;
    }
    p->wanted_ms = now_ms(c);
    transport_connect(c->transport, p->address);
    if (!p->up) {
        return judge_down(c, p, st);
    }
    if (!fresh(c, p->hello_ms)) {
        if (now_ms(c) - p->asked_ms >= GREET_MS) {
            p->asked_ms = now_ms(c);
            founding_greet(c, p, true);
        }
        wait_for(st, "it was reached and has not answered yet");
        return ERR_NOTREADY;
    }
    return judge_hello(c, p, node_id, st);
}

/* A member's address where another node lives now: its disk was emptied or replaced. The
 * link is refused while the old identity is a member, so the handshake is all there is. */
int probe_replaced(struct cluster *c, const struct raft_server *old, uint64_t *node_id,
                   struct cluster_change_state *st)
{
    struct peer *p = peer_find(c, old->address);
    if (old->id == c->raft.id || (p != NULL && p->up && p->link_id == old->id)) {
        change_fail(st, ERR_CONFLICT,
                    "to rebuild it: stop it, remove its data directory, start it again, and repeat "
                    "this command",
                    "%s is up with the identity it has always had; nothing was changed",
                    old->address);
        return ERR_CONFLICT;
    }
    if (p != NULL && p->up) { /* it has been in our cluster before: its log goes on */
        *node_id = p->link_id;
        return 0;
    }
    if (p == NULL || p->other_id == 0 || p->other_id == old->id ||
        strcmp(p->other_address, old->address) != 0) {
        wait_for(st, "no answer yet from a node with an empty data directory");
        return ERR_NOTREADY;
    }
    if (p->other_cluster != 0 && p->other_cluster != c->identity.cluster_id) {
        return judge_refused(c, p, st);
    }
    *node_id = p->other_id;
    return 0;
}
