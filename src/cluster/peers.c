/* Everybody this node talks to, and what the transport asks and tells about them.
 *
 * A peer is a member, an address of the profile's list, or a stranger: somebody with the
 * secret who asks (a node that looks for its cluster). Frames of the core and of clients are
 * heard only from those who show our cluster id; founding frames from anybody.
 *
 * How it fails: a known address with another node id gets no link and is told why; strangers
 * are limited in number and forgotten when they are silent; malformed frames are dropped. */
#define LOG_MODULE "cluster"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

#define STRANGERS_MAX    16 /* nodes that ask without being listed or members */
#define STRANGER_GONE_MS 30000

/* ---- Peers ------------------------------------------------------------------------------- */

struct peer *peer_find(struct cluster *c, const char *address)
{
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (strcmp(p->address, address) == 0) {
            return p;
        }
    }
    return NULL;
}

/* NULL for this node's own address, too long ones, and without memory. */
struct peer *peer_get(struct cluster *c, const char *address)
{
    struct peer *p = peer_find(c, address);
    if (p != NULL || strcmp(address, c->address) == 0 || strlen(address) > ADDRESS_BYTES_MAX) {
        return p;
    }
    p = mem_zalloc(sizeof *p);
    if (p == NULL) {
        return NULL;
    }
    snprintf(p->address, sizeof p->address, "%s", address);
    struct peer **at = &c->peers;
    while (*at != NULL) {
        at = &(*at)->next; /* in order of appearance: the simulator replays exactly */
    }
    *at = p;
    return p;
}

bool peer_send(struct cluster *c, const struct peer *p, struct buf *b)
{
    bool sent = !b->failed && !c->dead && p->up &&
                transport_send(c->transport, p->address, CHANNEL_CLUSTER, b);
    buf_free(b);
    return sent;
}

void peers_sync(struct cluster *c)
{
    const struct raft_configuration *conf = &c->raft.configuration;
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        p->member = false;
    }
    for (unsigned i = 0; i < conf->n; i++) {
        struct peer *p = peer_get(c, conf->servers[i].address);
        if (p != NULL) {
            p->member = true;
            p->node_id = conf->servers[i].id;
            transport_connect(c->transport, p->address);
        }
    }
}

unsigned voters_count(const struct cluster *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        n += c->raft.configuration.servers[i].role == RAFT_VOTER;
    }
    return n;
}

bool is_voter(const struct cluster *c, uint64_t node_id)
{
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        if (c->raft.configuration.servers[i].id == node_id) {
            return c->raft.configuration.servers[i].role == RAFT_VOTER;
        }
    }
    return false;
}

/* Somebody who only asked and is silent now. */
void peers_forget_strangers(struct cluster *c)
{
    for (struct peer **at = &c->peers; *at != NULL;) {
        struct peer *p = *at;
        bool kept = p->member || (p->listed && !c->raft_on) || p->send != NULL ||
                    (p->wanted_ms != 0 && now_ms(c) - p->wanted_ms < STRANGER_GONE_MS);
        if (!kept && now_ms(c) - p->heard_ms > STRANGER_GONE_MS) {
            transport_disconnect(c->transport, p->address);
            *at = p->next;
            mem_free(p);
        } else {
            at = &p->next;
        }
    }
}

/* ---- The transport's questions and news --------------------------------------------------- */

static uint64_t on_cluster_id(void *arg)
{
    struct cluster *c = arg;
    return c->raft_on ? c->identity.cluster_id : 0;
}

static int on_admit(void *arg, const struct transport_peer *peer, struct error *e)
{
    struct cluster *c = arg;
    if (peer->node_id == c->identity.node_id) {
        return error_set(e, ERR_CONFLICT,
                         "%s has this node's own identity: a copied data "
                         "directory cannot be used twice",
                         peer->address);
    }
    if (!c->raft_on) {
        return 0; /* founding talks to everybody who has the secret */
    }
    if (peer->cluster_id != 0 && peer->cluster_id != c->identity.cluster_id) {
        return error_set(e, ERR_CONFLICT, "%s belongs to another cluster than %s", peer->address,
                         c->address);
    }
    for (unsigned i = 0; i < c->raft.configuration.n; i++) {
        const struct raft_server *s = &c->raft.configuration.servers[i];
        /* One that shows our cluster id was taken in after our newest configuration: its
         * entries bring the one that we lack. */
        if (strcmp(s->address, peer->address) == 0 && s->id != peer->node_id &&
            peer->cluster_id == 0) {
            return error_set(e, ERR_CONFLICT,
                             "%s is known here with another identity (its data directory was "
                             "emptied or replaced): run `usher replace-node %s %s`",
                             peer->address, peer->address, peer->address);
        }
    }
    return feature_admit(c, peer, e);
}

