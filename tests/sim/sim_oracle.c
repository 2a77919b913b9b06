/* See sim_oracle.h. */
#include "sim_oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#define RESULTS_CAP 20000

struct seen {
    uint64_t term, hash, digest;
    bool seen;
};

struct change_of_seat {
    uint64_t index;
    int status;
};

struct seat {
    struct oracle_order *order;
    struct change_of_seat *history;
    size_t history_count, history_cap;
};

struct oracle {
    struct sim_world *w;
    oracle_tx_cb cb;
    void *arg;
    struct seen *entries;
    size_t entries_cap;
    uint64_t last, replayed, time_ms, index;
    uint32_t event_numbers[ORACLE_EVENTS]; /* number + 1 by event, 0: not made yet */
    struct seat seats[ORACLE_SEATS];
    struct oracle_order *orders;
    struct oracle_result *results;
};

static void *grow(void *old, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) {
        return old;
    }
    size_t cap_now = *cap;
    *cap = count * 2 + 64;
    uint8_t *grown = mem_realloc(old, *cap * size);
    ASSERT(grown != NULL);
    memset(grown + cap_now * size, 0, (*cap - cap_now) * size);
    return grown;
}

static void keep(char *out, size_t cap, struct span s)
{
    (void)snprintf(out, cap, "%.*s", (int)s.len, s.len > 0 ? s.data : "");
}

void oracle_seat_label(unsigned seat, char out[16])
{
    unsigned number = seat % EVENT_SEATS;
    (void)snprintf(out, 16, "%c%u", (char)('A' + number / ORACLE_ROW), number % ORACLE_ROW + 1);
}

/* ---- The model -------------------------------------------------------------------------- */

static bool live(const struct oracle_order *order) { return order->status <= ORDER_BOOKED; }

static void remember(struct oracle *o, unsigned seat)
{
    struct seat *s = &o->seats[seat];
    s->history = grow(s->history, s->history_count, &s->history_cap, sizeof *s->history);
    int status = s->order == NULL                   ? SEAT_FREE
                 : s->order->status == ORDER_BOOKED ? SEAT_BOOKED
                                                    : SEAT_HELD;
    s->history[s->history_count++] = (struct change_of_seat){ o->index, status };
}

static unsigned seat_of(const struct oracle *o, const struct place *p)
{
    for (unsigned i = 0; i < ORACLE_EVENTS; i++) {
        if (o->event_numbers[i] == p->event + 1 && p->number < EVENT_SEATS) {
            return i * EVENT_SEATS + p->number;
        }
    }
    return ORACLE_SEATS;
}

/* O3 */
static void occupy(struct oracle *o, struct oracle_order *order, unsigned seat)
{
    if (o->seats[seat].order != NULL) {
        char label[16];
        oracle_seat_label(seat, label);
        world_violation(o->w, "entry %llu: %s of event %u is sold twice, to %s and to %s",
                        (unsigned long long)o->index, label, seat / EVENT_SEATS + 1,
                        o->seats[seat].order->id, order->id);
    }
    o->seats[seat].order = order;
    remember(o, seat);
}

static void vacate(struct oracle *o, const struct oracle_order *order, unsigned seat)
{
    if (o->seats[seat].order != order) {
        world_violation(o->w, "entry %llu: %s gives up a seat that it does not have",
                        (unsigned long long)o->index, order->id);
        return;
    }
    o->seats[seat].order = NULL;
    remember(o, seat);
}

static struct oracle_order *find(const struct oracle *o, struct span id)
{
    struct oracle_order *order = o->orders;
    while (order != NULL && !span_is(id, order->id)) {
        order = order->next;
    }
    return order;
}

static bool set_seats(struct oracle *o, struct oracle_order *order, const struct effect *f)
{
    order->seats_count = 0;
    for (uint32_t i = 0; i < f->places_count && i < PLACES_MAX; i++) {
        unsigned seat = seat_of(o, &f->places[i]);
        if (seat == ORACLE_SEATS) {
            world_violation(o->w, "entry %llu: order %s has a place that does not exist",
                            (unsigned long long)o->index, order->id);
            return false;
        }
        order->seats[order->seats_count++] = seat;
    }
    return true;
}

/* O6 */
static void check_limit(const struct oracle *o, const struct oracle_order *order)
{
    for (unsigned event = 0; event < ORACLE_EVENTS; event++) {
        unsigned n = oracle_customer(o, order->customer, event);
        if (n > ORACLE_LIMIT) {
            world_violation(o->w, "entry %llu: customer %s has %u places at event %u, %d allowed",
                            (unsigned long long)o->index, order->customer, n, event + 1,
                            ORACLE_LIMIT);
        }
    }
}

