/* The leader's write path (design.md 2.1): a loop turn's requests become one log entry.
 *
 *   open the group -> housekeeping (upkeep.c) -> each request: known id? else evaluate,
 *   remember the result, encode -> propose -> (commit) -> answer
 *
 * A request decided here changes the speculative store at once; its answer waits in the
 * group. A group in which nothing was written proposes nothing: its answers rest on
 * speculation all the same, so they wait until the entries in flight have committed and a
 * round has proved that this node led after the evaluation (GROUP_ROUND).
 *
 * How it fails: the pipeline is full -> everything waits, undecided. Leadership lost before
 * the entry was appended, or a round that fails -> the requests are routed again. Lost after
 * -> the outcome is unknown: requests with an id are asked again under it (the new leader
 * evaluates over every entry that can still commit, so the id settles it), the others get
 * UNKNOWN. Requests from a peer are given back to it as unknown: it knows their id.
 *
 * Invariants
 *   B1 between batch_open and propose/abandon nothing else runs (no callback)
 *   B2 an item is in exactly one of: the queue, the open group, a group in flight
 *   B3 the entry holds each transaction exactly when the store does, in the same order */
#include <string.h>

#include "base/assert.h"
#include "cluster/feature.h"
#include "service/rehearse_record.h"
#include "service/service_impl.h"

#define LOG_MODULE "service"
#include "base/log.h"

/* Room that the encoding of one transaction needs beside its parts. */
#define TX_OVERHEAD_BYTES 1024
/* Batches of refusals propose nothing and so are not held up by the pipeline. */
#define TURN_TIME_NS      (2 * BATCH_TIME_NS)

struct batch {
    uint64_t index, time_ms, stop_ns;
    struct group *g;   /* evaluated */
    struct group *now; /* malformed: answered in any case */
    uint32_t transactions, requests;
};

static void own_error(struct policy_answer *a, int code, const char *message, const char *hint)
{
    a->code = error_set(&a->error, code, "%s", message);
    error_hint(&a->error, "%s", hint);
    buf_clear(&a->fields);
    a->wrote = false;
}

/* What a later duplicate may be told: a decision, not a circumstance (lua.md 2). */
static bool is_result(int code)
{
    switch (code) {
    case ERR_BUSY:
    case ERR_NOTREADY:
    case ERR_NOTLEADER:
    case ERR_NOQUORUM:
    case ERR_UNKNOWN:
    case ERR_CANCELED:
    case ERR_NOSPACE:
    case ERR_NOMEM: return false;
    default: return true;
    }
}

static int remember(struct service *s, const struct item *it, struct span id, struct error *e)
{
    const struct policy_answer *a = &s->answer;
    struct effect f = {
        .kind = EFFECT_RESULT,
        .user = it->user.name,
        .request = id,
        .args_digest = s->call.args_digest,
        .code = a->code,
        .id2 = a->code == 0 ? a->order : (struct span){ "", 0 },
        .id3 = a->code == 0 ? a->order2 : (struct span){ "", 0 },
    };
    return store_do(cluster_store(s->cluster), &f, e);
}

/* Of a refusal only the code is remembered. Its reason is found by deciding the request once more,
 * for nothing; where that gives another answer today, the code has to do. */
static void refuse_again(struct service *s, const struct batch *b, const struct item *it,
                         const struct result *known)
{
    struct store *store = cluster_store(s->cluster);
    store_tx_begin(store);
    policy_evaluate(s->policy, store, &s->call, &it->user, b->time_ms, b->index, &s->answer);
    store_tx_undo(store);
    if (s->answer.code != known->code) {
        policy_answer_again(s->policy, store, &s->call, known, b->index, &s->answer);
    }
}

/* The answer of a request whose id is known. False: not known. */
static bool answer_known(struct service *s, const struct batch *b, const struct item *it,
                         struct span id)
{
    struct store *store = cluster_store(s->cluster);
    struct result known;
    if (id.len == 0 || !store_result(store, it->user.name, id, &known)) {
        return false;
    }
    s->counters.duplicates++;
    if (known.args_digest == s->call.args_digest && known.code != 0) {
        refuse_again(s, b, it, &known);
    } else if (known.args_digest == s->call.args_digest) {
        policy_answer_again(s->policy, store, &s->call, &known, b->index, &s->answer);
    } else {
        own_error(&s->answer, ERR_CONFLICT,
                  "this request id was used before with other arguments; nothing was done",
                  "use a new id for a new request");
    }
    return true;
}

