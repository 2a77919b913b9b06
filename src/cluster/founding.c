/* First start: from empty directories to one cluster (design.md 5).
 *
 * The first address of the list founds. Nobody else ever draws a cluster id, and nobody is
 * in a configuration without having promised itself durably, so two clusters cannot come
 * out of one list.
 *
 *   founder:  GATHER  all listed (--found: a majority) say "empty, same list, my id"
 *             ASK     draws the cluster id, durably; asks them to promise themselves to it
 *             WRITING one configuration of exactly those ids, entry 1 of term 1, on its own
 *                     disk first: from now on it can only ever be that one
 *             DONE    raft starts; the others are given the same bytes
 *   others:   WAIT -> PROMISED (durable) -> WRITING -> DONE
 *   anybody:  a member answers that its cluster knows us -> DONE (join with an empty log)
 *             a member answers that it does not -> STRANGER: wait for add-node
 *
 * The promise is a vote in term 0 (journal: term 0, vote = founder's id) plus the cluster id
 * in the identity file, written in this order; it is given once and never changed. A restart
 * finds: term 0 and a vote -> still promised; an entry 1 -> a member; a cluster id without
 * vote -> joined a cluster that knew us.
 *
 * Whoever is a member gives entry 1 to a promised node that is in it, so a founder that dies
 * right after writing strands nobody.
 *
 * Invariants
 *   F1 a cluster id is drawn at most once per directory and only by the first address
 *   F2 a promise names one founder id and one cluster id for ever
 *   F3 the founder sends the configuration only after it is durable on its own disk
 *   F4 lists that differ found nothing; both are shown */
#define LOG_MODULE "founding"

#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

#define HELLO_EVERY_MS 500
#define FOUND_GRACE_MS 3000 /* --found: how long the missing ones may still turn up */
#define SAY_EVERY_MS   10000

#define TO(s) (1u << FOUNDING_##s)
static const unsigned moves[FOUNDING_STATES] = {
    [FOUNDING_WAIT] = TO(PROMISED) | TO(STRANGER) | TO(DONE),
    [FOUNDING_GATHER] = TO(ASK) | TO(STRANGER) | TO(DONE),
    [FOUNDING_ASK] = TO(WRITING) | TO(STRANGER) | TO(DONE),
    [FOUNDING_PROMISED] = TO(WRITING) | TO(DONE),
    [FOUNDING_STRANGER] = TO(DONE),
    [FOUNDING_WRITING] = TO(DONE),
    [FOUNDING_DONE] = 0,
};

static void move(struct cluster *c, enum founding_state to)
{
    ASSERT(moves[c->founding] & (1u << to));
    c->founding = to;
}

/* ---- Hello ------------------------------------------------------------------------ */

static bool same_list(const struct cluster *c, const struct wire_hello *h)
{
    if (h->nodes_count != c->nodes_count) {
        return false;
    }
    for (unsigned i = 0; i < h->nodes_count; i++) {
        if (!span_is(h->nodes[i], c->nodes[i])) {
            return false;
        }
    }
    return true;
}

static bool in_conf(const struct raft_configuration *conf, const struct peer *p)
{
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == p->node_id &&
            strcmp(conf->servers[i].address, p->address) == 0) {
            return true;
        }
    }
    return false;
}

/* The configuration in entry 1, if we still have it and it names this peer; else empty. A
 * snapshot may have taken entry 1 away, but not the configuration while it is the newest. */
static struct span first_conf_for(const struct cluster *c, const struct peer *p)
{
    const struct log_entry *e = log_cache_get(&c->log, 1);
    struct raft_configuration conf;
    struct span none = { NULL, 0 }, first = none;
    if (e != NULL && e->type == RAFT_CHANGE) {
        first = span_make(e->data, e->len);
    } else if (c->conf_index == 1) {
        first = span_make((const char *)c->conf.data, c->conf.len);
    }
    struct raft_buffer b = { (void *)(uintptr_t)first.data, first.len };
    if (first.len == 0 || raft_configuration_decode(&b, &conf) != 0) {
        return none;
    }
    bool found = in_conf(&conf, p);
    raft_configuration_close(&conf);
    return found ? first : none;
}

static void send_config(struct cluster *c, struct peer *p, struct span conf)
{
    struct buf b = BUF_INIT;
    buf_put_u8(&b, WIRE_CONFIG);
    buf_put_u64(&b, c->identity.cluster_id);
    buf_put(&b, conf.data, conf.len);
    peer_send(c, p, &b);
}