static void do_take(struct oracle *o, const struct effect *f)
{
    if (find(o, f->id) != NULL) {
        world_violation(o->w, "entry %llu: order %.*s is taken again", (unsigned long long)o->index,
                        (int)f->id.len, f->id.data);
        return;
    }
    struct oracle_order *order = mem_zalloc(sizeof *order);
    ASSERT(order != NULL);
    keep(order->id, sizeof order->id, f->id);
    keep(order->customer, sizeof order->customer, f->customer);
    order->status = f->until_ms != 0 ? ORDER_HELD : ORDER_BOOKED;
    order->expires_ms = f->until_ms;
    order->next = o->orders;
    o->orders = order;
    if (set_seats(o, order, f)) {
        for (unsigned i = 0; i < order->seats_count; i++) {
            occupy(o, order, order->seats[i]);
        }
        check_limit(o, order);
    }
}

static void do_finish(struct oracle *o, struct oracle_order *order, const struct effect *f)
{
    if (f->places_count > 0 && f->places_count < order->seats_count) {
        world_violation(o->w, "entry %llu: half an order is ended, nobody asked for that",
                        (unsigned long long)o->index);
    }
    if (f->code == ORDER_EXPIRED && o->time_ms < order->expires_ms) {
        world_violation(o->w, "entry %llu: order %s expires %llu ms before its time",
                        (unsigned long long)o->index, order->id,
                        (unsigned long long)(order->expires_ms - o->time_ms));
    }
    order->status = f->code;
    order->ended_at_ms = sim_now(o->w->sim);
    for (unsigned i = 0; i < order->seats_count; i++) {
        vacate(o, order, order->seats[i]);
    }
}

static void do_reseat(struct oracle *o, struct oracle_order *order, const struct effect *f)
{
    for (unsigned i = 0; i < order->seats_count; i++) {
        vacate(o, order, order->seats[i]);
    }
    if (set_seats(o, order, f)) {
        for (unsigned i = 0; i < order->seats_count; i++) {
            occupy(o, order, order->seats[i]);
        }
        check_limit(o, order);
    }
}

/* Effects on an order that is there. */
static void do_order(struct oracle *o, const struct effect *f)
{
    struct oracle_order *order = find(o, f->id);
    if (order == NULL || !live(order)) {
        world_violation(o->w, "entry %llu: effect %d on order %.*s, which is not alive",
                        (unsigned long long)o->index, (int)f->kind, (int)f->id.len, f->id.data);
        return;
    }
    bool late = order->status == ORDER_HELD && o->time_ms >= order->expires_ms;
    if (late && f->kind != EFFECT_FINISH) { /* O4 */
        world_violation(o->w, "entry %llu: order %s is confirmed or changed %llu ms past its time",
                        (unsigned long long)o->index, order->id,
                        (unsigned long long)(o->time_ms - order->expires_ms));
    }
    if (f->kind == EFFECT_CONFIRM) {
        order->status = ORDER_BOOKED;
        order->expires_ms = 0;
        for (unsigned i = 0; i < order->seats_count; i++) {
            remember(o, order->seats[i]);
        }
    } else if (f->kind == EFFECT_EXTEND) {
        order->expires_ms = f->until_ms;
    } else if (f->kind == EFFECT_FINISH) {
        do_finish(o, order, f);
    } else {
        do_reseat(o, order, f);
    }
}

static void do_effect(struct oracle *o, const struct effect *f)
{
    switch (f->kind) {
    case EFFECT_EVENT_PUT:
        for (unsigned i = 0; i < ORACLE_EVENTS; i++) {
            char id[4] = { (char)('1' + i), 0 };
            if (span_is(f->id, id)) {
                o->event_numbers[i] = f->number + 1;
            }
        }
        break;
    case EFFECT_TAKE: do_take(o, f); break;
    case EFFECT_CONFIRM:
    case EFFECT_EXTEND:
    case EFFECT_FINISH:
    case EFFECT_RESEAT: do_order(o, f); break;
    default: break; /* charts, results, policies: nothing of seats */
    }
}

/* ---- Entries ----------------------------------------------------------------------------------
 */

static void one_tx(struct oracle *o, const struct entry_tx *tx, struct buf *scratch)
{
    struct oracle_tx told = { o->index, o->time_ms, tx->code, 0 };
    if (tx->request.len > 1 && tx->request.data[0] == 'r') {
        char number[24];
        keep(number, sizeof number, span_make(tx->request.data + 1, tx->request.len - 1));
        told.request = strtoull(number, NULL, 10);
    }
    struct oracle_result *result = NULL;
    if (told.request != 0) {
        ASSERT(told.request < RESULTS_CAP);
        result = &o->results[told.request];
        if (result->index != 0) { /* O5 */
            world_violation(o->w, "request r%llu has two effects, in entries %llu and %llu",
                            (unsigned long long)told.request, (unsigned long long)result->index,
                            (unsigned long long)o->index);
        }
        result->index = o->index;
        result->code = tx->code;
        o->cb(o->arg, &told);
    }
    struct reader r;
    struct effect f;
    struct error e = { 0 };
    reader_init(&r, tx->effects.data, tx->effects.len);
    while (reader_left(&r) > 0) {
        if (effect_decode(&r, &f, scratch, &e) != 0) {
            world_violation(o->w, "entry %llu: an effect cannot be read: %s",
                            (unsigned long long)o->index, e.message);
            return;
        }
        if (f.kind == EFFECT_TAKE && result != NULL) {
            keep(result->order, sizeof result->order, f.id);
        }
        do_effect(o, &f);
    }
}