/* Puts the open transaction into the entry. False: it must wait for the next one. */
static bool add_transaction(struct service *s, struct batch *b, struct item *it, struct span id)
{
    struct store *store = cluster_store(s->cluster);
    struct span effects = store_tx_effects(store);
    size_t bytes = effects.len + s->call.argv.len + id.len + it->user.name.len + TX_OVERHEAD_BYTES;
    if (effects.len == 0) {
        store_tx_end(store);
        return true;
    }
    if (s->entry.len + bytes > ENTRY_BYTES_MAX) {
        store_tx_undo(store);
        if (b->transactions > 0) {
            return false;
        }
        own_error(&s->answer, ERR_TOOBIG, "the request is too large for one log entry",
                  "split it into smaller ones");
        return true;
    }
    struct entry_tx tx = {
        .user = it->user.name,
        .command = span_of(s->call.def->name),
        .args = span_make((const char *)s->call.argv.data, s->call.argv.len),
        .request = id,
        .code = s->answer.code,
        .effects = effects,
    };
    entry_add(&s->entry, &tx);
    store_tx_end(store);
    it->wrote = true;
    b->transactions++;
    return true;
}

/* A refusal that leaves no result in the log: kept apart, for rehearsals. */
static void record_refusal(struct service *s, const struct batch *b, const struct item *it)
{
    if (s->recorder != NULL && !s->call.dry_run && is_result(s->answer.code)) {
        struct refusal r = {
            .index = b->index,
            .position = b->transactions,
            .time_ms = b->time_ms,
            .digest = store_digest(cluster_store(s->cluster)),
            .code = s->answer.code,
            .user = it->user.name,
            .argv = span_make((const char *)s->call.argv.data, s->call.argv.len),
        };
        recorder_note(s->recorder, &r);
    }
}

/* Decides one request inside the open group. False: it must wait for the next one. */
static bool evaluate(struct service *s, struct batch *b, struct item *it)
{
    struct store *store = cluster_store(s->cluster);
    struct error e;
    error_clear(&e);
    if (service_parse(s, it, &e) != 0 || service_allowed(s->call.def, &it->user, &e) != 0) {
        group_keep_error(b->now, it, &e);
        return true;
    }
    struct span id = s->call.request.len > 0 ? s->call.request : it->id;
    if (s->call.dry_run) {
        id = (struct span){ "", 0 }; /* decides nothing: remembers nothing */
    }
    if (!answer_known(s, b, it, id)) {
        if (upkeep_unruled(s) && strcmp(s->call.def->group, "policy") != 0) {
            (void)error_set(&e, ERR_INTERNAL,
                            "policy %u does not load on the leader: its log says why",
                            (unsigned)s->policy_refused);
            error_hint(&e, "deploy one that does, or `policy rollback`");
            group_keep_error(b->now, it, &e);
            return true;
        }
        store_tx_begin(store);
        policy_evaluate(s->policy, store, &s->call, &it->user, b->time_ms, b->index, &s->answer);
        if (s->answer.code == ERR_INTERNAL) {
            service_complain(s, &s->answer.error);
        }
        if (s->answer.code != 0 && id.len == 0) {
            record_refusal(s, b, it);
        }
        if (id.len > 0 && is_result(s->answer.code) && remember(s, it, id, &e) != 0) {
            store_tx_undo(store);
            own_error(&s->answer, ERR_INTERNAL, e.message, "nothing was done; tell the operator");
        } else if (!add_transaction(s, b, it, id)) {
            return false;
        }
    }
    group_keep(b->g, it, &s->answer);
    return true;
}

static bool batch_full(struct service *s, const struct batch *b)
{
    return b->requests >= BATCH_REQUESTS_MAX || s->entry.len >= BATCH_BYTES_SOFT ||
           s->env->ops->mono_ns(s->env) >= b->stop_ns;
}

