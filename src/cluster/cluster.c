/* Life of the cluster object: failing, telling the user, the pump, the end.
 *
 *   cluster_start (start.c): journal -> snapshot into the store -> log into memory ->
 *   transport -> the core (a member) or founding.c (no cluster yet)
 *
 *   cluster_stop: hand leadership over (one election timeout, 2 s at most) -> dead: nothing in or
 *   out -> transport closed, all jobs back -> journal closed, which answers all that is still in
 *   its queue (an append that waits for space has no other end) -> freed -> cb
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

/* A process has some seconds to stop (net/node.c), whatever its election timeout. */
#define HANDOVER_MS_MAX 2000

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
            member_run(c); /* before propose_run: it takes the free place in the pipeline */
            propose_run(c);
            feature_run(c);
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

void cluster_on_journal_fatal(void *arg, const struct error *e)
{
    struct cluster *c = arg;
    cluster_fail(c, true, e->code, "%s", e->message);
}

/* ---- Timers -----------------------------------------------------------------------------------
 */

static void on_tick(void *arg)
{
    struct cluster *c = arg;
    c->env->ops->timer_start(c->tick_timer, c->tick_ms);
    if (!c->dead) {
        founding_tick(c);
        clock_tick(c);
        reads_tick(c);
        suspect_tick(c);
        snapshot_send_tick(c);
        snapshot_receive_tick(c);
        member_tick(c);
        told_tick(c);
        vitals_tick(c);
        peers_forget_strangers(c);
    }
    cluster_pump(c);
    cluster_finish_stop(c);
}

static void on_more(void *arg)
{
    struct cluster *c = arg;
    c->apply_waits = false;
    cluster_pump(c);
    cluster_finish_stop(c);
}

int cluster_open_loop(struct cluster *c)
{
    c->kick = (struct env_defer){ .cb = on_kick, .arg = c };
    c->tick_timer = c->env->ops->timer_new(c->env, on_tick, c);
    c->more_timer = c->env->ops->timer_new(c->env, on_more, c);
    return c->tick_timer != NULL && c->more_timer != NULL ? 0 : ERR_NOMEM;
}

void cluster_run_loop(struct cluster *c)
{
    c->env->ops->timer_start(c->tick_timer, c->tick_ms);
    cluster_kick(c);
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
    member_free(c);
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
    ASSERT(c->appends == NULL && c->jobs == 0);
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
        event.transfer.server_id = transfer_choose(c);
        if (raft_transferee(&c->raft) != 0 || driver_step(c, &event) == 0) {
            c->handing_over = true;
            c->stop_deadline_ms =
                now_ms(c) + (c->election_ms < HANDOVER_MS_MAX ? c->election_ms : HANDOVER_MS_MAX);
            cluster_kick(c);
            return;
        }
    }
    stop_now(c);
}

struct store *cluster_store(struct cluster *c) { return c->store; }
