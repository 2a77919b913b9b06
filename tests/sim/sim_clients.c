/* See sim_clients.h.
 *
 * A client does one thing at a time: book or hold seats, of one event or of several, confirm,
 * extend, move or give back what it has, read a seat map or its order. Each request has an id
 * and is sent again, to any node, with the same id until its outcome is known, sometimes
 * through two nodes at once; so in the end every request is either granted or refused,
 * whatever happened to the nodes it was sent to. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sim_clients_impl.h"

#define PATIENCE_MS 8000

static const char *const verbs[] = { "add-event", "book",    "hold",  "confirm", "extend",
                                     "move",      "release", "seats", "seats",   "order" };

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

static int status_of(const char *word)
{
    for (int s = 0; s < SEAT_STATUS_COUNT; s++) {
        if (strncmp(word, seat_status_name(s), strlen(seat_status_name(s))) == 0) {
            return s;
        }
    }
    return -1;
}

/* {"index":17,...,"taken":{"A1":"booked"}}: every seat that is not named is free. */
static void read_map(struct op *o, const char *json)
{
    const char *index = strstr(json, "\"index\":"), *taken = strstr(json, "\"taken\":");
    o->index = index != NULL ? strtoull(index + 8, NULL, 10) : 0;
    for (unsigned seat = 0; seat < EVENT_SEATS; seat++) {
        char label[16], key[24];
        oracle_seat_label(seat, label);
        (void)snprintf(key, sizeof key, "\"%s\":\"", label);
        const char *at = taken != NULL ? strstr(taken, key) : NULL;
        o->shown[seat] = (uint8_t)(at != NULL ? status_of(at + strlen(key)) : SEAT_FREE);
    }
}

static void read_refusal(struct op *o, const char *message)
{
    char label[16];
    unsigned event, row, number;
    o->refused_seat = -1;
    if (o->code == ERR_TAKEN && sscanf(message, "seat %15s of event %u", label, &event) == 2) {
        row = (unsigned)(label[0] - 'A');
        number = (unsigned)strtoul(label + 1, NULL, 10) - 1;
        if (event >= 1 && event <= ORACLE_EVENTS && row < ORACLE_ROWS && number < ORACLE_ROW) {
            o->refused_seat = (int)((event - 1) * EVENT_SEATS + row * ORACLE_ROW + number);
        }
    }
}

static bool is_outcome(int code)
{
    return code != ERR_NOQUORUM && code != ERR_NOTREADY && code != ERR_UNKNOWN &&
           code != ERR_BUSY && code != ERR_NOSPACE && code != ERR_NOTLEADER && code != ERR_CANCELED;
}

static void believe(struct op *o)
{
    if (o->code != 0) {
        if (o->order != NULL && !is_read(o)) {
            o->order->lapsed = o->kind != OP_MOVE || o->code != ERR_TAKEN;
        }
        return;
    }
    switch (o->kind) {
    case OP_BOOK:
    case OP_HOLD:
        o->booked = o->kind == OP_BOOK;
        memcpy(o->has, o->seats, sizeof o->has);
        break;
    case OP_CONFIRM: o->order->booked = true; break;
    case OP_MOVE: o->order->has[o->from] = o->seats[0]; break;
    case OP_GIVE_BACK: o->order->given_back = true; break;
    case OP_ORDER: o->order->lapsed = strcmp(o->status, "expired") == 0; break;
    case OP_ADD_EVENT: o->all->events_made++; break;
    default: break;
    }
}

static void count(struct op *o)
{
    struct clients_numbers *n = &o->all->n;
    if (o->kind == OP_LOCAL) {
        n->local_reads++;
    } else if (is_read(o)) {
        n->reads++;
    } else if (o->code == 0) {
        n->granted++;
    } else {
        n->refused++;
        n->expired += o->code == ERR_EXPIRED;
    }
}

static void outcome(struct op *o, int code, const struct error *e, const char *json)
{
    struct sim_clients *c = o->all;
    o->code = code;
    o->known_ms = sim_now(c->w->sim);
    if (o->asked_ms > c->last_served_ms) {
        c->last_served_ms = o->asked_ms;
    }
    if (code != 0) {
        read_refusal(o, e->message);
    } else if (is_take(o)) {
        field(json, "order", o->id, sizeof o->id);
    } else if (o->kind == OP_ORDER) {
        field(json, "status", o->status, sizeof o->status);
    } else if (is_read(o)) {
        read_map(o, json);
    }
    believe(o);
    count(o);
    o->next_told = c->told;
    c->told = o;
    if (c->w->verbose) {
        (void)fprintf(stderr, "%8llu r%llu", (unsigned long long)o->known_ms,
                      (unsigned long long)o->number);
        for (size_t i = 0; i < o->argc; i++) {
            (void)fprintf(stderr, " %.*s", (int)o->argv[i].len, o->argv[i].data);
        }
        (void)fprintf(stderr, " -> %s %s (%u tries)\n", code == 0 ? "granted" : error_wire(code),
                      code == 0 ? o->id : e->message, o->tries);
    }
}