static void batch_fill(struct service *s, struct batch *b)
{
    struct item *it;
    while (!batch_full(s, b) && (it = items_pop(&s->queue)) != NULL) {
        if (it->answered) {
            item_free(it);
        } else if (it->is_read) {
            item_move(it, ITEM_READ);
            items_push(&s->reads, it);
        } else {
            item_move(it, ITEM_FLIGHT);
            if (!evaluate(s, b, it)) {
                item_move(it, ITEM_QUEUED);
                items_push_front(&s->queue, it);
                return;
            }
            b->requests++;
        }
    }
}

/* Takes a group's items back: undecided, in their old order, before what came later. */
static void take_back(struct service *s, struct group *g)
{
    struct items old = g->items;
    g->items = (struct items){ 0 };
    struct items later = s->queue;
    s->queue = (struct items){ 0 };
    struct item *it;
    while ((it = items_pop(&old)) != NULL) {
        if (it->answered) {
            item_free(it);
        } else {
            service_route(it);
        }
    }
    while ((it = items_pop(&later)) != NULL) {
        items_push(&s->queue, it);
    }
}

static void on_round(void *arg, int status) { batch_proved(arg, status); }

static void start_round(struct service *s, struct group *g)
{
    g->kind = GROUP_ROUND;
    g->index = s->last_open;
    g->reading = true;
    groups_push(&s->flight, g);
    cluster_read(s->cluster, on_round, g);
}

static void no_memory(struct service *s, struct group *g)
{
    struct error e;
    (void)error_set(&e, ERR_NOMEM, "out of memory; nothing was done");
    struct item *it;
    struct group *refused = group_new(s, GROUP_ROUND);
    while ((it = items_pop(&g->items)) != NULL) {
        it->wrote = false;
        group_keep_error(refused, it, &e);
    }
    group_free(g);
    groups_push(&s->ready, refused);
}

static void batch_end(struct service *s, struct batch *b)
{
    struct error e;
    error_clear(&e);
    s->counters.batches++;
    s->counters.batched_requests += b->requests;
    groups_push(&s->ready, b->now);
    if (b->transactions == 0) {
        cluster_batch_abandon(s->cluster);
        if (b->g->items.head != NULL) {
            start_round(s, b->g);
        } else {
            group_free(b->g);
        }
        return;
    }
    entry_end(&s->entry, b->transactions);
    if (s->entry.failed) {
        cluster_batch_abandon(s->cluster);
        no_memory(s, b->g);
        return;
    }
    s->entry_bytes = s->entry.len < BATCH_BYTES_SOFT ? s->entry.len : BATCH_BYTES_SOFT;
    b->g->index = b->index;
    if (cluster_batch_propose(s->cluster, &s->entry, &e) != 0) {
        take_back(s, b->g);
        group_free(b->g);
        return;
    }
    s->last_open = b->index;
    groups_push(&s->flight, b->g);
}

/* Nothing can be decided for want of disk: say so, reads go on. */
static void refuse_queue(struct service *s, const struct error *e)
{
    struct group *g = group_new(s, GROUP_ROUND);
    struct item *it;
    while ((it = items_pop(&s->queue)) != NULL) {
        if (it->is_read) {
            item_move(it, ITEM_READ);
            items_push(&s->reads, it);
            continue;
        }
        item_move(it, ITEM_FLIGHT);
        if (it->maybe) {
            item_unknown(it, "the disk of the leader is full");
        }
        group_keep_error(g, it, e);
    }
    groups_push(&s->ready, g);
}

/* False: no batch can be opened now. */
static bool batch_one(struct service *s)
{
    struct batch b = { 0 };
    struct error e;
    error_clear(&e);
    int rc = cluster_batch_open(s->cluster, &b.index, &b.time_ms, &e);
    if (rc != 0) {
        if (rc == ERR_NOSPACE) {
            refuse_queue(s, &e);
        }
        return false; /* `ready` or `role` will call again */
    }
    b.g = group_new(s, GROUP_ENTRY);
    b.now = group_new(s, GROUP_ROUND);
    buf_clear(&s->entry);
    (void)buf_reserve(&s->entry, s->entry_bytes); /* as the last one: it was given away */
    entry_begin(&s->entry, b.time_ms, cluster_batch_digest(s->cluster),
                cluster_feature_level(s->cluster));
    b.transactions = upkeep_run(s, b.index, b.time_ms);
    b.stop_ns = s->env->ops->mono_ns(s->env) + BATCH_TIME_NS; /* slow expiries starve no request */
    batch_fill(s, &b);
    batch_end(s, &b);
    upkeep_schedule(s);
    return true;
}

