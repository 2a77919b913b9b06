/* What moves requests: the turn, the tick with its deadlines, and the cluster's events.
 *
 * turn() runs once at the end of each loop turn in which something arrived: answers whose
 * entry has committed leave, the leader evaluates what waits as one batch, a follower packs
 * it into one frame, reads share one window, frames go out.
 *
 * Invariant T1: callbacks of surfaces run only before and after the work of a turn, never
 * while a batch is open or the store is rewound. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "service/rehearse_record.h"
#include "service/service_impl.h"

#define TICK_MS      100
#define TICK_LONG_MS 500 /* with many items a scan costs something */
#define TICK_MANY    8192

void service_tick_start(struct service *s)
{
    if (!s->ticking) {
        s->ticking = true;
        s->env->ops->timer_start(s->tick, s->count > TICK_MANY ? TICK_LONG_MS : TICK_MS);
    }
}

/* ---- Turns ------------------------------------------------------------------ */

/* A follower sends on what waits; without a leader it goes on waiting. What a peer sent
 * while this node led goes back: only the peer knows who leads now. */
static void forward_queue(struct service *s)
{
    struct items all = s->queue;
    struct item *it;
    s->queue = (struct items){ 0 };
    while ((it = items_pop(&all)) != NULL) {
        if (it->answered) {
            item_free(it);
        } else if (it->peer != NULL) {
            forward_bounce(it);
            item_free(it);
        } else if (s->leader[0] == 0) {
            items_push(&s->queue, it);
        } else {
            forward_send(it);
        }
    }
}

static void answer_ready(struct service *s)
{
    struct group *g;
    while ((g = groups_pop(&s->ready)) != NULL) {
        group_answer(g);
    }
}

void service_turn(void *arg)
{
    struct service *s = arg;
    if (s->cluster == NULL) {
        return;
    }
    s->in_turn = true;
    answer_ready(s);
    if (policy_exhausted(s->policy)) {
        s->policy_stale = s->policy_again = true;
    }
    if (s->policy_stale) {
        upkeep_policy(s);
    }
    if (!service_leads(s)) {
        forward_queue(s);
    } else if (!s->doubted && !upkeep_policy_waits(s)) {
        batch_run(s);
    }
    service_reads_run(s);
    s->in_turn = false;
    answer_ready(s); /* may submit more: another turn, at once */
    forward_flush(s);
}

/* ---- Deadlines ---------------------------------------------------------------- */

static void expire(struct item *it)
{
    struct service *s = it->service;
    struct error e;
    bool sent = it->state == ITEM_FORWARDED && it->sent && !it->is_read;
    if (it->state == ITEM_INDEX) {
        read_refuse_ahead(it);
    } else if (it->maybe || sent || (it->state == ITEM_FLIGHT && it->wrote)) {
        item_unknown(it, sent ? "the leader did not answer in time"
                              : "the deadline passed before a majority had it");
    } else if (s->leader[0] != 0 && it->state == ITEM_QUEUED) {
        (void)error_set(&e, ERR_BUSY, "the request waited until its deadline; nothing was done");
        error_hint(&e, "slow down and try again");
        item_refuse(it, &e);
    } else {
        (void)error_set(&e, ERR_NOQUORUM, "no majority answered in time; nothing was done");
        error_hint(&e, "`status` shows who is reachable; then try again");
        item_refuse(it, &e);
    }
}

/* The leader's word comes through, this node's does not (a cut one way): it would wait in vain. */
static void refuse_deaf_leader(struct item *it)
{
    struct service *s = it->service;
    struct error e;
    char why[ADDRESS_BYTES_MAX + 64];
    (void)snprintf(why, sizeof why, "the leader, %s, does not hear this node", s->leader);
    if (it->maybe || (it->sent && !it->is_read)) {
        item_unknown(it, why);
    } else {
        (void)error_set(&e, ERR_NOQUORUM, "%s; nothing was done", why);
        error_hint(&e, "ask another node; look at the network from here to there");
        item_refuse(it, &e);
    }
}

static bool leaderless(const struct service *s, uint64_t now)
{
    return s->leader[0] == 0 && now >= s->leaderless_ms + LEADERLESS_MS;
}

/* A malformed request is told so even while nobody leads. */
static void refuse_no_leader(struct item *it)
{
    struct error e;
    error_clear(&e);
    if (service_parse(it->service, it, &e) == 0) {
        service_error_no_leader(it->service, &e);
    }
    item_refuse(it, &e);
}

/* Callbacks may end node commands and so free items of that kind: what is to be told is
 * collected first, and only from containers that nobody empties meanwhile. */
