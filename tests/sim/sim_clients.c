/* See sim_clients.h.
 *
 * A client does one thing at a time: book or hold seats, confirm or give back what it has,
 * read the seat map. Each request has an id and is sent again, to any node, with the same
 * id until its outcome is known; so in the end every request is either granted or refused,
 * whatever happened to the nodes it was sent to.
 *
 * What a seat's history must look like follows from the requests alone. A granted order has
 * its seats *surely* from its answer until somebody asks to give them back, and *maybe* from
 * when it was asked until the giving back is answered.
 *   R1 no seat is surely two orders' at once
 *   R2 a TAKEN refusal names seats of which one was maybe somebody's meanwhile
 *   R3 a linearizable read shows what was surely taken all the while, and nothing as taken
 *      that was not maybe taken meanwhile
 *   R4 in the end the store holds exactly the live orders that were granted, and all nodes
 *      hold the same */
#include "sim_clients.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define OP_SEATS_MAX 3
#define WORDS_MAX    12
#define PATIENCE_MS  8000
#define NEVER        UINT64_MAX

enum kind { OP_BOOK, OP_HOLD, OP_CONFIRM, OP_GIVE_BACK, OP_READ };

struct op {
    struct sim_clients *all;
    enum kind kind;
    unsigned seats[OP_SEATS_MAX], seats_count;
    bool brief;                  /* a hold that may expire before anything is done with it */
    struct op *order;            /* confirm, give back: what was granted */
    uint64_t asked_ms, known_ms; /* of the outcome; NEVER while unknown */
    int code;                    /* of the outcome */
    /* Granted orders. */
    char id[80];
    bool confirmed, given_back, busy;
    uint64_t back_asked_ms, back_known_ms;
    /* The sending. */
    struct request r;
    struct sim_node *node; /* where it is now, NULL between tries */
    struct service *service;
    struct span argv[WORDS_MAX];
    char words[200];
    uint64_t sent_ms, again_ms;
    unsigned tries;
    struct op *next;
};

struct client {
    struct op *op;   /* under way */
    struct op *mine; /* an order to do something with, may be NULL */
    uint64_t idle_until_ms;
};

struct sim_clients {
    struct sim_world *w;
    struct client *clients;
    unsigned clients_count, rows, seats;
    struct op *ops, **ops_tail;
    uint64_t number; /* of requests: ids and customers */
    bool finishing;
    struct clients_numbers n;
};

static const char *const kind_names[] = { "book", "hold", "confirm", "give back", "read" };

/* ---- The history, asked -------------------------------------------------------------- */

static bool is_order(const struct op *o)
{
    return (o->kind == OP_BOOK || o->kind == OP_HOLD) && (o->known_ms == NEVER || o->code == 0);
}

static bool has_seat(const struct op *o, unsigned seat)
{
    for (unsigned i = 0; i < o->seats_count; i++) {
        if (o->seats[i] == seat) {
            return true;
        }
    }
    return false;
}

/* When it is surely whose it was granted to: [*from, *to), empty for brief holds. */
static bool surely(const struct op *o, uint64_t *from, uint64_t *to)
{
    *from = o->known_ms;
    *to = o->back_asked_ms;
    if (o->brief && !o->confirmed) {
        return false;
    }
    return o->known_ms != NEVER;
}

static bool maybe(const struct op *o, uint64_t from, uint64_t to)
{
    return o->asked_ms <= to && (!o->given_back || o->back_known_ms >= from);
}

static bool maybe_taken(const struct sim_clients *c, unsigned seat, uint64_t from, uint64_t to,
                        const struct op *but)
{
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        if (o != but && is_order(o) && has_seat(o, seat) && maybe(o, from, to)) {
            return true;
        }
    }
    return false;
}

static bool surely_taken(const struct sim_clients *c, unsigned seat, uint64_t from, uint64_t to)
{
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        uint64_t since, until;
        if (is_order(o) && has_seat(o, seat) && surely(o, &since, &until) && since < from &&
            until > to) {
            return true;
        }
    }
    return false;
}