static void replay(struct oracle *o, struct span entry)
{
    struct reader r;
    struct entry_head head;
    struct entry_tx tx;
    struct error e = { 0 };
    struct buf scratch = BUF_INIT;
    int rv = entry_open(&r, entry.data, entry.len, &head, &e);
    if (rv == 0 && head.time_ms < o->time_ms) { /* O2 */
        world_violation(o->w, "entry %llu: time goes back", (unsigned long long)o->index);
    }
    o->time_ms = rv == 0 ? head.time_ms : o->time_ms;
    for (uint32_t i = 0; rv == 0 && i < head.transactions; i++) {
        rv = entry_next(&r, &tx, &e);
        if (rv == 0) {
            one_tx(o, &tx, &scratch);
        }
    }
    if (rv != 0) {
        world_violation(o->w, "entry %llu cannot be read: %s", (unsigned long long)o->index,
                        e.message);
    }
    buf_free(&scratch);
    o->replayed++;
}

void oracle_committed(struct oracle *o, const char *node, uint64_t index, uint64_t term,
                      struct span entry, uint64_t digest)
{
    o->entries = grow(o->entries, (size_t)index, &o->entries_cap, sizeof *o->entries);
    struct seen *s = &o->entries[index];
    uint64_t hash = hash64(entry.len > 0 ? entry.data : "", entry.len);
    if (s->seen) { /* O1 */
        if (s->term != term || s->hash != hash) {
            world_violation(o->w, "%s commits another entry %llu, of term %llu not %llu", node,
                            (unsigned long long)index, (unsigned long long)term,
                            (unsigned long long)s->term);
        }
        if (digest != 0 && s->digest != 0 && s->digest != digest) {
            world_violation(o->w, "%s has another digest after entry %llu", node,
                            (unsigned long long)index);
        }
        s->digest = s->digest != 0 ? s->digest : digest;
        return;
    }
    if (index <= o->last) {
        world_violation(o->w, "%s commits entry %llu, which nobody did when %llu was committed",
                        node, (unsigned long long)index, (unsigned long long)o->last);
        return;
    }
    *s = (struct seen){ term, hash, digest, true };
    o->last = index;
    if (entry.len > 0) { /* a barrier leaves the state, and the index it is named by, alone */
        o->index = index;
        replay(o, entry);
    }
}

/* ---- Asked --------------------------------------------------------------------------------------
 */

uint64_t oracle_index(const struct oracle *o) { return o->index; }
uint64_t oracle_entries(const struct oracle *o) { return o->replayed; }
uint64_t oracle_time_ms(const struct oracle *o) { return o->time_ms; }
const struct oracle_order *oracle_orders(const struct oracle *o) { return o->orders; }

const struct oracle_order *oracle_order(const struct oracle *o, const char *id)
{
    return find(o, span_of(id));
}

const struct oracle_order *oracle_holder(const struct oracle *o, unsigned seat)
{
    return o->seats[seat].order;
}

unsigned oracle_customer(const struct oracle *o, const char *customer, unsigned event)
{
    unsigned n = 0;
    for (unsigned i = event * EVENT_SEATS; i < (event + 1) * EVENT_SEATS; i++) {
        const struct oracle_order *order = o->seats[i].order;
        n += order != NULL && strcmp(order->customer, customer) == 0;
    }
    return n;
}

int oracle_seat_at(const struct oracle *o, unsigned seat, uint64_t index)
{
    const struct seat *s = &o->seats[seat];
    size_t i = s->history_count;
    while (i > 0 && s->history[i - 1].index > index) {
        i--;
    }
    return i == 0 ? SEAT_FREE : s->history[i - 1].status;
}

const struct oracle_result *oracle_result(const struct oracle *o, uint64_t request)
{
    ASSERT(request < RESULTS_CAP);
    return o->results[request].index != 0 ? &o->results[request] : NULL;
}

struct oracle *oracle_new(struct sim_world *w, oracle_tx_cb cb, void *arg)
{
    struct oracle *o = mem_zalloc(sizeof *o);
    ASSERT(o != NULL);
    o->w = w;
    o->cb = cb;
    o->arg = arg;
    o->results = mem_zalloc(RESULTS_CAP * sizeof *o->results);
    ASSERT(o->results != NULL);
    return o;
}

void oracle_free(struct oracle *o)
{
    while (o->orders != NULL) {
        struct oracle_order *order = o->orders;
        o->orders = order->next;
        mem_free(order);
    }
    for (unsigned i = 0; i < ORACLE_SEATS; i++) {
        mem_free(o->seats[i].history);
    }
    mem_free(o->results);
    mem_free(o->entries);
    mem_free(o);
}