static void sweep(struct service *s)
{
    uint64_t now = service_now(s);
    bool gone = leaderless(s, now);
    bool deaf = s->cluster != NULL && cluster_leader_deaf(s->cluster);
    buf_clear(&s->scratch);
    for (struct item *it = s->all; it != NULL; it = it->all_next) {
        if (it->answered || it->state == ITEM_NODE) {
            continue;
        }
        bool undecided = (it->state == ITEM_QUEUED && !it->maybe) || it->state == ITEM_INDEX;
        if (now >= it->deadline_ms || (gone && undecided) ||
            (deaf && it->state == ITEM_FORWARDED)) {
            buf_put(&s->scratch, &it, sizeof it);
        }
    }
    for (size_t at = 0; at < s->scratch.len; at += sizeof(struct item *)) {
        struct item *it;
        memcpy(&it, s->scratch.data + at, sizeof it);
        if (it->answered) {
            continue;
        }
        if (now >= it->deadline_ms) {
            expire(it);
        } else if (it->state == ITEM_FORWARDED) {
            refuse_deaf_leader(it);
        } else {
            refuse_no_leader(it);
        }
    }
}

void service_tick(void *arg)
{
    struct service *s = arg;
    s->ticking = false;
    s->doubted = false;
    sweep(s);
    forward_tick(s, service_now(s));
    service_wake(s);
    if (s->count > 0) {
        service_tick_start(s);
    }
}

/* ---- Cluster events ------------------------------------------------------------- */

static void on_role(void *arg, int role, const char *leader, uint64_t term)
{
    struct service *s = arg;
    bool moved = strcmp(leader, s->leader) != 0 || role != s->role;
    (void)snprintf(s->leader, sizeof s->leader, "%s", leader);
    s->role = role;
    s->term = term;
    s->doubted = false;
    if (s->leader[0] != 0) {
        s->leaderless_ms = 0;
    } else if (s->leaderless_ms == 0) {
        s->leaderless_ms = service_now(s);
    }
    if (moved) {
        forward_take_back(s);
        upkeep_schedule(s);
    }
    for (unsigned i = 0; i < s->listeners_count; i++) {
        if (s->listeners[i].on->role != NULL) {
            s->listeners[i].on->role(s->listeners[i].arg, role, leader, term);
        }
    }
    service_wake(s);
}

static void on_ready(void *arg)
{
    struct service *s = arg;
    upkeep_schedule(s);
    service_wake(s);
}

static void on_committed(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine)
{
    struct service *s = arg;
    struct policy_record rec;
    if (entry.len > 0 && s->watch_count > 0) {
        watch_tell(s, index);
    }
    if (s->commits != NULL) {
        feed_tell(s, s->commits, index, span_make("", 0));
    }
    for (unsigned i = 0; i < s->listeners_count; i++) {
        if (s->listeners[i].on->committed != NULL) {
            s->listeners[i].on->committed(s->listeners[i].arg, index, term, entry, mine);
        }
    }
    if (store_policy(cluster_store(s->cluster), 0, &rec) &&
        rec.version != policy_version(s->policy)) {
        s->policy_stale = true;
    }
    if (mine) {
        batch_committed(s, index);
    }
    service_wake(s);
}

static void on_undone(void *arg, uint64_t first)
{
    struct service *s = arg;
    batch_undone(s, first);
    service_wake(s);
}

static void on_restored(void *arg, struct store *store)
{
    struct service *s = arg;
    s->policy_stale = true;
    watch_lost(s);
    for (unsigned i = 0; i < s->listeners_count; i++) {
        if (s->listeners[i].on->restored != NULL) {
            s->listeners[i].on->restored(s->listeners[i].arg, store);
        }
    }
    service_wake(s);
}

static void on_member(void *arg, const struct cluster_member_change *m)
{
    struct service *s = arg;
    for (unsigned i = 0; i < s->listeners_count; i++) {
        if (s->listeners[i].on->member != NULL) {
            s->listeners[i].on->member(s->listeners[i].arg, m);
        }
    }
}

static void on_frame(void *arg, const struct transport_peer *peer, const uint8_t *data, size_t len)
{
    struct service *s = arg;
    if (len > 0 && data[0] >= FRAME_REFUSALS_ASK) {
        recorder_frame(s->recorder, peer, data, len);
    } else {
        forward_frame(s, peer, data, len);
    }
}

static void on_fatal(void *arg, const struct error *e, bool stop_process)
{
    struct service *s = arg;
    for (unsigned i = 0; i < s->listeners_count; i++) {
        if (s->listeners[i].on->fatal != NULL) {
            s->listeners[i].on->fatal(s->listeners[i].arg, e, stop_process);
        }
    }
}

void service_cluster_events(struct cluster_events *on)
{
    *on = (struct cluster_events){
        .role = on_role,
        .ready = on_ready,
        .committed = on_committed,
        .undone = on_undone,
        .restored = on_restored,
        .member = on_member,
        .frame = on_frame,
        .fatal = on_fatal,
    };
}

void service_listen(struct service *s, const struct service_events *on, void *arg)
{
    ASSERT(s->listeners_count < SERVICE_LISTENERS_MAX);
    s->listeners[s->listeners_count].on = on;
    s->listeners[s->listeners_count].arg = arg;
    s->listeners_count++;
}
