/* Judges what the clients were told.
 *
 *   H1 an answer to a request that changes something is what the log has for its request id,
 *      and was in the log, committed, before it was given
 *   H2 a refusal is borne out by the log at the place where it stands: TAKEN by a seat that
 *      was taken, LIMIT by what the customer had, and who confirms, extends, moves or gives
 *      back is refused only when the order had lapsed (or the other seat was taken)
 *   H3 a seat map is the state at the index that it names; a linearizable one is no older
 *      than what anybody had seen committed when it was asked for; on one node, the index of
 *      local maps never goes back
 *   H4 in the end all nodes hold the same state, the log's, and every granted order is as its
 *      client believes it to be
 *   H5 each seat's history is linearizable (sim_linear.c) */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sim_clients_impl.h"
#include "sim_linear.h"

/* ---- H2, before the transaction's own effects are in the model ------------------------------ */

static bool any_taken(const struct sim_clients *c, const struct op *o)
{
    for (unsigned i = 0; i < o->seats_count; i++) {
        if (oracle_holder(c->oracle, o->seats[i]) != NULL) {
            return true;
        }
    }
    return false;
}

static bool over_limit(const struct sim_clients *c, const struct op *o)
{
    for (unsigned event = 0; event < ORACLE_EVENTS; event++) {
        unsigned n = 0;
        for (unsigned i = 0; i < o->seats_count; i++) {
            n += o->seats[i] / EVENT_SEATS == event;
        }
        if (n > 0 && n + oracle_customer(c->oracle, o->customer, event) > ORACLE_LIMIT) {
            return true;
        }
    }
    return false;
}

static bool has_lapsed(const struct sim_clients *c, const struct op *o, uint64_t time_ms)
{
    const struct oracle_order *order = oracle_order(c->oracle, o->order->id);
    return order == NULL || order->status > ORDER_BOOKED ||
           (order->status == ORDER_HELD && order->expires_ms <= time_ms);
}

static bool is_borne_out(const struct sim_clients *c, const struct op *o,
                         const struct oracle_tx *tx)
{
    if (is_take(o) || (o->kind == OP_MOVE && tx->code == ERR_TAKEN)) {
        return (tx->code == ERR_TAKEN && any_taken(c, o)) ||
               (tx->code == ERR_LIMIT && over_limit(c, o));
    }
    return o->order != NULL && has_lapsed(c, o, tx->time_ms);
}

void history_on_tx(void *arg, const struct oracle_tx *tx)
{
    struct sim_clients *c = arg;
    const struct op *o = tx->request < REQUESTS_MAX ? c->by_number[tx->request] : NULL;
    if (o == NULL) {
        world_violation(c->w, "entry %llu holds request r%llu, which nobody sent",
                        (unsigned long long)tx->index, (unsigned long long)tx->request);
    } else if (tx->code != 0 && !is_borne_out(c, o, tx)) {
        world_violation(c->w,
                        "entry %llu refuses r%llu (%s) with %s, and the log does not bear "
                        "that out",
                        (unsigned long long)tx->index, (unsigned long long)tx->request, o->words,
                        error_wire(tx->code));
    }
}

/* ---- H1, H3: at the end of the turn in which the answer came ----------------------------------
 */

static void judge_change(struct sim_clients *c, const struct op *o)
{
    const struct oracle_result *r = oracle_result(c->oracle, o->number);
    if (r == NULL) {
        world_violation(c->w, "r%llu (%s) is answered before its entry is committed",
                        (unsigned long long)o->number, o->words);
    } else if (r->code != o->code) {
        world_violation(c->w, "r%llu (%s) is answered with %s, and the log has %s",
                        (unsigned long long)o->number, o->words, error_wire(o->code),
                        error_wire(r->code));
    } else if (is_take(o) && o->code == 0) {
        const struct oracle_order *order = oracle_order(c->oracle, o->id);
        bool same = order != NULL && strcmp(r->order, o->id) == 0 &&
                    strcmp(order->customer, o->customer) == 0 &&
                    order->seats_count == o->seats_count;
        if (!same) {
            world_violation(c->w, "r%llu (%s) was granted order %s, and the log has %s",
                            (unsigned long long)o->number, o->words, o->id, r->order);
        }
    }
}