static void seat_label(const struct sim_clients *c, unsigned seat, char out[16])
{
    (void)snprintf(out, 16, "%c%u", (char)('A' + seat / c->seats), seat % c->seats + 1);
}

/* ---- Answers --------------------------------------------------------------------------- */

static void field(const char *json, const char *name, char *out, size_t cap)
{
    char key[32];
    (void)snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *p = strstr(json, key);
    out[0] = 0;
    if (p != NULL) {
        p += strlen(key);
        (void)snprintf(out, cap, "%.*s", (int)strcspn(p, "\""), p);
    }
}

/* R3. The answer's "taken" names every seat that is not free. */
static void check_read(const struct op *o, const char *json)
{
    const struct sim_clients *c = o->all;
    const char *taken = strstr(json, "\"taken\":");
    for (unsigned seat = 0; seat < c->rows * c->seats; seat++) {
        char label[16], key[24];
        seat_label(c, seat, label);
        (void)snprintf(key, sizeof key, "\"%s\":", label);
        bool shown = taken != NULL && strstr(taken, key) != NULL;
        if (!shown && surely_taken(c, seat, o->asked_ms, o->known_ms)) {
            world_violation(c->w, "stale read: %s was taken since before it was asked", label);
        }
        if (shown && !maybe_taken(c, seat, o->asked_ms, o->known_ms, NULL)) {
            world_violation(c->w, "a read shows %s taken, and nobody ever took it", label);
        }
    }
}

/* R2 */
static void check_refusal(const struct op *o, const struct error *e)
{
    const struct sim_clients *c = o->all;
    for (unsigned i = 0; i < o->seats_count; i++) {
        if (maybe_taken(c, o->seats[i], o->asked_ms, o->known_ms, o)) {
            return;
        }
    }
    world_violation(c->w, "refused as taken, but all its seats were free: %s", e->message);
}

static bool is_outcome(int code)
{
    return code != ERR_NOQUORUM && code != ERR_NOTREADY && code != ERR_UNKNOWN &&
           code != ERR_BUSY && code != ERR_NOSPACE && code != ERR_NOTLEADER && code != ERR_CANCELED;
}

static void outcome(struct op *o, int code, const struct error *e, const char *json)
{
    struct sim_clients *c = o->all;
    o->code = code;
    o->known_ms = sim_now(c->w->sim);
    if (code == 0) {
        c->n.granted++;
    } else {
        c->n.refused++;
    }
    switch (o->kind) {
    case OP_BOOK:
    case OP_HOLD:
        if (code == 0) {
            field(json, "order", o->id, sizeof o->id);
            o->back_asked_ms = o->back_known_ms = NEVER;
        } else if (code == ERR_TAKEN) {
            check_refusal(o, e);
        } else {
            world_violation(c->w, "%s: %s %s", o->words, error_wire(code), e->message);
        }
        break;
    case OP_CONFIRM:
        o->order->busy = false;
        o->order->confirmed = code == 0;
        if (code != 0 && !o->order->brief) {
            world_violation(c->w, "a live hold is not confirmed: %s %s", error_wire(code),
                            e->message);
        }
        break;
    case OP_GIVE_BACK:
        o->order->busy = false;
        o->order->given_back = code == 0;
        o->order->back_known_ms = o->known_ms;
        if (code != 0 && (!o->order->brief || o->order->confirmed)) {
            world_violation(c->w, "a live order is not given back: %s %s", error_wire(code),
                            e->message);
        }
        break;
    case OP_READ:
        c->n.reads++;
        if (code == 0) {
            check_read(o, json);
        } else {
            world_violation(c->w, "a read is refused: %s %s", error_wire(code), e->message);
        }
        break;
    }
    if (c->w->verbose) {
        (void)fprintf(stderr, "%8llu %s -> %s (%u tries)\n", (unsigned long long)o->known_ms,
                      o->words, code == 0 ? "granted" : error_wire(code), o->tries);
    }
}

