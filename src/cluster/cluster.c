/* Life of the cluster object: opening the directory, peers, the pump, the end.
 *
 *   cluster_start: journal -> snapshot into the store -> log into memory -> transport ->
 *   the core (a member) or founding.c (no cluster yet)
 *
 *   cluster_stop: hand leadership over (one election timeout at most) -> dead: nothing in or
 *   out -> transport closed, all callbacks back -> journal closed -> freed -> cb
 *
 * The pump is the only place that calls the user (see internal.h). It runs to a standstill:
 * what a callback causes is seen in the same run.
 *
 * How it fails: cluster_fail() is the one way out for everything that cannot go on; with
 * stop_process the object is dead at once and the process must end. */
#define LOG_MODULE "cluster"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

#define TICK_MS          50
#define STRANGERS_MAX    16 /* nodes that ask without being listed or members */
#define STRANGER_GONE_MS 30000
#define ELECTION_MS      500
#define ELECTION_MS_MIN  50

/* ---- Failing, telling ----------------------------------------------------------------- */

void cluster_fail(struct cluster *c, bool stop_process, int code, const char *fmt, ...)
{
    if (!c->fatal_seen || (stop_process && !c->fatal_stop)) {
        va_list args;
        va_start(args, fmt);
        error_clear(&c->fatal);
        error_vset(&c->fatal, code, fmt, args);
        va_end(args);
        c->fatal_seen = c->fatal_pending = true;
        c->fatal_stop = stop_process;
        log_error("%s", c->fatal.message);
    }
    c->dead = c->dead || stop_process;
    cluster_kick(c);
}

void cluster_later(struct cluster *c, cluster_read_cb cb, void *arg, int status)
{
    struct later *l = mem_must_alloc(sizeof *l);
    *l = (struct later){ NULL, cb, arg, status };
    if (c->later_tail != NULL) {
        c->later_tail->next = l;
    } else {
        c->later = l;
    }
    c->later_tail = l;
    c->again = true;
    cluster_kick(c);
}

static void tell_later(struct cluster *c)
{
    while (c->later != NULL) {
        struct later *l = c->later;
        c->later = l->next;
        if (c->later == NULL) {
            c->later_tail = NULL;
        }
        if (l->cb != NULL) {
            l->cb(l->arg, l->status);
        }
        mem_free(l);
        c->again = true;
    }
}

static void tell_role(struct cluster *c)
{
    const char *leader = status_leader(c);
    int role = status_role(c);
    uint64_t term = c->raft_on ? c->raft.current_term : 0;
    if (role == c->role_told && term == c->term_told && strcmp(leader, c->leader_told) == 0) {
        return;
    }
    c->role_told = role;
    c->term_told = term;
    snprintf(c->leader_told, sizeof c->leader_told, "%s", leader);
    if (c->o.on.role != NULL) {
        c->o.on.role(c->o.arg, role, c->leader_told, term);
    }
    c->again = true;
}

static void tell(struct cluster *c)
{
    if (c->undone_pending) {
        c->undone_pending = false;
        if (c->o.on.undone != NULL) {
            c->o.on.undone(c->o.arg, c->undone_first);
        }
        c->again = true;
    }
    if (!c->stopping) {
        tell_role(c);
    }
    if (c->fatal_pending) {
        struct error e = c->fatal;
        c->fatal_pending = false;
        if (c->o.on.fatal != NULL) {
            c->o.on.fatal(c->o.arg, &e, c->fatal_stop);
        }
        c->again = true;
    }
}

static void stop_now(struct cluster *c);

void cluster_pump(struct cluster *c)
{
    if (c->pumping) {
        c->again = true;
        return;
    }
    c->pumping = true;
    do {
        c->again = false;
        tell(c);
        if (c->dead || c->quarantined || c->removed) {
            reads_cancel(c);
        } else {
            apply_run(c);
            propose_run(c);
            reads_run(c);
            snapshot_run(c);
        }
        transfer_run(c);
        tell_later(c);
    } while (c->again);
    c->pumping = false;
    if (c->handing_over && (!cluster_leads(c) || now_ms(c) >= c->stop_deadline_ms)) {
        stop_now(c);
    }
}