/* The other sending of a request whose outcome is known already. */
static void second_answer(const struct op *o, int code, const char *json)
{
    char id[40] = "";
    if (is_read(o)) {
        return;
    }
    field(json, "order", id, sizeof id);
    if (code != o->code || (is_take(o) && code == 0 && strcmp(id, o->id) != 0)) {
        world_violation(o->all->w, "request r%llu (%s) is answered twice, differently",
                        (unsigned long long)o->number, o->words);
    }
}

static void on_answer(struct request *r, int code, const struct error *e, struct span fields,
                      struct span json)
{
    struct sending *s = r->arg;
    struct op *o = s->op;
    (void)fields;
    bool ghost = sim_is_ghost(s->node->env);
    s->node = NULL;
    s->service = NULL;
    o->again_ms = sim_now(o->all->w->sim) + 20 + sim_rand(o->all->w->sim, 200);
    if (ghost || !is_outcome(code)) {
        return; /* nobody got this answer, or it says that nothing is known */
    }
    char *text = json.len > 0 && code == 0 ? mem_strndup(json.data, json.len) : NULL;
    if (o->known_ms == NEVER) {
        outcome(o, code, e, text != NULL ? text : "");
    } else {
        second_answer(o, code, text != NULL ? text : "");
    }
    mem_free(text);
}

/* ---- Asking --------------------------------------------------------------------------------- */

static void send_op(struct op *o, struct sending *s)
{
    struct sim_clients *c = o->all;
    struct sim_node *n = world_random(c->w);
    if (!n->running || n->fatal || sim_is_ghost(n->env)) {
        o->again_ms = sim_now(c->w->sim) + 50; /* refused connection */
        return;
    }
    s->op = o;
    s->r = (struct request){ .argv = o->argv, .argc = o->argc, .cb = on_answer, .arg = s };
    s->r.user = (struct policy_user){ .name = { "", 0 }, .access = ACCESS_ADMIN };
    s->node = n;
    s->service = n->service;
    s->sent_ms = sim_now(c->w->sim);
    o->tries++;
    o->heard_ms = o->heard_ms == NEVER && !n->paused ? s->sent_ms : o->heard_ms;
    c->n.sends++;
    service_submit(n->service, &s->r);
}

static struct op *op_new(struct sim_clients *c, enum op_kind kind)
{
    struct op *o = mem_zalloc(sizeof *o);
    ASSERT(o != NULL && c->number + 1 < REQUESTS_MAX);
    o->all = c;
    o->kind = kind;
    o->asked_ms = sim_now(c->w->sim);
    o->asked_index = oracle_index(c->oracle);
    o->known_ms = o->heard_ms = NEVER;
    o->refused_seat = -1;
    *c->ops_tail = o;
    c->ops_tail = &o->next;
    o->number = ++c->number;
    c->by_number[o->number] = o;
    return o;
}

static void put_word(struct op *o, const char *word)
{
    size_t at = strlen(o->words);
    int n = snprintf(o->words + at, sizeof o->words - at, "%s%s", at > 0 ? " " : "", word);
    ASSERT(n > 0 && at + (size_t)n < sizeof o->words);
}

static void put_seat(struct op *o, unsigned seat)
{
    char label[16], word[40];
    oracle_seat_label(seat, label);
    (void)snprintf(word, sizeof word, "%u:%s", seat / EVENT_SEATS + 1, label);
    put_word(o, word);
}

/* Splits the words in place, so the last look at o->words as a whole was before. */
static struct op *op_send(struct op *o)
{
    char word[32];
    if (!is_read(o)) {
        (void)snprintf(word, sizeof word, "--request r%llu", (unsigned long long)o->number);
        put_word(o, word);
    }
    size_t len = strlen(o->words);
    for (size_t at = 0; at < len; at += strlen(o->words + at) + 1) {
        ASSERT(o->argc < WORDS_MAX);
        o->words[at + strcspn(o->words + at, " ")] = 0;
        o->argv[o->argc++] = span_of(o->words + at);
    }
    send_op(o, &o->sendings[0]);
    return o;
}

/* A customer does not ask for what may be its own already: that would be answered with the
 * order it has. */
