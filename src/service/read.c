/* Reads (design.md 2.2): evaluated over the committed view, in one window per loop turn.
 *
 * store_rewind() and store_replay() cost what the entries in flight cost, so all reads that
 * wait share one window; their answers are gathered and leave after it (V5).
 *
 *   local         this node's committed view, once it is known to be of this run
 *   --min-index   waits for that index first; so does a local read whose session was told of a
 *                 later one (a follower passes an answer on before it learns of the commit), so
 *                 that a session reads its own writes and never goes back in time (Terry et al.,
 *                 Session Guarantees for Weakly Consistent Replicated Data, 1994)
 *   linearizable  on the leader: one cluster_read for all of a turn, then the window;
 *                 elsewhere: forwarded
 *
 * How it fails: no leader -> waits in the queue (service.c refuses it in time); a proof that
 * fails -> routed again; deadline -> NOQUORUM, or NOTREADY where it waited for an index. */
#include <string.h>

#include "base/assert.h"
#include "service/service_impl.h"

/* A window stops growing here: its answers are copied. */
#define WINDOW_BYTES_MAX ((size_t)64 * 1024 * 1024)
#define AHEAD_HINT       "ask another node; --local, without --min-index, takes what this one has"

struct window {
    struct store *store;
    struct group *answers, *proving;
    struct items waiting; /* for an index */
    bool open;
};

static void window_open(struct window *w)
{
    if (!w->open) {
        store_rewind(w->store);
        w->open = true;
    }
}

static void on_proof(void *arg, int status) { service_reads_proved(arg, status); }

void read_refuse_ahead(struct item *it)
{
    struct error e;
    (void)error_set(&e, ERR_NOTREADY, "this node has not reached index %llu in time",
                    (unsigned long long)it->min_index);
    error_hint(&e, AHEAD_HINT);
    item_refuse(it, &e);
}

static void on_index(void *arg, int status)
{
    struct item *it = arg;
    struct service *s = it->service;
    struct error e;
    if (status == 0 && !it->answered) {
        it->reached = true;
        item_move(it, ITEM_READ);
        items_push(&s->reads, it);
        service_wake(s);
        return;
    }
    if (status == ERR_BUSY) {
        (void)error_set(&e, ERR_BUSY, "too many reads wait for this node to catch up");
        error_hint(&e, AHEAD_HINT);
        item_refuse(it, &e);
    } else {
        read_refuse_ahead(it);
    }
    item_free(it);
}

static void evaluate(struct service *s, struct window *w, struct item *it)
{
    window_open(w);
    policy_evaluate(s->policy, w->store, &s->call, &it->user, store_time_ms(w->store),
                    store_index(w->store), &s->answer);
    item_move(it, ITEM_FLIGHT);
    group_keep(w->answers, it, &s->answer);
}

static void refuse(struct window *w, struct item *it, const struct error *e)
{
    item_move(it, ITEM_FLIGHT);
    group_keep_error(w->answers, it, e);
}

static void read_linearizable(struct service *s, struct window *w, struct item *it)
{
    if (service_leads(s) && !s->doubted) {
        if (w->proving == NULL) {
            w->proving = group_new(s, GROUP_READS);
        }
        item_move(it, ITEM_PROVING);
        items_push(&w->proving->items, it);
    } else if (it->peer != NULL) {
        forward_bounce(it);
        item_free(it);
    } else if (s->leader[0] != 0 && !service_leads(s)) {
        forward_send(it);
    } else {
        item_move(it, ITEM_QUEUED);
        items_push(&s->queue, it);
    }
}

/* What the answer must not be older than. With --local any age will do. */
static uint64_t index_wanted(const struct service *s, const struct item *it)
{
    const uint64_t *seen = it->r != NULL ? it->r->seen_index : NULL;
    if (it->proved || s->call.any_age || seen == NULL || s->call.min_index > *seen) {
        return s->call.min_index;
    }
    return *seen;
}

static void read_one(struct service *s, struct window *w, struct item *it)
{
    struct error e;
    error_clear(&e);
    int rc = service_parse(s, it, &e);
    rc = rc != 0 ? rc : service_allowed(s->call.def, &it->user, &e);
    bool prove = rc == 0 && s->call.read == READ_LINEARIZABLE && !it->proved;
    if (rc == 0 && !prove && !it->proved) {
        rc = cluster_local_ready(s->cluster, &e);
    }
    if (rc != 0) {
        refuse(w, it, &e);
    } else if (prove) {
        read_linearizable(s, w, it);
    } else {
        uint64_t wanted = index_wanted(s, it);
        if (wanted > 0 && !it->reached) {
            window_open(w);
            if (store_index(w->store) < wanted) {
                it->min_index = wanted;
                item_move(it, ITEM_INDEX);
                items_push(&w->waiting, it);
                return;
            }
        }
        if (it->proved) {
            s->counters.reads_linearizable++;
        } else {
            s->counters.reads_local++;
        }
        evaluate(s, w, it);
    }
}

static void window_close(struct service *s, struct window *w)
{
    struct item *it;
    if (w->open) {
        store_replay(w->store);
    }
    groups_push(&s->ready, w->answers);
    while ((it = items_pop(&w->waiting)) != NULL) {
        uint64_t now = service_now(s);
        uint64_t left = it->deadline_ms > now ? it->deadline_ms - now : 1;
        cluster_wait_index(s->cluster, it->min_index, left, on_index, it);
    }
    if (w->proving != NULL) {
        w->proving->reading = true;
        groups_push(&s->reading, w->proving);
        cluster_read(s->cluster, on_proof, w->proving);
    }
}

void service_reads_run(struct service *s)
{
    if (s->reads.head == NULL) {
        return;
    }
    struct window w = { .store = cluster_store(s->cluster), .answers = group_new(s, GROUP_READS) };
    uint64_t stop_ns = s->env->ops->mono_ns(s->env) + READS_TIME_NS;
    struct item *it;
    while ((it = items_pop(&s->reads)) != NULL) {
        if (it->answered) {
            item_free(it);
        } else {
            read_one(s, &w, it);
        }
        if (w.answers->text.len > WINDOW_BYTES_MAX ||
            (s->reads.head != NULL && s->env->ops->mono_ns(s->env) >= stop_ns)) {
            service_resume(s);
            break;
        }
    }
    window_close(s, &w);
}

void service_reads_proved(struct group *g, int status)
{
    struct service *s = g->service;
    struct item *it;
    struct error e;
    g->reading = false;
    groups_remove(&s->reading, g);
    while ((it = items_pop(&g->items)) != NULL) {
        if (it->answered) {
            item_free(it);
        } else if (status == 0) {
            it->proved = true;
            item_move(it, ITEM_READ);
            items_push(&s->reads, it);
        } else if (status == ERR_NOQUORUM) {
            service_error_no_leader(s, &e);
            item_refuse(it, &e);
            item_free(it);
        } else {
            /* Asking again at once could fail at once, for ever: its role has not been
             * told yet, or never will be because the cluster is ending. */
            s->doubted = true;
            item_move(it, ITEM_QUEUED);
            items_push(&s->queue, it);
        }
    }
    group_free(g);
    service_wake(s);
}