static void on_answer(struct request *r, int code, const struct error *e, struct span fields,
                      struct span json)
{
    struct op *o = r->arg;
    (void)fields;
    bool ghost = sim_is_ghost(o->node->env);
    o->node = NULL;
    o->service = NULL;
    o->again_ms = sim_now(o->all->w->sim) + 20 + sim_rand(o->all->w->sim, 200);
    if (ghost || !is_outcome(code)) {
        return; /* nobody got this answer, or it says that nothing is known */
    }
    char *text = json.len > 0 && code == 0 ? mem_strndup(json.data, json.len) : NULL;
    outcome(o, code, e, text != NULL ? text : "");
    mem_free(text);
}

/* ---- Asking --------------------------------------------------------------------------------- */

static void send_op(struct op *o)
{
    struct sim_clients *c = o->all;
    struct sim_node *n = world_random(c->w);
    if (!n->running || n->fatal) {
        o->again_ms = sim_now(c->w->sim) + 50; /* refused connection */
        return;
    }
    o->r.argv = o->argv;
    o->r.user = (struct policy_user){ .name = { "", 0 }, .access = ACCESS_ADMIN };
    o->r.cb = on_answer;
    o->r.arg = o;
    o->r.deadline_ms = 0;
    o->r.impl = NULL;
    o->node = n;
    o->service = n->service;
    o->sent_ms = sim_now(c->w->sim);
    o->tries++;
    c->n.sends++;
    service_submit(n->service, &o->r);
}

static struct op *op_new(struct sim_clients *c, enum kind kind)
{
    struct op *o = mem_zalloc(sizeof *o);
    ASSERT(o != NULL);
    o->all = c;
    o->kind = kind;
    o->asked_ms = sim_now(c->w->sim);
    o->known_ms = o->back_asked_ms = o->back_known_ms = NEVER;
    *c->ops_tail = o;
    c->ops_tail = &o->next;
    c->number++;
    return o;
}

static void op_words(struct op *o)
{
    for (char *p = strtok(o->words, " "); p != NULL; p = strtok(NULL, " ")) {
        ASSERT(o->r.argc < WORDS_MAX);
        o->argv[o->r.argc++] = span_of(p);
    }
    send_op(o);
}

static void put_word(struct op *o, const char *word)
{
    size_t at = strlen(o->words);
    (void)snprintf(o->words + at, sizeof o->words - at, "%s%s", at > 0 ? " " : "", word);
}

static struct op *ask_seats(struct sim_clients *c)
{
    struct sim *sim = c->w->sim;
    struct op *o = op_new(c, sim_rand(sim, 2) == 0 ? OP_BOOK : OP_HOLD);
    char word[48];
    put_word(o, kind_names[o->kind]);
    put_word(o, "1");
    (void)snprintf(word, sizeof word, "c%llu", (unsigned long long)c->number);
    put_word(o, word);
    unsigned want = 1 + (unsigned)sim_rand(sim, OP_SEATS_MAX);
    while (o->seats_count < want) {
        unsigned seat = (unsigned)sim_rand(sim, c->rows * c->seats);
        if (!has_seat(o, seat)) {
            o->seats[o->seats_count++] = seat;
            seat_label(c, seat, word);
            put_word(o, word);
        }
    }
    if (o->kind == OP_HOLD) {
        o->brief = sim_rand(sim, 3) == 0;
        put_word(o, o->brief ? "--ttl 3s" : "--ttl 25m");
    }
    (void)snprintf(word, sizeof word, "--request r%llu", (unsigned long long)c->number);
    put_word(o, word);
    op_words(o);
    return o;
}

static struct op *ask_change(struct sim_clients *c, struct op *order)
{
    bool booked = order->kind == OP_BOOK || order->confirmed;
    bool confirm = !booked && sim_rand(c->w->sim, 2) == 0;
    struct op *o = op_new(c, confirm ? OP_CONFIRM : OP_GIVE_BACK);
    char word[48];
    o->order = order;
    order->busy = true;
    if (!confirm) {
        order->back_asked_ms = o->asked_ms;
    }
    put_word(o, confirm ? "confirm" : booked ? "cancel" : "release");
    put_word(o, order->id);
    (void)snprintf(word, sizeof word, "--request r%llu", (unsigned long long)c->number);
    put_word(o, word);
    op_words(o);
    return o;
}