static bool is_own(const struct sim_clients *c, const char *customer, unsigned seat)
{
    const struct oracle_order *order = oracle_holder(c->oracle, seat);
    if (order != NULL && strcmp(order->customer, customer) == 0) {
        return true;
    }
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        if (is_granted_order(o) && !o->given_back && !o->lapsed &&
            strcmp(o->customer, customer) == 0) {
            for (unsigned i = 0; i < o->seats_count; i++) {
                if (o->has[i] == seat) {
                    return true;
                }
            }
        }
    }
    return false;
}

static bool has(const struct op *o, unsigned seat)
{
    for (unsigned i = 0; i < o->seats_count; i++) {
        if (o->seats[i] == seat) {
            return true;
        }
    }
    return false;
}

static struct op *ask_seats(struct sim_clients *c, unsigned who)
{
    struct sim *sim = c->w->sim;
    struct op *o = op_new(c, sim_rand(sim, 2) == 0 ? OP_BOOK : OP_HOLD);
    (void)snprintf(o->customer, sizeof o->customer, "c%u-%u", who, (unsigned)sim_rand(sim, 2));
    put_word(o, verbs[o->kind]);
    put_word(o, "1");
    put_word(o, o->customer);
    unsigned want = 1 + (unsigned)sim_rand(sim, OP_SEATS_MAX);
    unsigned event = sim_rand(sim, 3) == 0 ? ORACLE_EVENTS : (unsigned)sim_rand(sim, ORACLE_EVENTS);
    for (int tries = 0; o->seats_count < want && tries < 50; tries++) {
        unsigned seat = (unsigned)sim_rand(sim, ORACLE_SEATS);
        bool fits = event == ORACLE_EVENTS || seat / EVENT_SEATS == event;
        if (fits && !has(o, seat) && !is_own(c, o->customer, seat)) {
            o->seats[o->seats_count++] = seat;
            put_seat(o, seat);
        }
    }
    if (o->seats_count == 0) {
        unsigned seat = 0; /* refused as one's own, or granted: either is judged */
        o->seats[o->seats_count++] = seat;
        put_seat(o, seat);
    }
    if (o->kind == OP_HOLD) {
        put_word(o, sim_rand(sim, 3) == 0 ? "--ttl 3s" : "--ttl 10m");
    }
    return op_send(o);
}

static struct op *ask_change(struct sim_clients *c, struct op *order)
{
    struct sim *sim = c->w->sim;
    enum op_kind kind;
    switch (sim_rand(sim, 6)) {
    case 0:
    case 1: kind = order->booked ? OP_GIVE_BACK : OP_CONFIRM; break;
    case 2: kind = order->booked ? OP_ORDER : OP_EXTEND; break;
    case 3: kind = OP_MOVE; break;
    case 4: kind = OP_ORDER; break;
    default: kind = OP_GIVE_BACK; break;
    }
    struct op *o = op_new(c, kind);
    o->order = order;
    memcpy(o->customer, order->customer, sizeof o->customer);
    put_word(o, kind == OP_GIVE_BACK && (order->booked || sim_rand(sim, 2) == 0) ? "cancel"
                                                                                 : verbs[kind]);
    put_word(o, order->id);
    if (kind == OP_EXTEND) {
        put_word(o, "--ttl 10m");
    } else if (kind == OP_MOVE) {
        o->from = (unsigned)sim_rand(sim, order->seats_count);
        unsigned old = order->has[o->from];
        do {
            o->seats[0] = old / EVENT_SEATS * EVENT_SEATS + (unsigned)sim_rand(sim, EVENT_SEATS);
        } while (is_own(c, o->customer, o->seats[0]));
        o->seats_count = 1;
        put_seat(o, old);
        put_seat(o, o->seats[0]);
    }
    return op_send(o);
}

static struct op *ask_map(struct sim_clients *c)
{
    struct op *o = op_new(c, sim_rand(c->w->sim, 2) == 0 ? OP_SEATS : OP_LOCAL);
    o->event = (unsigned)sim_rand(c->w->sim, ORACLE_EVENTS);
    put_word(o, "seats");
    put_word(o, o->event == 0 ? "1" : "2");
    if (o->kind == OP_SEATS) {
        put_word(o, "--linearizable");
    }
    return op_send(o);
}

