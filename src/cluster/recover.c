/* See recover.h.
 *
 *   look:   files -> log -> state -> newest configuration -> facts
 *   write:  lock, open -> still the same log? -> term + 1 with a vote for itself (engine.md trap
 *           2), durable -> identity with a new cluster id -> configuration entry, durable
 *
 * How it fails: before the first write, with nothing changed; between the writes (power),
 * with a directory on which the same command can be run again: after the first two steps the
 * old configuration still counts, and its other members are refused as another cluster's.
 *
 * Invariants
 *   RC1 every entry of the log stays, committed or not: nothing acknowledged that is here
 *       can be lost
 *   RC2 the configuration entry is of a term that nobody else has ever had */
#include "cluster/recover.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/inspect.h"
#include "cluster/internal.h"

/* ---- Looking ------------------------------------------------------------------------------- */

static void last_of(const struct journal_recovery *rec, uint64_t *index, uint64_t *term)
{
    *index = rec->snapshot_index;
    *term = rec->snapshot_term;
    if (rec->entries_count > 0) {
        uint64_t last = rec->first_index + rec->entries_count - 1;
        if (last >= *index) {
            *index = last;
            *term = rec->entries[rec->entries_count - 1].term;
        }
    }
}

static int take_members(const struct cluster_inspection *state, struct recover_facts *out,
                        struct error *e)
{
    struct raft_configuration conf;
    struct raft_buffer b = { state->conf.data, state->conf.len };
    if (state->conf.len == 0 || raft_configuration_decode(&b, &conf) != 0) {
        error_set(e, ERR_NOTREADY, "this node has never been a member of a cluster");
        error_hint(e, "there is nothing to recover here; restore a backup: `usher restore FILE`");
        return ERR_NOTREADY;
    }
    bool self = false;
    for (unsigned i = 0; i < conf.n && i < CLUSTER_MEMBERS_MAX; i++) {
        struct recover_member *m = &out->members[out->members_count++];
        m->node_id = conf.servers[i].id;
        m->voter = conf.servers[i].role == RAFT_VOTER;
        m->self = m->node_id == out->node_id;
        self = self || m->self;
        out->voters += m->voter;
        (void)snprintf(m->address, sizeof m->address, "%s", conf.servers[i].address);
    }
    raft_configuration_close(&conf);
    out->quorum = out->voters / 2 + 1;
    if (!self) {
        error_set(e, ERR_NOTREADY,
                  "this node was removed from the cluster (entry %llu); its data ends there",
                  (unsigned long long)state->conf_index);
        error_hint(e, "recover a node that was still a member, or restore a backup");
        return ERR_NOTREADY;
    }
    return 0;
}

static int look(struct journal_inspection *in, struct cluster_inspection *state,
                struct recover_facts *out, struct error *e)
{
    int rc = cluster_inspect(in, state, e);
    if (rc != 0) {
        return rc;
    }
    if (in->damage_count > 0 || state->store == NULL) {
        *e = in->damage[0];
        error_prefix(e, "its files are damaged");
        error_hint(e, "`usher check DATADIR` lists all; recover another node, or restore a backup");
        return e->code = ERR_CORRUPT;
    }
    out->node_id = in->found.identity.node_id;
    out->cluster_id = in->found.identity.cluster_id;
    (void)snprintf(out->address, sizeof out->address, "%s", in->found.identity.address);
    last_of(&in->found, &out->last_index, &out->last_term);
    out->conf_index = state->conf_index;
    out->time_ms = store_time_ms(state->store);
    out->digest = store_digest(state->store);
    store_stats(state->store, &out->stats);
    uint32_t level = feature_of_store(state->store);
    if (level > FEATURE_LEVEL) {
        error_set(e, ERR_CONFLICT, "its state is of feature level %u; this program knows %d", level,
                  FEATURE_LEVEL);
        error_hint(e, "use the version of usher that ran on it, or a newer one");
        return ERR_CONFLICT;
    }
    return take_members(state, out, e);
}

int recover_look(struct env *env, const char *dir, struct recover_facts *out, struct error *e)
{
    struct journal_inspection in;
    struct cluster_inspection state = { 0 };
    memset(out, 0, sizeof *out);
    int rc = journal_inspect(env, dir, &in, e);
    rc = rc != 0 ? rc : look(&in, &state, out, e);
    cluster_inspection_free(&state);
    journal_inspection_free(&in);
    return rc;
}