static struct op *ask_read(struct sim_clients *c)
{
    struct op *o = op_new(c, OP_READ);
    put_word(o, "seats 1 --linearizable");
    op_words(o);
    return o;
}

static void client_turn(struct sim_clients *c, struct client *who)
{
    struct sim *sim = c->w->sim;
    uint64_t now = sim_now(sim);
    struct op *o = who->op;
    if (o != NULL && o->known_ms == NEVER) {
        if (o->node != NULL && now - o->sent_ms > PATIENCE_MS) {
            service_cancel(o->service, &o->r);
            o->node = NULL;
            o->again_ms = now;
        }
        if (o->node == NULL && now >= o->again_ms) {
            send_op(o);
        }
        return;
    }
    if (o != NULL) {
        who->op = NULL;
        who->idle_until_ms = now + sim_rand(sim, 150);
        if (o->code == 0 && (o->kind == OP_BOOK || o->kind == OP_HOLD)) {
            who->mine = o;
        } else if (o->kind == OP_GIVE_BACK || (o->kind == OP_CONFIRM && o->code != 0)) {
            who->mine = NULL;
        }
        return;
    }
    if (c->finishing || now < who->idle_until_ms) {
        return;
    }
    uint64_t dice = sim_rand(sim, 10);
    if (dice < 2) {
        who->op = ask_read(c);
    } else if (who->mine != NULL && dice < 8) {
        who->op = ask_change(c, who->mine);
    } else {
        who->op = ask_seats(c); /* what it had, it keeps */
    }
}

void clients_turn(struct sim_clients *c)
{
    for (unsigned i = 0; i < c->clients_count; i++) {
        client_turn(c, &c->clients[i]);
    }
}

bool clients_finish(struct sim_clients *c)
{
    c->finishing = true;
    clients_turn(c);
    for (unsigned i = 0; i < c->clients_count; i++) {
        const struct op *o = c->clients[i].op;
        if (o != NULL && o->known_ms == NEVER) {
            return false;
        }
    }
    return true;
}

/* ---- The event ------------------------------------------------------------------------------ */

struct prepare {
    bool answered;
    int code;
};

static void on_prepared(struct request *r, int code, const struct error *e, struct span fields,
                        struct span json)
{
    struct prepare *p = r->arg;
    (void)e, (void)fields, (void)json;
    p->answered = true;
    p->code = code;
}

static bool is_prepared(void *arg) { return ((struct prepare *)arg)->answered; }
static bool is_led(void *arg) { return world_leader(arg) != NULL; }

bool clients_prepare(struct sim_clients *c)
{
    char rows[400] = "[";
    for (unsigned i = 0; i < c->rows; i++) {
        size_t at = strlen(rows);
        (void)snprintf(rows + at, sizeof rows - at, "%s{\"row\":\"%c\",\"seats\":%u}",
                       i > 0 ? "," : "", (char)('A' + i), c->seats);
    }
    (void)snprintf(rows + strlen(rows), sizeof rows - strlen(rows), "]");
    struct span argv[] = { span_of("add-event"), span_of("1"), span_of(rows), span_of("--request"),
                           span_of("prepare") };
    for (int tries = 0; tries < 6; tries++) {
        if (!sim_run_until(c->w->sim, 20000, is_led, c->w)) {
            return false;
        }
        struct prepare p = { 0 };
        struct request r = { .argv = argv,
                             .argc = 5,
                             .user = { .name = { "", 0 }, .access = ACCESS_ADMIN },
                             .cb = on_prepared,
                             .arg = &p };
        service_submit(world_leader(c->w)->service, &r);
        if (sim_run_until(c->w->sim, 60000, is_prepared, &p) && p.code == 0) {
            return true;
        }
    }
    return false;
}

/* ---- The end -------------------------------------------------------------------------------- */