/* Reads that waited in the queue for a leader need no batch. */
static void pass_reads(struct service *s)
{
    while (s->queue.head != NULL && (s->queue.head->is_read || s->queue.head->answered)) {
        struct item *it = items_pop(&s->queue);
        if (it->answered) {
            item_free(it);
        } else {
            item_move(it, ITEM_READ);
            items_push(&s->reads, it);
        }
    }
}

void batch_run(struct service *s)
{
    pass_reads(s);
    uint64_t stop_ns = s->env->ops->mono_ns(s->env) + TURN_TIME_NS;
    while (s->queue.head != NULL || s->upkeep_due) {
        if (!batch_one(s)) {
            break;
        }
        if (s->env->ops->mono_ns(s->env) >= stop_ns) {
            service_resume(s);
            break;
        }
    }
}

/* ---- Outcomes ------------------------------------------------------------------ */

static bool group_done(const struct service *s, const struct group *g)
{
    /* last_open == 0 says that nothing is in flight any more. */
    const struct group *first = s->flight.head;
    if (g->kind == GROUP_ENTRY || !g->proved) {
        return false;
    }
    for (; first != NULL && first != g; first = first->next) {
        if (first->kind == GROUP_ENTRY && first->index <= g->index) {
            return false;
        }
    }
    return true;
}

/* Rounds whose entries have all committed. */
static void settle_rounds(struct service *s)
{
    struct group *next;
    for (struct group *g = s->flight.head; g != NULL; g = next) {
        next = g->next;
        if (group_done(s, g)) {
            groups_remove(&s->flight, g);
            groups_push(&s->ready, g);
        }
    }
}

void batch_committed(struct service *s, uint64_t index)
{
    struct group *g = s->flight.head;
    while (g != NULL && (g->kind != GROUP_ENTRY || g->index != index)) {
        g = g->next;
    }
    if (g != NULL) {
        groups_remove(&s->flight, g);
        groups_push(&s->ready, g);
    }
    if (index == s->last_open) {
        s->last_open = 0;
    }
    settle_rounds(s);
}

/* A proof that fails leaves its requests undecided, never refused. */
void batch_proved(struct group *g, int status)
{
    struct service *s = g->service;
    g->reading = false;
    if (g->dead) {
        group_free(g);
        return;
    }
    if (status == 0) {
        g->proved = true;
        settle_rounds(s);
    } else {
        s->doubted = true; /* deciding again at once could fail at once, for ever */
        groups_remove(&s->flight, g);
        take_back(s, g);
        group_free(g);
    }
    service_wake(s);
}

/* The entry may still commit elsewhere: only an id can settle what became of it. What
 * wrote nothing is simply decided again. */
static void lose_item(struct service *s, struct item *it)
{
    struct error e;
    error_clear(&e);
    if (!it->wrote && !it->answered) {
        service_route(it);
        return;
    }
    bool has_id = it->id.len > 0;
    if (!has_id && it->peer == NULL && !it->answered && service_parse(s, it, &e) == 0) {
        has_id = s->call.request.len > 0 && !s->call.dry_run;
    }
    if (it->answered || !has_id || it->peer != NULL) {
        item_unknown(it, "leadership was lost before a majority had it");
        item_free(it);
    } else {
        it->maybe = true;
        it->wrote = false;
        service_route(it);
    }
}

void batch_undone(struct service *s, uint64_t first)
{
    struct groups old = s->flight;
    s->flight = (struct groups){ 0 };
    s->last_open = 0;
    struct group *g;
    while ((g = groups_pop(&old)) != NULL) {
        if (g->kind == GROUP_ENTRY && g->index < first) {
            groups_push(&s->flight, g); /* committed: its event comes, or has come */
            s->last_open = g->index;
            continue;
        }
        struct items items = g->items;
        struct item *it;
        if (g->kind == GROUP_ROUND) {
            take_back(s, g);
        } else {
            g->items = (struct items){ 0 };
            while ((it = items_pop(&items)) != NULL) {
                lose_item(s, it);
            }
        }
        if (g->reading) {
            g->dead = true;
        } else {
            group_free(g);
        }
    }
}