static void send_hello(struct cluster *c, struct peer *p, bool answer)
{
    struct wire_hello h = { .answer = answer, .cluster_id = c->identity.cluster_id };
    struct span first = { NULL, 0 };
    if (c->raft_on) {
        h.state = HELLO_MEMBER;
        if (!c->removed && in_conf(&c->raft.configuration, p)) {
            /* Whoever is in entry 1 has promised itself and must start with it: as long as
             * no leader exists, an empty log could neither vote nor be filled. */
            first = first_conf_for(c, p);
            h.known = first.len > 0 ? HELLO_CONFIG : HELLO_KNOWN;
        }
    } else {
        h.state = c->founder_id != 0 && h.cluster_id != 0 ? HELLO_PROMISED : HELLO_EMPTY;
        h.founder_id = c->founder_id;
    }
    for (size_t i = 0; i < c->nodes_count && i < CLUSTER_MEMBERS_MAX; i++) {
        h.nodes[h.nodes_count++] = span_of(c->nodes[i]);
    }
    struct buf b = BUF_INIT;
    wire_put_hello(&b, &h);
    peer_send(c, p, &b);
    if (first.len > 0) {
        send_config(c, p, first);
    }
}

void founding_greet(struct cluster *c, struct peer *p, bool answer) { send_hello(c, p, answer); }

void founding_link(struct cluster *c, struct peer *p)
{
    if (!c->raft_on) {
        send_hello(c, p, true);
    } else if (p->hello && p->hello_state != HELLO_MEMBER) {
        send_hello(c, p, false);
    }
}

/* ---- Raft starts --------------------------------------------------------------------- */

static void start_raft(struct cluster *c, uint64_t term)
{
    struct error e = { 0 };
    move(c, FOUNDING_DONE);
    int rv = term > 0 ? journal_set_vote_now(c->journal, term, 0, &e) : 0;
    if (rv == 0) {
        rv = driver_start(c, term, 0, &e);
    }
    if (rv != 0) {
        cluster_fail(c, true, rv, "%s", e.message);
        return;
    }
    /* Our links have shown cluster id 0 so far: dial again as a member. */
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        transport_disconnect(c->transport, p->address);
        p->up = false;
        transport_connect(c->transport, p->address);
    }
}

static void join(struct cluster *c, struct peer *p, uint64_t cluster_id)
{
    struct error e = { 0 };
    if (c->identity.cluster_id != 0 && c->identity.cluster_id != cluster_id) {
        if (log_allowed(&c->founding_log, now_ms(c), SAY_EVERY_MS)) {
            log_error("%s belongs to a cluster that knows this node, but this node has promised "
                      "itself to another; remove %s to join",
                      p->address, c->dir);
        }
        return;
    }
    c->identity.cluster_id = cluster_id;
    if (journal_set_identity(c->journal, &c->identity, &e) != 0) {
        cluster_fail(c, true, e.code, "%s", e.message);
        return;
    }
    log_info("joining the cluster of %s", p->address);
    told_led(c);
    start_raft(c, 0);
}

struct writing {
    struct cluster *c;
    struct payload *payload;
    struct journal_entry entry;
};

static void config_durable(void *arg, int status)
{
    struct writing *w = arg;
    struct cluster *c = w->c;
    if (status == 0 && !c->dead) {
        struct log_entry e = { .term = 1,
                               .data = w->entry.data,
                               .len = w->entry.len,
                               .payload = payload_ref(w->payload),
                               .type = RAFT_CHANGE };
        log_cache_append(&c->log, &e);
        start_raft(c, 1);
        for (struct peer *p = c->peers; p != NULL; p = p->next) {
            if (p->hello && p->hello_state != HELLO_MEMBER) {
                send_hello(c, p, false);
            }
        }
    }
    payload_unref(w->payload);
    mem_free(w);
    cluster_pump(c);
    cluster_finish_stop(c);
}

/* Entry 1 of term 1, the same bytes on every node, on disk before raft starts. */
static void write_config(struct cluster *c, struct buf *bytes)
{
    struct writing *w = mem_must_alloc(sizeof *w);
    move(c, FOUNDING_WRITING);
    w->c = c;
    w->entry = (struct journal_entry){ 1, RAFT_CHANGE, bytes->data, bytes->len };
    w->payload = payload_of_buf(bytes);
    journal_append(c->journal, 1, &w->entry, 1, config_durable, w);
}

/* ---- Founder ---------------------------------------------------------------------------- */

bool founding_is_founder(const struct cluster *c)
{
    return c->nodes_count > 0 && strcmp(c->nodes[0], c->address) == 0;
}

/* "Empty, same list, my id", heard over a link that is still up. */
bool founding_usable(const struct cluster *c, const struct peer *p)
{
    return p->listed && p->up && p->hello && p->hello_same &&
           (p->hello_state == HELLO_EMPTY ||
            (p->hello_state == HELLO_PROMISED && p->hello_founder == c->identity.node_id));
}