/* R1 */
static void check_overlaps(const struct sim_clients *c)
{
    for (const struct op *a = c->ops; a != NULL; a = a->next) {
        uint64_t a_from, a_to, b_from, b_to;
        if (!is_order(a) || !surely(a, &a_from, &a_to)) {
            continue;
        }
        for (const struct op *b = a->next; b != NULL; b = b->next) {
            if (!is_order(b) || !surely(b, &b_from, &b_to) || a_from >= b_to || b_from >= a_to) {
                continue;
            }
            for (unsigned i = 0; i < b->seats_count; i++) {
                if (has_seat(a, b->seats[i])) {
                    char label[16];
                    seat_label(c, b->seats[i], label);
                    world_violation(c->w, "%s is sold twice: orders %s and %s", label, a->id,
                                    b->id);
                }
            }
        }
    }
}

struct live_count {
    const struct sim_clients *c;
    const struct store *store;
    const char *where;
    uint64_t n;
};

static bool on_live_order(void *arg, const struct order *order)
{
    struct live_count *live = arg;
    struct span id = order_id(order);
    const struct op *o = live->c->ops;
    live->n++;
    while (o != NULL && (!is_order(o) || !span_is(id, o->id))) {
        o = o->next;
    }
    if (o == NULL) {
        world_violation(live->c->w, "%s holds order %.*s that nobody was granted", live->where,
                        (int)id.len, id.data);
        return true;
    }
    bool booked = o->kind == OP_BOOK || o->confirmed;
    if (o->given_back || (o->brief && !booked)) {
        world_violation(live->c->w, "%s: order %s lives on after its end", live->where, o->id);
    }
    if (order->status != (booked ? ORDER_BOOKED : ORDER_HELD) ||
        order->places_count != o->seats_count) {
        world_violation(live->c->w, "%s: order %s is not what was granted", live->where, o->id);
    }
    return true;
}

/* R4 on one node. */
static void check_store(const struct sim_clients *c, const struct sim_node *n)
{
    struct store *s = cluster_store(n->cluster);
    struct error e = { 0 };
    struct live_count live = { c, s, n->address, 0 };
    struct order_filter all_live = { .status = -2 };
    if (store_check(s, &e) != 0) {
        world_violation(c->w, "%s: %s", n->address, e.message);
    }
    store_orders(s, &all_live, on_live_order, &live);
    uint64_t want = 0;
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        if (!is_order(o) || o->given_back || (o->brief && !o->confirmed)) {
            continue;
        }
        want++;
        const struct order *order = store_order(s, span_of(o->id));
        if (order == NULL || !order_live(order)) {
            world_violation(c->w, "%s has lost order %s", n->address, o->id);
        }
    }
    if (live.n != want) {
        world_violation(c->w, "%s holds %llu live orders, not %llu", n->address,
                        (unsigned long long)live.n, (unsigned long long)want);
    }
}

void clients_check(struct sim_clients *c)
{
    check_overlaps(c);
    uint64_t digest = store_digest(cluster_store(c->w->nodes[0].cluster));
    for (unsigned i = 0; i < c->w->count; i++) {
        check_store(c, &c->w->nodes[i]);
        if (store_digest(cluster_store(c->w->nodes[i].cluster)) != digest) {
            world_violation(c->w, "%s and %s differ", c->w->nodes[0].address,
                            c->w->nodes[i].address);
        }
    }
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        c->n.orders_live += is_order(o) && !o->given_back && (!o->brief || o->confirmed);
    }
}

struct clients_numbers clients_numbers(const struct sim_clients *c) { return c->n; }

struct sim_clients *clients_new(struct sim_world *w, unsigned clients, unsigned rows,
                                unsigned seats)
{
    struct sim_clients *c = mem_zalloc(sizeof *c);
    ASSERT(c != NULL);
    c->w = w;
    c->rows = rows;
    c->seats = seats;
    c->clients_count = clients;
    c->clients = mem_zalloc(clients * sizeof *c->clients);
    ASSERT(c->clients != NULL);
    c->ops_tail = &c->ops;
    return c;
}

void clients_free(struct sim_clients *c)
{
    while (c->ops != NULL) {
        struct op *o = c->ops;
        c->ops = o->next;
        mem_free(o);
    }
    mem_free(c->clients);
    mem_free(c);
}