static void on_link(void *arg, const char *address, bool up, const struct transport_peer *peer,
                    const struct error *why)
{
    struct cluster *c = arg;
    struct peer *p = peer_find(c, address);
    if (p == NULL || c->dead) {
        return;
    }
    p->up = up;
    if (up) {
        p->unheard = 0;
        snapshot_send_at_once(p);
        p->refusal[0] = '\0';
        p->down_code = 0;
        p->other_id = p->hello_ms = 0;
        if (peer != NULL) {
            p->version = peer->version;
            p->link_id = peer->node_id;
        }
        p->feature_level = peer != NULL ? peer->feature_level : 0;
        if (!p->member && peer != NULL) {
            p->node_id = peer->node_id;
        }
        founding_link(c, p);
        clock_send(c, p);
    } else {
        p->promised = false;
        p->hello = c->raft_on && p->hello;
        if (why != NULL && why->code == ERR_CONFLICT) {
            snprintf(p->refusal, sizeof p->refusal, "%s", why->message);
        }
        p->down_code = why != NULL ? why->code : ERR_IO;
        snprintf(p->down, sizeof p->down, "%s", why != NULL ? why->message : "no answer");
        p->other_id = 0;
        if (peer != NULL && p->down_code == ERR_CONFLICT) {
            p->other_id = peer->node_id;
            p->other_cluster = peer->cluster_id;
            snprintf(p->other_address, sizeof p->other_address, "%s", peer->address);
        }
        if (p->send != NULL) {
            snapshot_send_abort(c, p, "the link is down");
        }
    }
    cluster_pump(c);
}

static void cluster_frame(struct cluster *c, struct peer *p, const uint8_t *data, size_t len)
{
    struct reader r;
    struct wire_hello hello;
    struct wire_snapshot snap;
    struct wire_change change;
    struct wire_change_state state;
    uint64_t w[3];
    reader_init(&r, data, len);
    uint8_t kind = reader_u8(&r);
    switch (kind) {
    case WIRE_HELLO:
        if (wire_get_hello(&r, &hello) == 0) {
            founding_on_hello(c, p, &hello);
            return;
        }
        break;
    case WIRE_ASK:
    case WIRE_PROMISE:
    case WIRE_CLOCK:
        if (wire_get_words(&r, 1, w)) {
            (kind == WIRE_ASK       ? founding_on_ask
             : kind == WIRE_PROMISE ? founding_on_promise
                                    : clock_on_sample)(c, p, w[0]);
            return;
        }
        break;
    case WIRE_CONFIG: founding_on_config(c, p, &r); return;
    case WIRE_INDEX_ASK:
        if (wire_get_words(&r, 1, w)) {
            read_index_on_ask(c, p, w[0]);
            return;
        }
        break;
    case WIRE_ROUND:
    case WIRE_ECHO:
    case WIRE_COMMIT:
    case WIRE_DIGEST_ASK:
    case WIRE_DIGEST:
    case WIRE_INDEX:
        if (p->member && wire_get_words(&r, 2, w)) {
            (kind == WIRE_ROUND        ? reads_on_round
             : kind == WIRE_ECHO       ? reads_on_echo
             : kind == WIRE_COMMIT     ? commit_on_told
             : kind == WIRE_INDEX      ? read_index_on_answer
             : kind == WIRE_DIGEST_ASK ? quarantine_on_ask
                                       : quarantine_on_digest)(c, p, w[0], w[1]);
            return;
        }
        break;
    case WIRE_SNAP_BEGIN:
        if (wire_get_snapshot(&r, &snap) == 0) {
            snapshot_receive_begin(c, p, &snap);
            return;
        }
        break;
    case WIRE_SNAP_CHUNK: snapshot_receive_chunk(c, p, &r); return;
    case WIRE_CHANGE_ASK:
        if (wire_get_change(&r, &change) == 0) {
            member_on_ask(c, p, &change);
            return;
        }
        break;
    case WIRE_CHANGE_STATE:
        if (wire_get_change_state(&r, &state) == 0) {
            member_on_state(c, p, &state);
            return;
        }
        break;
    case WIRE_PING:
    case WIRE_PONG:
        if (p->member && wire_get_words(&r, 1, w)) {
            (kind == WIRE_PING ? vitals_on_ping : vitals_on_pong)(c, p, w[0]);
            return;
        }
        break;
    case WIRE_VITALS: vitals_on_frame(c, p, &r); return;
    case WIRE_REMOVED:
        if (wire_get_words(&r, 2, w)) {
            told_removed(c, p, w[0], w[1]);
            return;
        }
        break;
    case WIRE_SNAP_ACK:
        if (wire_get_words(&r, 3, w)) {
            snapshot_send_ack(c, p, w[0], w[1], w[2]);
            return;
        }
        break;
    default: break;
    }
    if (!c->dead && kind != WIRE_ROUND && kind != WIRE_ECHO) {
        log_debug("a frame of kind %u from %s was dropped", kind, p->address);
    }
}