static bool enough(const struct cluster *c, size_t others)
{
    if (others + 1 == c->nodes_count) {
        return true;
    }
    return c->o.found && others + 1 > c->nodes_count / 2 &&
           now_ms(c) - c->founding_since_ms >= FOUND_GRACE_MS;
}

static size_t count_usable(const struct cluster *c, bool promised)
{
    size_t n = 0;
    for (const struct peer *p = c->peers; p != NULL; p = p->next) {
        n += founding_usable(c, p) && (!promised || p->promised);
    }
    return n;
}

static void draw_cluster_id(struct cluster *c)
{
    struct error e = { 0 };
    int rv = 0;
    if (c->founder_id == 0) {
        rv = journal_set_vote_now(c->journal, 0, c->identity.node_id, &e);
        c->founder_id = c->identity.node_id;
    }
    while (c->identity.cluster_id == 0) {
        c->env->ops->random(c->env, &c->identity.cluster_id, sizeof c->identity.cluster_id);
    }
    if (rv == 0) {
        rv = journal_set_identity(c->journal, &c->identity, &e);
    }
    if (rv != 0) {
        cluster_fail(c, true, rv, "%s", e.message);
        return;
    }
    move(c, FOUNDING_ASK);
}

static void found(struct cluster *c)
{
    struct raft_configuration conf;
    struct raft_buffer encoded = { NULL, 0 };
    size_t members = 0;
    int rv = 0;
    raft_configuration_init(&conf);
    for (size_t i = 0; i < c->nodes_count && rv == 0; i++) {
        struct peer *p = peer_find(c, c->nodes[i]);
        if (strcmp(c->nodes[i], c->address) == 0) {
            rv = raft_configuration_add(&conf, c->identity.node_id, c->address, RAFT_VOTER);
            members++;
        } else if (p != NULL && founding_usable(c, p) && p->promised) {
            rv = raft_configuration_add(&conf, p->node_id, p->address, RAFT_VOTER);
            members++;
        }
    }
    if (rv == 0) {
        rv = raft_configuration_encode(&conf, &encoded);
    }
    raft_configuration_close(&conf);
    struct buf bytes = BUF_INIT;
    buf_put(&bytes, encoded.base, encoded.len);
    raft_free(encoded.base);
    if (rv != 0 || bytes.failed) {
        cluster_fail(c, true, ERR_INTERNAL, "no configuration can be made of the nodes: %s",
                     raft_strerror(rv));
        buf_free(&bytes);
        return;
    }
    if (members < c->nodes_count) {
        log_warn("founding the cluster with %zu of %zu nodes, as --found says; add the missing "
                 "ones later with `usher add-node`",
                 members, c->nodes_count);
    } else {
        log_info("founding the cluster of %zu nodes", members);
    }
    write_config(c, &bytes); /* F3 */
}

static void ask_promises(struct cluster *c)
{
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (founding_usable(c, p) && !p->promised) {
            struct buf b = BUF_INIT;
            wire_put_words(&b, WIRE_ASK, 1, c->identity.cluster_id, 0, 0);
            peer_send(c, p, &b);
        }
    }
}

static void founder_advance(struct cluster *c, bool tick)
{
    if (c->founding == FOUNDING_GATHER && enough(c, count_usable(c, false))) {
        draw_cluster_id(c);
        tick = true;
    }
    if (c->founding != FOUNDING_ASK || c->dead) {
        return;
    }
    size_t promised = count_usable(c, true);
    if (promised == count_usable(c, false) && enough(c, promised)) {
        found(c);
    } else if (tick) {
        ask_promises(c);
    }
}

/* ---- Frames ------------------------------------------------------------------------------- */

static void met_member(struct cluster *c, struct peer *p, const struct wire_hello *h)
{
    if (c->founding == FOUNDING_WRITING) {
        return;
    }
    if (h->known == HELLO_KNOWN) {
        join(c, p, h->cluster_id);
    } else if (h->known == HELLO_STRANGER && c->founding != FOUNDING_PROMISED &&
               c->founding != FOUNDING_STRANGER) {
        move(c, FOUNDING_STRANGER);
    } /* HELLO_CONFIG: the configuration is on its way */
}

void founding_on_hello(struct cluster *c, struct peer *p, const struct wire_hello *h)
{
    p->hello = true;
    p->hello_ms = now_ms(c);
    p->hello_state = h->state;
    p->hello_cluster = h->cluster_id;
    p->hello_founder = h->founder_id;
    p->hello_same = same_list(c, h);
    if (c->raft_on) {
        if (h->answer) {
            send_hello(c, p, false);
        }
        return;
    }
    p->refusal[0] = '\0';
    if (h->state != HELLO_MEMBER && p->listed && !p->hello_same) {
        founding_lists_differ(c, p, h); /* F4 */
    }
    if (h->answer) {
        send_hello(c, p, false);
    }
    if (h->state == HELLO_MEMBER) {
        met_member(c, p, h);
    } else {
        founder_advance(c, false);
    }
}

