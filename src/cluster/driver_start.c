/* Opening, starting and closing the core.
 *
 * The core's settings with their reasons (engine.md, traps 3, 6, 7), the start event with
 * what the journal holds, and trap 2 at the start: who is the only voter enters a new term
 * first. RAFT_START leaves entries and array with us; it takes the snapshot's configuration. */
#define LOG_MODULE "cluster"

#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"

int driver_open(struct cluster *c, struct error *e)
{
    if (raft_init(&c->raft, NULL, NULL, c->identity.node_id, c->address) != 0) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    c->raft.tracer = NULL; /* trap 6: the default formats every trace */
    c->raft_open = true;
    unsigned seed;
    c->env->ops->random(c->env, &seed, sizeof seed);
    raft_seed(&c->raft, seed);
    raft_set_election_timeout(&c->raft, c->election_ms); /* trap 7: 500 ms, timer 1 ms */
    raft_set_heartbeat_timeout(&c->raft, c->heartbeat_ms);
    raft_set_install_snapshot_timeout(&c->raft, 10 * 60 * 1000); /* trap 3 */
    raft_set_pre_vote(&c->raft, true);                           /* trap 6 */
    raft_set_capacity_threshold(&c->raft, 0);                    /* trap 6 */
    c->raft_timer = c->env->ops->timer_new(c->env, driver_on_timer, c);
    return c->raft_timer != NULL ? 0 : error_set(e, ERR_NOMEM, "out of memory");
}

/* Newest configuration in the log, else the snapshot's. */
static bool newest_conf(const struct cluster *c, struct raft_configuration *out)
{
    struct raft_buffer b = { c->conf.data, c->conf.len };
    for (size_t i = c->log.count; i > 0; i--) {
        const struct log_entry *e = log_cache_get(&c->log, c->log.first + i - 1);
        if (e->type == RAFT_CHANGE) {
            b.base = (void *)(uintptr_t)e->data;
            b.len = e->len;
            break;
        }
    }
    return b.len > 0 && raft_configuration_decode(&b, out) == 0;
}

/* engine.md trap 2, at the start: a sole voter enters the next term with its own vote
 * durable before the core, which would lead in the old term, wakes up. */
static int sole_voter_term(struct cluster *c, uint64_t *term, uint64_t *vote, struct error *e)
{
    struct raft_configuration conf;
    if (!newest_conf(c, &conf)) {
        return 0;
    }
    unsigned voters = 0;
    bool self = false;
    for (unsigned i = 0; i < conf.n; i++) {
        voters += conf.servers[i].role == RAFT_VOTER ? 1 : 0;
        self = self || (conf.servers[i].role == RAFT_VOTER && conf.servers[i].id == c->raft.id);
    }
    raft_configuration_close(&conf);
    if (voters != 1 || !self) {
        return 0;
    }
    *term += 1;
    *vote = c->raft.id;
    return journal_set_vote_now(c->journal, *term, *vote, e);
}

/* The core keeps nothing of the entries but terms and decoded configurations, and frees
 * them only when it fails: so it gets an array and one dummy block of its own. */
static int start_entries(const struct cluster *c, struct raft_event *event)
{
    size_t n = c->log.count;
    event->start.start_index = c->log.first;
    event->start.n_entries = (unsigned)n;
    if (n == 0) {
        return 0;
    }
    struct raft_entry *entries = raft_malloc(n * sizeof *entries);
    void *dummy = raft_malloc(8);
    if (entries == NULL || dummy == NULL) {
        raft_free(entries);
        raft_free(dummy);
        return ERR_NOMEM;
    }
    for (size_t i = 0; i < n; i++) {
        const struct log_entry *l = log_cache_get(&c->log, c->log.first + i);
        entries[i] = (struct raft_entry){ .term = l->term,
                                          .type = (enum raft_entry_type)l->type,
                                          .buf = { (void *)(uintptr_t)l->data, l->len },
                                          .batch = dummy };
    }
    event->start.entries = entries;
    return 0;
}

int driver_start(struct cluster *c, uint64_t term, uint64_t vote, struct error *e)
{
    if (sole_voter_term(c, &term, &vote, e) != 0) {
        return e != NULL && e->code != 0 ? e->code : ERR_IO;
    }
    struct raft_event event = { .type = RAFT_START };
    event.start.term = term;
    event.start.voted_for = term == 0 ? 0 : vote; /* term 0: a promise, not a vote */
    struct raft_snapshot_metadata meta = { 0 };
    if (c->log.snapshot_index != 0) {
        struct raft_buffer b = { c->conf.data, c->conf.len };
        meta.index = c->log.snapshot_index;
        meta.term = c->log.snapshot_term;
        meta.configuration_index = c->conf_index;
        if (raft_configuration_decode(&b, &meta.configuration) != 0) {
            return error_set(e, ERR_CORRUPT, "the snapshot's configuration cannot be read");
        }
        event.start.metadata = &meta;
    }
    if (start_entries(c, &event) != 0) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    struct raft_entry *entries = event.start.entries;
    void *dummy = entries != NULL ? entries[0].batch : NULL;
    int rv = driver_step(c, &event);
    if (rv != 0) {
        return error_set(e, ERR_CORRUPT, "the consensus core does not accept the log: %s",
                         raft_strerror(rv));
    }
    raft_free(entries);
    raft_free(dummy);
    c->raft_on = true;
    peers_sync(c);
    cluster_kick(c);
    return 0;
}

void driver_close(struct cluster *c)
{
    while (c->outbox != NULL) {
        struct outbound *o = c->outbox;
        c->outbox = o->next;
        buf_free(&o->frame);
        mem_free(o);
    }
    if (c->raft_timer != NULL) {
        c->env->ops->timer_free(c->raft_timer);
    }
    if (c->raft_open) {
        raft_close(&c->raft, NULL);
    }
    log_cache_free(&c->log);
}