/* The houses, first of all: two requests of the first client. */
static struct op *ask_event(struct sim_clients *c)
{
    struct op *o = op_new(c, OP_ADD_EVENT);
    put_word(o, "add-event");
    put_word(o, c->events_made == 0 ? "1" : "2");
    char rows[128] = "[";
    for (unsigned i = 0; i < ORACLE_ROWS; i++) {
        size_t at = strlen(rows);
        (void)snprintf(rows + at, sizeof rows - at, "%s{\"row\":\"%c\",\"seats\":%d}",
                       i > 0 ? "," : "", (char)('A' + i), ORACLE_ROW);
    }
    (void)snprintf(rows + strlen(rows), sizeof rows - strlen(rows), "]");
    put_word(o, rows);
    return op_send(o);
}

/* ---- Turns ------------------------------------------------------------------------------------
 */

static void wait_for(struct sim_clients *c, struct op *o)
{
    uint64_t now = sim_now(c->w->sim);
    for (unsigned i = 0; i < 2; i++) {
        struct sending *s = &o->sendings[i];
        if (s->node != NULL && now - s->sent_ms > PATIENCE_MS) {
            service_cancel(s->service, &s->r);
            s->node = NULL;
            o->again_ms = now;
        }
    }
    if (now < o->again_ms) {
        return;
    }
    if (o->sendings[0].node == NULL) {
        send_op(o, &o->sendings[0]);
    } else if (o->sendings[1].node == NULL && !is_read(o) && now - o->sendings[0].sent_ms > 50 &&
               sim_rand(c->w->sim, 40) == 0) {
        c->n.twins++;
        send_op(o, &o->sendings[1]); /* the same request, through another node */
    }
}

static void look_at(struct sim_clients *c, struct client *who, const struct op *o)
{
    who->op = NULL;
    who->idle_until_ms = sim_now(c->w->sim) + sim_rand(c->w->sim, c->think_ms);
    if (is_take(o) && o->code == 0) {
        who->mine = c->by_number[o->number];
    } else if (o->order != NULL && (o->order->given_back || o->order->lapsed)) {
        who->mine = NULL;
    }
}

static void client_turn(struct sim_clients *c, unsigned i)
{
    struct client *who = &c->clients[i];
    if (who->op != NULL && who->op->known_ms == NEVER) {
        wait_for(c, who->op);
        return;
    }
    if (who->op != NULL) {
        look_at(c, who, who->op);
        return;
    }
    if (c->finishing || clients_full(c) || sim_now(c->w->sim) < who->idle_until_ms) {
        return;
    }
    uint64_t dice = sim_rand(c->w->sim, 10);
    if (c->events_made < ORACLE_EVENTS) {
        who->op = i == 0 ? ask_event(c) : NULL;
    } else if (dice < 2) {
        who->op = ask_map(c);
    } else if (who->mine != NULL && dice < 8) {
        who->op = ask_change(c, who->mine);
    } else {
        who->op = ask_seats(c, i); /* what it had, it keeps */
    }
}

void clients_turn(struct sim_clients *c)
{
    for (unsigned i = 0; i < c->clients_count; i++) {
        client_turn(c, i);
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

void clients_go_on(struct sim_clients *c) { c->finishing = false; }
bool clients_full(const struct sim_clients *c) { return c->number + 20 > REQUESTS_MAX; }

bool clients_served_since(const struct sim_clients *c, uint64_t ms)
{
    return c->last_served_ms >= ms;
}

uint64_t clients_heard_ms(const struct sim_clients *c, uint64_t ms)
{
    uint64_t first = NEVER;
    for (const struct op *o = c->ops; o != NULL; o = o->next) {
        if (o->asked_ms >= ms && o->heard_ms < first) {
            first = o->heard_ms;
        }
    }
    return first;
}

/* ---- Life --------------------------------------------------------------------------------------
 */

struct clients_numbers clients_numbers(const struct sim_clients *c)
{
    struct clients_numbers n = c->n;
    n.entries = oracle_entries(c->oracle);
    return n;
}

struct sim_clients *clients_new(struct sim_world *w, unsigned clients, uint64_t think_ms)
{
    struct sim_clients *c = mem_zalloc(sizeof *c);
    ASSERT(c != NULL);
    c->w = w;
    c->think_ms = think_ms;
    c->clients_count = clients;
    c->clients = mem_zalloc(clients * sizeof *c->clients);
    ASSERT(c->clients != NULL);
    c->ops_tail = &c->ops;
    c->oracle = oracle_new(w, history_on_tx, c);
    w->oracle = c->oracle;
    sim_on_turn(w->sim, history_turn, c);
    return c;
}

void clients_free(struct sim_clients *c)
{
    while (c->ops != NULL) {
        struct op *o = c->ops;
        c->ops = o->next;
        mem_free(o);
    }
    oracle_free(c->oracle);
    mem_free(c->clients);
    mem_free(c);
}