static void on_kick(void *arg)
{
    struct cluster *c = arg;
    cluster_pump(c);
    cluster_finish_stop(c);
}

void cluster_kick(struct cluster *c)
{
    c->again = true;
    if (!c->pumping) {
        c->env->ops->defer(c->env, &c->kick);
    }
}

void cluster_more(struct cluster *c) { c->env->ops->timer_start(c->more_timer, 0); }

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
static void forget_strangers(struct cluster *c)
{
    for (struct peer **at = &c->peers; *at != NULL;) {
        struct peer *p = *at;
        if (!p->listed && !p->member && p->send == NULL &&
            now_ms(c) - p->heard_ms > STRANGER_GONE_MS) {
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
        if (strcmp(s->address, peer->address) == 0 && s->id != peer->node_id) {
            return error_set(e, ERR_CONFLICT,
                             "%s is known here with another identity (its data directory was "
                             "emptied or replaced): run `usher replace-node %s %s`",
                             peer->address, peer->address, peer->address);
        }
    }
    return 0;
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
        p->refusal[0] = '\0';
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
    case WIRE_ROUND:
    case WIRE_ECHO:
    case WIRE_COMMIT:
    case WIRE_DIGEST_ASK:
    case WIRE_DIGEST:
        if (p->member && wire_get_words(&r, 2, w)) {
            (kind == WIRE_ROUND        ? reads_on_round
             : kind == WIRE_ECHO       ? reads_on_echo
             : kind == WIRE_COMMIT     ? commit_on_told
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

/* The peer a frame comes from; NULL when it is not to be heard. */
static struct peer *sender(struct cluster *c, const struct transport_peer *from)
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
        transport_connect(c->transport, p->address); /* answers go over our own link */
    }
    if (p->member && p->node_id != from->node_id) {
        return NULL; /* an emptied disk under an old address (admit says so on the link) */
    }
    p->node_id = from->node_id;
    p->heard_ms = now_ms(c);
    return p;
}

static void on_frame(void *arg, const struct transport_peer *from, enum transport_channel ch,
                     const uint8_t *data, size_t len)
{
    struct cluster *c = arg;
    struct peer *p = c->dead ? NULL : sender(c, from);
    bool inside = c->raft_on && from->cluster_id == c->identity.cluster_id;
    if (p == NULL) {
        return;
    }
    switch (ch) {
    case CHANNEL_RAFT: receive_raft(c, from, data, len); break;
    case CHANNEL_CLUSTER:
        if (len > 0 && (inside || data[0] <= WIRE_CLOCK)) {
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

static void on_journal_fatal(void *arg, const struct error *e)
{
    struct cluster *c = arg;
    cluster_fail(c, true, e->code, "%s", e->message);
}

/* ---- Timers -----------------------------------------------------------------------------------
 */

static void on_tick(void *arg)
{
    struct cluster *c = arg;
    c->env->ops->timer_start(c->tick_timer, TICK_MS);
    if (!c->dead) {
        founding_tick(c);
        clock_tick(c);
        reads_tick(c);
        suspect_tick(c);
        snapshot_send_tick(c);
        snapshot_receive_tick(c);
        forget_strangers(c);
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void on_more(void *arg)
{
    struct cluster *c = arg;
    cluster_pump(c);
    cluster_finish_stop(c);
}

/* ---- Start
 * --------------------------------------------------------------------------------------- */

static int copy_options(struct cluster *c, const struct cluster_options *o)
{
    c->o = *o;
    c->dir = mem_strndup(o->dir, strlen(o->dir));
    c->address = mem_strndup(o->address, strlen(o->address));
    c->secret = mem_strndup(o->secret.len > 0 ? o->secret.data : "", o->secret.len);
    c->o.secret = span_make(c->secret, o->secret.len);
    size_t n = 0;
    while (o->nodes != NULL && o->nodes[n] != NULL) {
        n++;
    }
    c->nodes = mem_zalloc((n + 1) * sizeof *c->nodes);
    if (c->dir == NULL || c->address == NULL || c->secret == NULL || c->nodes == NULL) {
        return ERR_NOMEM;
    }
    for (; c->nodes_count < n; c->nodes_count++) {
        const char *a = o->nodes[c->nodes_count];
        c->nodes[c->nodes_count] = mem_strndup(a, strlen(a));
        if (c->nodes[c->nodes_count] == NULL) {
            return ERR_NOMEM;
        }
    }
    c->o.dir = c->dir;
    c->o.address = c->address;
    c->o.nodes = (const char *const *)c->nodes;
    c->election_ms = o->election_timeout_ms != 0 ? o->election_timeout_ms : ELECTION_MS;
    if (c->election_ms < ELECTION_MS_MIN) {
        c->election_ms = ELECTION_MS_MIN;
    }
    c->heartbeat_ms = c->election_ms / 10;
    return 0;
}

/* The log into memory. A snapshot beyond the log, or one whose last entry the log has in
 * another term, replaces the log: the node died between installing and cutting. */
static int load_log(struct cluster *c, const struct journal_recovery *rec, struct error *e)
{
    uint64_t last = rec->first_index + rec->entries_count - 1, at = rec->snapshot_index;
    bool covers = rec->entries_count > 0 && rec->first_index <= at + 1 && last >= at;
    if (covers && at >= rec->first_index &&
        rec->entries[at - rec->first_index].term != rec->snapshot_term) {
        covers = false;
    }
    if (rec->entries_count > 0 && rec->first_index > at + 1) {
        return error_set(e, ERR_CORRUPT,
                         "the log begins at entry %llu but the newest snapshot "
                         "ends at %llu: entries are missing",
                         (unsigned long long)rec->first_index, (unsigned long long)at);
    }
    if (at != 0) {
        log_cache_restart(&c->log, at, rec->snapshot_term);
    }
    c->commit = c->applied = at;
    if (!covers) {
        return 0;
    }
    log_cache_begin(&c->log, rec->first_index);
    for (size_t i = 0; i < rec->entries_count; i++) {
        const struct journal_entry *j = &rec->entries[i];
        if (j->type == RAFT_CHANGE && message_check_configuration(j->data, j->len, e) != 0) {
            error_prefix(e, "entry %llu", (unsigned long long)(rec->first_index + i));
            return ERR_CORRUPT;
        }
        struct buf b = BUF_INIT;
        buf_put(&b, j->data, j->len);
        if (b.failed) {
            return error_set(e, ERR_NOMEM, "out of memory");
        }
        const void *data = b.data;
        struct log_entry entry = { j->term, data, j->len, payload_of_buf(&b), j->type };
        log_cache_append(&c->log, &entry);
    }
    if (at == 0 && rec->entries[0].type != RAFT_CHANGE) {
        return error_set(e, ERR_CORRUPT, "the first entry of the log is not a configuration");
    }
    return 0;
}

static void log_dropped(void *arg, int status)
{
    struct cluster *c = arg;
    (void)status; /* a failure is the journal's fatal error */
    c->jobs--;
    cluster_finish_stop(c);
}

static int check_identity(struct cluster *c, const struct journal_recovery *rec, struct error *e)
{
    c->identity = rec->identity;
    if (c->identity.address[0] != '\0' && strcmp(c->identity.address, c->address) != 0) {
        return error_set(e, ERR_CONFLICT, "the data directory %s belongs to the node %s, not to %s",
                         c->dir, c->identity.address, c->address);
    }
    if (c->identity.address[0] != '\0') {
        return 0;
    }
    snprintf(c->identity.address, sizeof c->identity.address, "%s", c->address);
    return journal_set_identity(c->journal, &c->identity, e);
}

static int recover(struct cluster *c, uint64_t *term, uint64_t *vote, struct error *e)
{
    struct journal_recovery rec;
    struct journal_options jo = { .fatal = on_journal_fatal, .arg = c };
    int rv = journal_open(c->env, c->dir, &jo, &c->journal, &rec, e);
    if (rv != 0) {
        return rv;
    }
    *term = rec.term;
    *vote = rec.vote;
    rv = check_identity(c, &rec, e);
    if (rv == 0 && rec.snapshot_index != 0) {
        rv = snapshot_restore(c, rec.snapshot_index, rec.snapshot_term, e);
    }
    if (rv == 0) {
        rv = load_log(c, &rec, e);
    }
    if (rv == 0 && rec.cut_bytes > 0) {
        log_info("a torn tail of %llu bytes was cut from the log",
                 (unsigned long long)rec.cut_bytes);
    }
    bool drop = rv == 0 && rec.snapshot_index != 0 && rec.entries_count > 0 && c->log.count == 0;
    journal_release_recovery(c->journal, &rec);
    if (drop) {
        c->jobs++;
        journal_restart(c->journal, c->log.snapshot_index, log_dropped, c);
    }
    return rv;
}

static int open_transport(struct cluster *c, struct error *e)
{
    struct transport_options t = { .secret = c->o.secret,
                                   .node_id = c->identity.node_id,
                                   .address = c->address,
                                   .version = c->o.version,
                                   .feature_level = 1,
                                   .cluster_id = on_cluster_id,
                                   .admit = on_admit,
                                   .frame = on_frame,
                                   .link = on_link,
                                   .arg = c };
    return transport_new(c->env, &t, &c->transport, e);
}

/* A member starts the core; anybody else looks for a cluster. */
static int start_member_or_founding(struct cluster *c, uint64_t term, uint64_t vote,
                                    struct error *e)
{
    for (size_t i = 0; i < c->nodes_count; i++) {
        struct peer *p = peer_get(c, c->nodes[i]);
        if (p != NULL) {
            p->listed = true;
        }
    }
    bool has_log = c->log.count > 0 || c->log.snapshot_index != 0;
    bool joined = c->identity.cluster_id != 0 && (term > 0 || vote == 0);
    int rv = 0;
    if (has_log || joined) {
        c->founding = FOUNDING_DONE;
        if (has_log && term == 0) { /* died between writing entry 1 and its term */
            term = 1;
            vote = 0;
            rv = journal_set_vote_now(c->journal, 1, 0, e);
        }
        if (rv == 0) {
            rv = driver_start(c, term, vote, e);
        }
    } else {
        founding_begin(c, term, vote);
    }
    for (struct peer *p = c->peers; p != NULL && rv == 0; p = p->next) {
        if (!c->raft_on || p->member || c->raft.configuration.n == 0) {
            transport_connect(c->transport, p->address);
        }
    }
    return rv;
}

static void free_all(struct cluster *c);

static void closed_after_error(void *arg)
{
    struct cluster *c = arg;
    c->transport = NULL;
    cluster_finish_stop(c);
}

int cluster_start(struct env *env, const struct cluster_options *o, struct cluster **out,
                  struct error *e)
{
    uint64_t term = 0, vote = 0;
    struct cluster *c = mem_zalloc(sizeof *c);
    *out = NULL;
    if (c == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    c->env = env;
    c->kick = (struct env_defer){ .cb = on_kick, .arg = c };
    c->role_told = ROLE_FOUNDING;
    c->ready_wanted = true;
    log_cache_init(&c->log);
    c->store = store_new();
    c->tick_timer = env->ops->timer_new(env, on_tick, c);
    c->more_timer = env->ops->timer_new(env, on_more, c);
    int rv = copy_options(c, o);
    if (rv != 0 || commit_open(c) != 0 || c->store == NULL || c->tick_timer == NULL ||
        c->more_timer == NULL) {
        rv = error_set(e, ERR_NOMEM, "out of memory");
    }
    rv = rv != 0 ? rv : recover(c, &term, &vote, e);
    rv = rv != 0 ? rv : driver_open(c, e);
    rv = rv != 0 ? rv : open_transport(c, e);
    rv = rv != 0 ? rv : start_member_or_founding(c, term, vote, e);
    if (rv != 0) {
        c->dead = c->stopping = true;
        memset(&c->o.on, 0, sizeof c->o.on); /* the caller has its error; it hears no more */
        if (c->transport != NULL) {
            transport_close(c->transport, closed_after_error, c);
        } else {
            cluster_finish_stop(c);
        }
        return rv;
    }
    env->ops->timer_start(c->tick_timer, TICK_MS);
    cluster_kick(c);
    *out = c;
    return 0;
}

/* ---- Stop
 * ------------------------------------------------------------------------------------------ */

static void free_all(struct cluster *c)
{
    driver_close(c);
    raft_configuration_close(&c->install_meta.configuration);
    c->env->ops->undefer(c->env, &c->kick);
    if (c->tick_timer != NULL) {
        c->env->ops->timer_free(c->tick_timer);
    }
    if (c->commit_timer != NULL) {
        c->env->ops->timer_free(c->commit_timer);
    }
    if (c->more_timer != NULL) {
        c->env->ops->timer_free(c->more_timer);
    }
    while (c->peers != NULL) {
        struct peer *p = c->peers;
        c->peers = p->next;
        mem_free(p);
    }
    if (c->store != NULL) {
        store_free(c->store);
    }
    if (c->install_store != NULL) {
        store_free(c->install_store);
    }
    for (size_t i = 0; i < c->nodes_count; i++) {
        mem_free(c->nodes[i]);
    }
    mem_free(c->nodes);
    mem_free(c->dir);
    mem_free(c->address);
    mem_free(c->secret);
    mem_free(c->members);
    buf_free(&c->waiting);
    buf_free(&c->conf);
    buf_free(&c->founding_config);
    void (*cb)(void *arg) = c->stop_cb;
    void *arg = c->stop_arg;
    mem_free(c);
    if (cb != NULL) {
        cb(arg);
    }
}

static void on_journal_closed(void *arg)
{
    struct cluster *c = arg;
    c->journal = NULL;
    cluster_finish_stop(c);
}

/* Called at the end of every callback; `c` may be gone afterwards. */
void cluster_finish_stop(struct cluster *c)
{
    if (!c->stopping || c->pumping || c->transport != NULL || c->later != NULL) {
        return;
    }
    if (c->journal != NULL) {
        if (c->jobs == 0 && !c->journal_closing) {
            c->journal_closing = true;
            journal_close(c->journal, on_journal_closed, c);
        }
        return;
    }
    free_all(c);
}

static void on_transport_closed(void *arg)
{
    struct cluster *c = arg;
    c->transport = NULL;
    cluster_kick(c); /* never finish inside cluster_stop() */
}

static void stop_now(struct cluster *c)
{
    c->handing_over = false;
    c->stopping = c->dead = true;
    reads_cancel(c);
    snapshot_abandon(c);
    snapshot_receive_abort(c);
    for (struct peer *p = c->peers; p != NULL; p = p->next) {
        if (p->send != NULL) {
            snapshot_send_abort(c, p, NULL);
        }
    }
    propose_undo(c);
    cluster_kick(c);
    transport_close(c->transport, on_transport_closed, c);
}

void cluster_stop(struct cluster *c, void (*cb)(void *arg), void *arg)
{
    ASSERT(!c->stopping && c->stop_cb == NULL);
    c->stop_cb = cb;
    c->stop_arg = arg;
    if (cluster_leads(c) && voters_count(c) > 1) {
        struct raft_event event = { .type = RAFT_TRANSFER };
        if (raft_transferee(&c->raft) != 0 || driver_step(c, &event) == 0) {
            c->handing_over = true;
            c->stop_deadline_ms = now_ms(c) + c->election_ms;
            cluster_kick(c);
            return;
        }
    }
    stop_now(c);
}

void cluster_accept(struct cluster *c, struct env_stream *stream)
{
    if (c->transport == NULL || c->dead) {
        c->env->ops->stream_close(stream);
        return;
    }
    transport_accept(c->transport, stream);
}

struct store *cluster_store(struct cluster *c) { return c->store; }

bool cluster_send(struct cluster *c, const char *address, struct buf *b)
{
    struct peer *p = peer_find(c, address);
    bool sent = p != NULL && p->member && p->up && !c->dead && !b->failed &&
                transport_send(c->transport, address, CHANNEL_SERVICE, b);
    buf_free(b);
    return sent;
}