int recover_compare(const struct recover_facts *a, const struct recover_facts *b)
{
    if (a->last_term != b->last_term) {
        return a->last_term < b->last_term ? -1 : 1;
    }
    return (a->last_index > b->last_index) - (a->last_index < b->last_index);
}

/* ---- Writing ------------------------------------------------------------------------------- */

struct recover_write {
    struct journal *journal;
    struct recover_result *result;
    struct buf conf;
    struct journal_entry entry;
    void (*done)(void *arg);
    void *arg;
};

static void on_closed(void *arg)
{
    struct recover_write *w = arg;
    void (*done)(void *) = w->done;
    void *done_arg = w->arg;
    buf_free(&w->conf);
    mem_free(w);
    done(done_arg);
}

static void on_fatal(void *arg, const struct error *e)
{
    struct recover_write *w = arg;
    w->result->error = *e;
}

static void on_appended(void *arg, int status)
{
    struct recover_write *w = arg;
    if (status != 0 && w->result->error.code == 0) {
        error_set(&w->result->error, status, "the new configuration cannot be written");
    }
    w->result->status = status;
    journal_close(w->journal, on_closed, w);
}

static int encode_self(const struct recover_facts *f, struct buf *out, struct error *e)
{
    struct raft_configuration conf;
    struct raft_buffer encoded = { NULL, 0 };
    raft_configuration_init(&conf);
    int rv = raft_configuration_add(&conf, f->node_id, f->address, RAFT_VOTER);
    rv = rv != 0 ? rv : raft_configuration_encode(&conf, &encoded);
    raft_configuration_close(&conf);
    if (rv == 0) {
        buf_put(out, encoded.base, encoded.len);
        raft_free(encoded.base);
    }
    return rv != 0 || out->failed ? error_set(e, ERR_NOMEM, "no configuration can be made") : 0;
}

static int write_all(struct env *env, struct recover_write *w, const struct recover_facts *f,
                     const struct journal_recovery *rec, struct error *e)
{
    uint64_t index, term;
    last_of(rec, &index, &term);
    if (rec->identity.node_id != f->node_id || index != f->last_index || term != f->last_term) {
        return error_set(e, ERR_CONFLICT, "the directory changed while it was looked at");
    }
    term = (rec->term > term ? rec->term : term) + 1; /* RC2 */
    struct journal_identity id = rec->identity;
    do {
        env->ops->random(env, &id.cluster_id, sizeof id.cluster_id);
    } while (id.cluster_id == 0 || id.cluster_id == f->cluster_id);
    int rc = encode_self(f, &w->conf, e);
    rc = rc != 0 ? rc : journal_set_vote_now(w->journal, term, f->node_id, e);
    rc = rc != 0 ? rc : journal_set_identity(w->journal, &id, e);
    if (rc == 0) {
        w->result->cluster_id = id.cluster_id;
        w->result->term = term;
        w->result->index = index + 1;
        w->entry = (struct journal_entry){ term, RAFT_CHANGE, w->conf.data, w->conf.len };
        journal_append(w->journal, index + 1, &w->entry, 1, on_appended, w);
    }
    return rc;
}

int recover_write(struct env *env, const char *dir, const struct recover_facts *facts,
                  struct recover_result *result, void (*done)(void *arg), void *arg, bool *pending,
                  struct error *e)
{
    struct recover_write *w = mem_must_alloc(sizeof *w);
    struct journal_recovery rec;
    struct journal_options jo = { .fatal = on_fatal, .arg = w };
    *w = (struct recover_write){ .result = result, .done = done, .arg = arg };
    *result = (struct recover_result){ 0 };
    *pending = false;
    int rc = journal_open(env, dir, &jo, &w->journal, &rec, e);
    if (rc != 0) {
        mem_free(w);
        return rc;
    }
    *pending = true;
    rc = write_all(env, w, facts, &rec, e);
    journal_release_recovery(w->journal, &rec);
    if (rc != 0) {
        result->status = rc;
        journal_close(w->journal, on_closed, w);
    }
    return rc;
}