void founding_on_ask(struct cluster *c, struct peer *p, uint64_t cluster_id)
{
    struct error e = { 0 };
    if (c->raft_on || cluster_id == 0 || c->nodes_count == 0 ||
        strcmp(c->nodes[0], p->address) != 0 || !p->hello || !p->hello_same ||
        founding_is_founder(c)) {
        return;
    }
    bool again = c->founding == FOUNDING_PROMISED && c->founder_id == p->node_id &&
                 c->identity.cluster_id == cluster_id;
    bool first = c->founding == FOUNDING_WAIT &&
                 (c->founder_id == 0 || c->founder_id == p->node_id) && /* F2 */
                 (c->identity.cluster_id == 0 || c->identity.cluster_id == cluster_id);
    if (!again && !first) {
        if (log_allowed(&c->founding_log, now_ms(c), SAY_EVERY_MS)) {
            log_error("%s wants to found a cluster, but this node has promised itself to another "
                      "founder; if that one is gone for good, remove %s and start again",
                      p->address, c->dir);
        }
        return;
    }
    if (first) {
        int rv = c->founder_id == 0 ? journal_set_vote_now(c->journal, 0, p->node_id, &e) : 0;
        c->founder_id = p->node_id;
        c->identity.cluster_id = cluster_id;
        if (rv != 0 || journal_set_identity(c->journal, &c->identity, &e) != 0) {
            cluster_fail(c, true, e.code, "%s", e.message);
            return;
        }
        move(c, FOUNDING_PROMISED);
    }
    struct buf b = BUF_INIT;
    wire_put_words(&b, WIRE_PROMISE, 1, cluster_id, 0, 0);
    peer_send(c, p, &b);
}

void founding_on_promise(struct cluster *c, struct peer *p, uint64_t cluster_id)
{
    if (!c->raft_on && c->founding == FOUNDING_ASK && cluster_id == c->identity.cluster_id) {
        p->promised = true;
        founder_advance(c, false);
    }
}

void founding_on_config(struct cluster *c, struct peer *p, struct reader *r)
{
    uint64_t cluster_id = reader_u64(r);
    size_t len = reader_left(r);
    const uint8_t *bytes = reader_raw(r, len);
    struct raft_configuration conf;
    struct error e = { 0 };
    if (c->raft_on || c->founding != FOUNDING_PROMISED || r->failed ||
        cluster_id != c->identity.cluster_id) {
        return;
    }
    struct raft_buffer b = { (void *)(uintptr_t)bytes, len };
    if (message_check_configuration(bytes, len, &e) != 0 ||
        raft_configuration_decode(&b, &conf) != 0) {
        log_error("%s sent a configuration that was refused: %s", p->address, e.message);
        return;
    }
    bool self = false;
    for (unsigned i = 0; i < conf.n; i++) {
        self = self || (conf.servers[i].id == c->identity.node_id &&
                        strcmp(conf.servers[i].address, c->address) == 0);
    }
    raft_configuration_close(&conf);
    struct buf copy = BUF_INIT;
    buf_put(&copy, bytes, len);
    if (!self || copy.failed) {
        buf_free(&copy);
        return;
    }
    write_config(c, &copy);
}

/* ---- Time ------------------------------------------------------------------ */

void founding_tick(struct cluster *c)
{
    uint64_t now = now_ms(c);
    if (c->raft_on || c->dead || now - c->hello_sent_ms < HELLO_EVERY_MS) {
        return;
    }
    c->hello_sent_ms = now;
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        send_hello(c, p, true);
    }
    founder_advance(c, true);
    if (!c->raft_on) {
        founding_say(c);
    }
}

void founding_begin(struct cluster *c, uint64_t term, uint64_t vote)
{
    (void)term;
    c->founding_since_ms = now_ms(c);
    c->founder_id = vote;
    if (vote == c->identity.node_id && c->identity.cluster_id != 0) {
        c->founding = FOUNDING_ASK;
    } else if (vote != 0 && vote != c->identity.node_id && c->identity.cluster_id != 0) {
        c->founding = FOUNDING_PROMISED;
    } else {
        c->founding = founding_is_founder(c) && (vote == 0 || vote == c->identity.node_id)
                          ? FOUNDING_GATHER
                          : FOUNDING_WAIT;
    }
    founder_advance(c, true); /* a list of one has nobody to wait for */
}
