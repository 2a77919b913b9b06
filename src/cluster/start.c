/* Start: from a data directory to a running member or a founder.
 *
 *   options copied -> journal opened -> identity checked -> newest snapshot into the store ->
 *   log into memory -> transport -> core, or founding
 *
 * All blocking, before anything is served. How it fails: with the error of the first step
 * that failed, in words for the operator; what was opened closes on the loop. */
#define LOG_MODULE "cluster"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"
#include "cluster/message.h"

#define ELECTION_MS     500
#define ELECTION_MS_MIN 50
/* Housekeeping keeps pace with the heartbeat: a cluster with slow timers idles for less. */
#define TICK_MS_MIN     50
#define TICK_MS_MAX     1000
#define TELL_MS_MIN     1000
#define TELL_MS_MAX     3000

/* ---- Start
 * --------------------------------------------------------------------------------------- */

static unsigned between(unsigned least, unsigned ms, unsigned most)
{
    return ms < least ? least : ms > most ? most : ms;
}

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
    c->tick_ms = between(TICK_MS_MIN, c->heartbeat_ms, TICK_MS_MAX);
    c->tell_ms = between(TELL_MS_MIN, c->heartbeat_ms, TELL_MS_MAX);
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
        if (j->type == RAFT_COMMAND &&
            feature_check_entry(c, rec->first_index + i, j->data, j->len, e) != 0) {
            return ERR_CONFLICT;
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
    struct journal_options jo = { .segment_bytes = c->o.segment_bytes,
                                  .reserve_bytes = c->o.reserve_bytes,
                                  .fatal = cluster_on_journal_fatal,
                                  .arg = c };
    int rv = journal_open(c->env, c->dir, &jo, &c->journal, &rec, e);
    if (rv != 0) {
        return rv;
    }
    *term = rec.term;
    *vote = rec.vote;
    rv = check_identity(c, &rec, e);
    if (rv == 0 && rec.snapshot_index != 0) {
        rv = snapshot_restore(c, rec.snapshot_index, rec.snapshot_term, e);
        rv = rv != 0 ? rv : feature_check_store(c, c->store, e);
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
    if (drop) { /* a failure is the journal's fatal error */
        journal_restart(c->journal, c->log.snapshot_index, NULL, NULL);
    }
    return rv;
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
    c->started_ms = env->ops->mono_ms(env);
    c->role_told = ROLE_FOUNDING;
    c->ready_wanted = true;
    log_cache_init(&c->log);
    c->store = store_new();
    int rv = cluster_open_loop(c);
    if (copy_options(c, o) != 0 || commit_open(c) != 0 || c->store == NULL || rv != 0) {
        rv = error_set(e, ERR_NOMEM, "out of memory");
    }
    rv = rv != 0 ? rv : recover(c, &term, &vote, e);
    rv = rv != 0 ? rv : driver_open(c, e);
    rv = rv != 0 ? rv : peers_open_transport(c, e);
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
    cluster_run_loop(c);
    *out = c;
    return 0;
}