static void judge_map(struct sim_clients *c, const struct op *o)
{
    for (unsigned i = 0; i < EVENT_SEATS; i++) {
        unsigned seat = o->event * EVENT_SEATS + i;
        int want = oracle_seat_at(c->oracle, seat, o->index);
        if (o->shown[i] != want) {
            char label[16];
            oracle_seat_label(seat, label);
            world_violation(c->w, "a %s map of event %u at index %llu shows %s %s, it was %s",
                            o->kind == OP_LOCAL ? "local" : "linearizable", o->event + 1,
                            (unsigned long long)o->index, label, seat_status_name(o->shown[i]),
                            seat_status_name(want));
        }
    }
    if (o->index > oracle_index(c->oracle)) {
        world_violation(c->w, "a map shows index %llu, which nobody has committed",
                        (unsigned long long)o->index);
    }
    if (o->kind == OP_SEATS && o->index < o->asked_index) {
        world_violation(c->w, "stale read: asked when %llu was committed, answered at %llu",
                        (unsigned long long)o->asked_index, (unsigned long long)o->index);
    }
}

static void judge_order(struct sim_clients *c, const struct op *o)
{
    const struct op *order = o->order;
    const char *want = order->booked ? "booked" : "held";
    bool lapsed = !order->booked && strcmp(o->status, "expired") == 0;
    if (strcmp(o->status, want) != 0 && !lapsed) {
        world_violation(c->w, "order %s is %s, and its client knows it as %s", order->id, o->status,
                        want);
    }
}

void history_turn(void *arg)
{
    struct sim_clients *c = arg;
    while (c->told != NULL) {
        struct op *o = c->told;
        c->told = o->next_told;
        if (!is_read(o)) {
            judge_change(c, o);
        } else if (o->kind == OP_LOCAL && o->code == ERR_NOTFOUND) {
            continue; /* that node is not so far yet */
        } else if (o->code != 0) {
            world_violation(c->w, "a read (%s) is refused: %s", o->words, error_wire(o->code));
        } else if (o->kind == OP_ORDER) {
            judge_order(c, o);
        } else {
            judge_map(c, o);
        }
    }
}

/* ---- H4 -----------------------------------------------------------------------------------------
 */

struct live_count {
    const struct sim_clients *c;
    const char *where;
    uint64_t n;
};

static bool on_live_order(void *arg, const struct order *order)
{
    struct live_count *live = arg;
    char id[40];
    (void)snprintf(id, sizeof id, "%.*s", (int)order_id(order).len, order_id(order).data);
    const struct oracle_order *want = oracle_order(live->c->oracle, id);
    live->n++;
    if (want == NULL || want->status != order->status || want->expires_ms != order->expires_ms ||
        want->seats_count != order->places_count) {
        world_violation(live->c->w, "%s: order %s is not what the log has", live->where, id);
    }
    return true;
}

static void check_store(const struct sim_clients *c, const struct sim_node *n)
{
    struct store *s = cluster_store(n->cluster);
    struct error e = { 0 };
    struct live_count live = { c, n->address, 0 };
    struct order_filter all_live = { .status = -2 };
    if (store_check(s, &e) != 0) {
        world_violation(c->w, "%s: %s", n->address, e.message);
    }
    store_orders(s, &all_live, on_live_order, &live);
    uint64_t want = 0;
    for (const struct oracle_order *o = oracle_orders(c->oracle); o != NULL; o = o->next) {
        want += o->status <= ORDER_BOOKED;
    }
    if (live.n != want) {
        world_violation(c->w, "%s holds %llu live orders, not %llu", n->address,
                        (unsigned long long)live.n, (unsigned long long)want);
    }
}

static bool is_believable(const struct op *o, const struct oracle_order *order)
{
    if (o->given_back) {
        return order->status == ORDER_RELEASED || order->status == ORDER_CANCELLED;
    }
    if (o->booked) {
        return order->status == ORDER_BOOKED;
    }
    return order->status == ORDER_EXPIRED || (order->status == ORDER_HELD && !o->lapsed);
}

static void check_beliefs(struct sim_clients *c)
{
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        if (!is_granted_order(o)) {
            continue;
        }
        const struct oracle_order *order = oracle_order(c->oracle, o->id);
        if (order == NULL || !is_believable(o, order)) {
            world_violation(c->w,
                            "order %s is %s in the log, which is not what its client was told",
                            o->id, order == NULL ? "not" : order_status_name(order->status));
            continue;
        }
        c->n.orders_live += order->status <= ORDER_BOOKED;
        for (unsigned i = 0; i < o->seats_count && order->status <= ORDER_BOOKED; i++) {
            if (oracle_holder(c->oracle, o->has[i]) != order) {
                world_violation(c->w, "order %s has lost a seat", o->id);
            }
        }
    }
}

/* ---- H5 -----------------------------------------------------------------------------------------
 */