static unsigned count_strangers(const struct cluster *c)
{
    unsigned n = 0;
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        n += !p->listed && !p->member;
    }
    return n;
}

/* Kinds that a member may send which our configuration knows under another identity: what a
 * leader sends to whoever has been away. Nothing of it is counted as a voter's word. */
static bool for_laggards(uint8_t kind)
{
    return kind == WIRE_HELLO || kind == WIRE_ROUND || kind == WIRE_SNAP_BEGIN ||
           kind == WIRE_SNAP_CHUNK || kind == WIRE_CHANGE_STATE || kind == WIRE_REMOVED;
}

/* The peer a frame comes from; NULL when it is not to be heard. *other: a member of our
 * cluster, but not the one that our configuration knows at its address. */
static struct peer *sender(struct cluster *c, const struct transport_peer *from, bool *other)
{
    struct peer *p = peer_find(c, from->address);
    if (p == NULL) {
        if (count_strangers(c) >= STRANGERS_MAX) {
            return NULL;
        }
        p = peer_get(c, from->address);
        if (p == NULL) {
            return NULL;
        }
    }
    if (!p->member) {
        /* Answers go over our own link. Somebody of the profile's list may be a member by now that
         * our configuration, which is old, does not know: it needs our vote. */
        transport_connect(c->transport, p->address);
    }
    *other = p->member && p->node_id != from->node_id;
    if (*other) {
        /* Without our cluster id: an emptied disk under an old address (admit says so). */
        return c->raft_on && from->cluster_id == c->identity.cluster_id ? p : NULL;
    }
    p->node_id = from->node_id;
    p->heard_ms = now_ms(c);
    return p;
}

static void on_frame(void *arg, const struct transport_peer *from, enum transport_channel ch,
                     const uint8_t *data, size_t len)
{
    struct cluster *c = arg;
    bool other = false;
    struct peer *p = c->dead ? NULL : sender(c, from, &other);
    bool inside = c->raft_on && from->cluster_id == c->identity.cluster_id;
    if (p == NULL) {
        return;
    }
    if (inside && (other || !p->member)) {
        told_check(c, p, from->node_id);
    }
    switch (ch) {
    case CHANNEL_RAFT: receive_raft(c, from, data, len); break;
    case CHANNEL_CLUSTER:
        if (len > 0 && (inside || data[0] <= WIRE_CLOCK) && (!other || for_laggards(data[0]))) {
            cluster_frame(c, p, data, len);
        }
        break;
    case CHANNEL_SERVICE:
        if (inside && c->o.on.frame != NULL) {
            c->o.on.frame(c->o.arg, from, data, len);
        }
        break;
    default: break;
    }
    cluster_pump(c);
}

int peers_open_transport(struct cluster *c, struct error *e)
{
    struct transport_options t = { .secret = c->o.secret,
                                   .node_id = c->identity.node_id,
                                   .address = c->address,
                                   .version = c->o.version,
                                   .feature_level = feature_own(c),
                                   .cluster_id = on_cluster_id,
                                   .admit = on_admit,
                                   .frame = on_frame,
                                   .link = on_link,
                                   .arg = c };
    return transport_new(c->env, &t, &c->transport, e);
}

/* ---- The public part -------------------------------------------------------------- */

void cluster_accept(struct cluster *c, struct env_stream *stream)
{
    if (c->transport == NULL || c->dead) {
        c->env->ops->stream_close(stream);
        return;
    }
    transport_accept(c->transport, stream);
}

bool cluster_send(struct cluster *c, const char *address, struct buf *b)
{
    struct peer *p = peer_find(c, address);
    bool sent = p != NULL && p->member && p->up && !c->dead && !b->failed &&
                transport_send(c->transport, address, CHANNEL_SERVICE, b);
    buf_free(b);
    return sent;
}