struct seat_history {
    struct linear_op *ops;
    size_t n, cap;
};

static void put(struct seat_history *h, const struct op *o, enum linear_kind kind, unsigned order,
                int status)
{
    if (h->n == h->cap) {
        h->cap = h->cap * 2 + 64;
        h->ops = mem_realloc(h->ops, h->cap * sizeof *h->ops);
        ASSERT(h->ops != NULL);
    }
    h->ops[h->n++] = (struct linear_op){ o->asked_ms, o->known_ms, kind, order, status };
}

/* An expiry has no client: it was asked for when the hold was, and done when the log showed it. */
static void put_expiry(struct seat_history *h, const struct op *o, uint64_t ended_ms)
{
    put(h, o, LINEAR_END, (unsigned)o->number, 0);
    h->ops[h->n - 1].returned = ended_ms;
}

static void put_op(const struct sim_clients *c, struct seat_history *seats, const struct op *o)
{
    if (o->known_ms == NEVER) {
        return;
    }
    if (o->refused_seat >= 0) {
        put(&seats[o->refused_seat], o, LINEAR_REFUSED, 0, 0);
    }
    for (unsigned i = 0; i < EVENT_SEATS && o->kind == OP_SEATS && o->code == 0; i++) {
        put(&seats[o->event * EVENT_SEATS + i], o, LINEAR_READ, 0, o->shown[i]);
    }
    if (!is_granted_order(o)) {
        return;
    }
    /* The order's whole life, from its client's later requests: seats and when they changed. */
    unsigned has[OP_SEATS_MAX], order = (unsigned)o->number;
    bool booked = o->kind == OP_BOOK;
    memcpy(has, o->seats, sizeof has);
    for (unsigned i = 0; i < o->seats_count; i++) {
        put(&seats[has[i]], o, booked ? LINEAR_BOOK : LINEAR_HOLD, order, 0);
    }
    for (const struct op *x = o->next; x != NULL; x = x->next) {
        if (x->order != o || x->known_ms == NEVER || x->code != 0) {
            continue;
        }
        if (x->kind == OP_MOVE) {
            put(&seats[has[x->from]], x, LINEAR_END, order, 0);
            has[x->from] = x->seats[0];
            put(&seats[has[x->from]], x, booked ? LINEAR_BOOK : LINEAR_HOLD, order, 0);
        }
        booked = booked || x->kind == OP_CONFIRM;
        for (unsigned i = 0; i < o->seats_count; i++) {
            if (x->kind == OP_CONFIRM || x->kind == OP_GIVE_BACK) {
                put(&seats[has[i]], x, x->kind == OP_CONFIRM ? LINEAR_CONFIRM : LINEAR_END, order,
                    0);
            }
        }
    }
    const struct oracle_order *end = oracle_order(c->oracle, o->id);
    for (unsigned i = 0; i < o->seats_count && end != NULL && end->status == ORDER_EXPIRED; i++) {
        put_expiry(&seats[has[i]], o, end->ended_at_ms);
    }
}

static void check_linear(struct sim_clients *c)
{
    struct seat_history seats[ORACLE_SEATS] = { 0 };
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        put_op(c, seats, o);
    }
    for (unsigned i = 0; i < ORACLE_SEATS; i++) {
        size_t stuck = 0;
        enum linear_verdict v = linear_check(seats[i].ops, seats[i].n, &stuck);
        c->n.seats_searched++;
        c->n.seats_undecided += v == LINEAR_GAVE_UP;
        if (v == LINEAR_NO) {
            char label[16];
            oracle_seat_label(i, label);
            const struct linear_op *op = &seats[i].ops[stuck];
            world_violation(c->w,
                            "the history of %s of event %u is not linearizable: nothing fits with "
                            "operation %d of order %u, %llu to %llu ms",
                            label, i / EVENT_SEATS + 1, (int)op->kind, op->order,
                            (unsigned long long)op->called, (unsigned long long)op->returned);
        }
        mem_free(seats[i].ops);
    }
}

void clients_check(struct sim_clients *c)
{
    const struct sim_node *first = NULL;
    for (unsigned i = 0; i < c->w->count; i++) {
        const struct sim_node *n = &c->w->nodes[i];
        if (!n->running || !world_belongs(c->w, n)) {
            continue;
        }
        check_store(c, n);
        first = first != NULL ? first : n;
        if (store_digest(cluster_store(n->cluster)) !=
            store_digest(cluster_store(first->cluster))) {
            world_violation(c->w, "%s and %s differ", first->address, n->address);
        }
    }
    check_beliefs(c);
    check_linear(c);
}
