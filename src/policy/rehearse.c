/* See rehearse.h.
 *
 *   count what there is -> for each entry: begin its group -> before each transaction: judge
 *   the refusals that met this state, then the transaction's own request -> apply what was
 *   recorded -> next
 *
 * A judged request is always undone: the next one meets the state that it met when it was
 * recorded, whatever the candidate would have made of the one before. Refusals come from the
 * log when they carried a request id, else from the leader's file; a refusal of the file is
 * judged only when the digest of the state is that which it met, else it is counted as not
 * rebuilt.
 *
 * R1 after each entry the digest is what the next entry says it was
 * R2 a judged request leaves the digest as it was */
#include "policy/rehearse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/mem.h"
#include "policy/refusals.h"
#include "store/effect.h"

#define RULE_BYTES 64
#define WORDS_MAX  4096

/* What was, or would be, decided. */
struct outcome {
    int code;
    uint64_t shape;       /* hash of the places, without ids */
    int64_t seats, money; /* what it adds to the orders it is about */
    uint64_t hold_ms;     /* until when held, 0: not */
    char rule[RULE_BYTES];
    char message[ERROR_MESSAGE_BYTES];
};

struct tally {
    uint64_t count;
    int64_t seats, money;
};

/* An order that the transaction which is read is about, and what it comes to so far. */
struct bill {
    uint64_t order; /* hash of its id */
    int64_t seats, price;
    bool counted; /* the outcome has all of it, not only what was added */
};

struct rule_tally {
    char rule[RULE_BYTES];
    struct tally t;
};

struct rehearsal {
    const struct rehearse_options *o;
    struct store *s;
    struct policy *p;
    struct registry *registry;
    struct call call;
    struct policy_answer answer;
    struct buf scratch;
    struct buf bills;  /* of struct bill */
    struct bill spare; /* in place of one for which there is no memory */
    bool no_memory;
    struct buf effects; /* of the request that was judged */
    struct span *words;
    struct refusal *refusals; /* by index and position */
    size_t refusals_count, refusals_at;
    struct error lacks; /* why the candidate does not know the request; code 0: it does */
    uint64_t skip;      /* requests still to pass over, for --last */
    uint64_t requests, same, first_index, first_ms, last_index, last_ms, not_rebuilt, failed;
    struct tally refused_now, granted_now, other_seats, other_price, other_hold;
    uint64_t other_code;
    struct rule_tally rules[REHEARSE_RULES];
    size_t rules_count;
    struct buf examples;
    size_t examples_count;
};

/* ---- Requests ---------------------------------------------------------------------------------
 */

/* Words of an encoded argv; 0 when it holds none (housekeeping) or makes no sense. */
static size_t split(struct rehearsal *h, struct span argv)
{
    struct reader r;
    reader_init(&r, argv.data, argv.len);
    uint64_t n = reader_varint(&r);
    if (r.failed || n > WORDS_MAX) {
        return 0;
    }
    for (uint64_t i = 0; i < n; i++) {
        h->words[i] = reader_bytes(&r);
    }
    return r.failed ? 0 : (size_t)n;
}

/* Whether an argv is a request that policies decide: parsed into h->call when it is. One that was
 * understood when it came, and is not by the candidate's commands, would be refused (h->lacks). */
static bool is_request(struct rehearsal *h, struct span argv)
{
    error_clear(&h->lacks);
    size_t n = split(h, argv);
    if (n == 0) {
        return false;
    }
    const struct command_def *def = registry_find(h->registry, h->words[0]);
    if (def == NULL) {
        (void)error_set(&h->lacks, ERR_NOTFOUND, "there is no command '%.*s'",
                        (int)(h->words[0].len < 64 ? h->words[0].len : 64), h->words[0].data);
        return true;
    }
    if (def->read != READ_NONE || strcmp(def->group, "policy") == 0) {
        return false;
    }
    (void)call_parse(h->registry, n, h->words, &h->call, &h->lacks);
    return true;
}

static struct policy_user user_of(const struct rehearsal *h, struct span name)
{
    struct policy_user user = { .name = name, .access = h->o->other_access };
    for (size_t i = 0; i < h->o->users_count; i++) {
        if (span_eq(h->o->users[i].name, name)) {
            user.access = h->o->users[i].access;
            user.roles = h->o->users[i].roles;
        }
    }
    return user;
}

/* ---- Outcomes -----------------------------------------------------------------------------------
 */

static int64_t seats_of(const struct place *places, uint32_t count)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < count; i++) {
        n += places[i].count;
    }
    return n;
}

static void add_shape(struct outcome *out, const struct effect *f)
{
    for (uint32_t i = 0; i < f->places_count; i++) {
        const struct place *p = &f->places[i];
        uint64_t type = f->types != NULL ? hash64(f->types[i].data, f->types[i].len) : p->type;
        out->shape += hash_mix(hash_mix(p->event, p->number), hash_mix(p->count, type));
    }
}

/* The newest is nearly always the one. An order that is live before the transaction begins with
 * what it has: h->s must be the state before. Valid until the next call. */
static struct bill *bill_of(struct rehearsal *h, struct span id)
{
    struct bill *bills = (void *)h->bills.data;
    uint64_t order = hash64(id.data, id.len);
    for (size_t i = h->bills.len / sizeof *bills; i > 0; i--) {
        if (bills[i - 1].order == order) {
            return &bills[i - 1];
        }
    }
    const struct order *o = store_order(h->s, id);
    struct bill first = { .order = order, .counted = true };
    if (o != NULL && order_live(o)) {
        first = (struct bill){ order, seats_of(o->places, o->places_count), o->price, false };
    }
    buf_put(&h->bills, &first, sizeof first);
    if (h->bills.failed) {
        h->no_memory = true;
        h->spare = first;
        return &h->spare;
    }
    return (struct bill *)(void *)(h->bills.data + h->bills.len - sizeof first);
}

/* An effect says what the whole order comes to from then on: the difference counts. */
static void charge(struct rehearsal *h, struct span id, int64_t seats, int64_t price,
                   struct outcome *out)
{
    struct bill *b = bill_of(h, id);
    out->seats += seats - b->seats;
    out->money += price - b->price;
    b->seats = seats;
    b->price = price;
}

/* A refused confirm loses the order: a confirm counts all of it. */
static void charge_whole(struct bill *b, struct outcome *out)
{
    if (!b->counted) {
        out->seats += b->seats;
        out->money += b->price;
        b->counted = true;
    }
}

static void charge_places(struct rehearsal *h, const struct effect *f, struct outcome *out)
{
    int64_t before = bill_of(h, f->id)->price;
    charge(h, f->id, seats_of(f->places, f->places_count), f->price, out);
    if (f->id2.len > 0) { /* an exchange keeps the sum of both */
        struct bill other = *bill_of(h, f->id2);
        charge(h, f->id2, other.seats, other.price + before - f->price, out);
    }
}

/* What is given back, or becomes an order of its own, does not count: only what a hook makes of the
 * price afterwards. */
static void give_back(struct rehearsal *h, const struct effect *f)
{
    struct bill *b = bill_of(h, f->id);
    if (f->kind == EFFECT_SPLIT) {
        b->price -= f->price;
        bill_of(h, f->id2)->price = f->price;
    } else if (f->places_count == 0) {
        b->price = 0;
    }
}

/* What effects on the state of h->s amount to; ids of orders, which are random, do not count. */
static void read_effects(struct rehearsal *h, struct span effects, struct outcome *out)
{
    struct reader r;
    struct effect f;
    struct error e;
    error_clear(&e);
    buf_clear(&h->bills);
    reader_init(&r, effects.data, effects.len);
    while (reader_left(&r) > 0 && effect_decode(&r, &f, &h->scratch, &e) == 0) {
        switch (f.kind) {
        case EFFECT_TAKE:
        case EFFECT_RESEAT:
            add_shape(out, &f);
            charge_places(h, &f, out);
            out->hold_ms = f.until_ms > out->hold_ms ? f.until_ms : out->hold_ms;
            break;
        case EFFECT_AMEND:
            if (f.set & SET_PRICE) {
                charge(h, f.id, bill_of(h, f.id)->seats, f.price, out);
            }
            break;
        case EFFECT_CONFIRM: charge_whole(bill_of(h, f.id), out); break;
        case EFFECT_EXTEND: out->hold_ms = f.until_ms; break;
        case EFFECT_FINISH:
        case EFFECT_SPLIT:
            out->shape += hash_mix((uint64_t)f.kind, f.places_count);
            give_back(h, &f);
            break;
        default: break;
        }
    }
}

/* The member `"rule":"..."` of a refusal's fields. */
static void read_rule(const struct buf *fields, char out[RULE_BYTES])
{
    static const char key[] = "\"rule\":\"";
    const char *at =
        fields->len == 0 ? NULL : memmem(fields->data, fields->len, key, sizeof key - 1);
    out[0] = 0;
    if (at == NULL) {
        return;
    }
    at += sizeof key - 1;
    const char *end = (const char *)fields->data + fields->len;
    size_t n = 0;
    while (at < end && *at != '"' && n + 1 < RULE_BYTES) {
        out[n++] = *at++;
    }
    out[n] = 0;
}

/* h->call under the candidate; the state is as before afterwards (R2). */
static void judge(struct rehearsal *h, const struct policy_user *user, uint64_t time_ms,
                  uint64_t index, struct outcome *out)
{
    memset(out, 0, sizeof *out);
    if (h->lacks.code != 0) {
        out->code = h->lacks.code;
        (void)memcpy(out->message, h->lacks.message, sizeof out->message);
        return;
    }
    store_tx_begin(h->s);
    policy_evaluate(h->p, h->s, &h->call, user, time_ms, index, &h->answer);
    out->code = h->answer.code;
    buf_clear(&h->effects);
    if (out->code == 0) {
        struct span effects = store_tx_effects(h->s);
        buf_put(&h->effects, effects.data, effects.len);
    } else {
        read_rule(&h->answer.fields, out->rule);
        (void)memcpy(out->message, h->answer.error.message, sizeof out->message);
    }
    store_tx_undo(h->s);
    if (out->code == 0) {
        read_effects(h, span_make((const char *)h->effects.data, h->effects.len), out);
        h->no_memory |= h->effects.failed;
    }
}

/* ---- Counting
 * ------------------------------------------------------------------------------------- */

static void count(struct tally *t, int64_t seats, int64_t money)
{
    t->count++;
    t->seats += seats;
    t->money += money;
}

static void count_rule(struct rehearsal *h, const struct outcome *now, const struct outcome *was)
{
    const char *rule = now->rule[0] != 0 ? now->rule : error_wire(now->code);
    size_t i = 0;
    while (i < h->rules_count && strcmp(h->rules[i].rule, rule) != 0) {
        i++;
    }
    if (i == h->rules_count) {
        if (i == REHEARSE_RULES) {
            return;
        }
        (void)snprintf(h->rules[i].rule, RULE_BYTES, "%s", rule);
        h->rules_count++;
    }
    count(&h->rules[i].t, was->seats, was->money);
}

static void put_words(struct rehearsal *h, struct span argv, struct buf *out)
{
    struct buf text = BUF_INIT;
    size_t n = split(h, argv);
    for (size_t i = 0; i < n && text.len < 200; i++) {
        if (i > 0) {
            buf_put_u8(&text, ' ');
        }
        buf_put(&text, h->words[i].data, h->words[i].len < 100 ? h->words[i].len : 100);
    }
    json_field_string(out, "command", span_make((const char *)text.data, text.len));
    buf_free(&text);
}

static void put_verdict(struct buf *out, const char *key, const struct outcome *o)
{
    json_field_string(out, key, span_of(o->code == 0 ? "granted" : error_wire(o->code)));
}

static void put_example(struct rehearsal *h, struct span argv, uint64_t index,
                        const struct outcome *was, const struct outcome *now)
{
    if (h->examples_count == REHEARSE_EXAMPLES) {
        return;
    }
    h->examples_count++;
    struct buf *b = &h->examples;
    json_put_comma(b);
    buf_put_u8(b, '{');
    json_field_int(b, "index", (int64_t)index);
    put_words(h, argv, b);
    put_verdict(b, "was", was);
    put_verdict(b, "now", now);
    if (now->rule[0] != 0) {
        json_field_string(b, "rule", span_of(now->rule));
    }
    if (now->code != 0) {
        json_field_string(b, "message", span_of(now->message));
    }
    json_field_int(b, "seats", now->code == 0 ? now->seats : was->seats);
    json_field_int(b, "money", now->code == 0 ? now->money - was->money : -was->money);
    buf_put_u8(b, '}');
}

/* True when the decision is another one. */
static bool compare(struct rehearsal *h, const struct outcome *was, const struct outcome *now)
{
    if (now->code == ERR_INTERNAL) {
        h->failed++;
    }
    if (was->code == 0 && now->code != 0) {
        count(&h->refused_now, was->seats, was->money);
        count_rule(h, now, was);
        return true;
    }
    if (was->code != 0 && now->code == 0) {
        count(&h->granted_now, now->seats, now->money);
        return true;
    }
    if (was->code != now->code) {
        h->other_code++;
        return true;
    }
    if (was->code != 0) {
        return false;
    }
    if (was->shape != now->shape) {
        count(&h->other_seats, now->seats, now->money - was->money);
    } else if (was->money != now->money) {
        count(&h->other_price, now->seats, now->money - was->money);
    } else if (was->hold_ms != now->hold_ms) {
        count(&h->other_hold, now->seats, 0);
    } else {
        return false;
    }
    return true;
}

static void rehearse_one(struct rehearsal *h, struct span argv, struct span user_name,
                         uint64_t time_ms, uint64_t index, const struct outcome *was)
{
    struct outcome now;
    struct policy_user user = user_of(h, user_name);
    judge(h, &user, time_ms, index, &now);
    if (h->requests++ == 0) {
        h->first_index = index;
        h->first_ms = time_ms;
    }
    h->last_index = index;
    h->last_ms = time_ms;
    if (compare(h, was, &now)) {
        put_example(h, argv, index, was, &now);
    } else {
        h->same++;
    }
}

/* ---- Refusals of the leaders' files
 * ------------------------------------------------------------------ */

static int by_place(const void *a, const void *b)
{
    const struct refusal *x = a, *y = b;
    if (x->index != y->index) {
        return x->index < y->index ? -1 : 1;
    }
    return x->position != y->position ? (x->position < y->position ? -1 : 1) : 0;
}

static int read_refusals(struct rehearsal *h, struct error *e)
{
    struct reader r;
    struct refusal one;
    size_t cap = 0;
    reader_init(&r, h->o->refusals.data, h->o->refusals.len);
    while (refusal_next(&r, &one)) {
        if (h->refusals_count == cap) {
            cap = cap == 0 ? 1024 : 2 * cap;
            struct refusal *more = mem_realloc(h->refusals, cap * sizeof *more);
            if (more == NULL) {
                return error_set(e, ERR_NOMEM, "out of memory");
            }
            h->refusals = more;
        }
        h->refusals[h->refusals_count++] = one;
    }
    if (h->refusals_count > 0) {
        qsort(h->refusals, h->refusals_count, sizeof one, by_place);
    }
    return 0;
}

static void pace(const struct rehearsal *h)
{
    if (h->o->pace != NULL) {
        h->o->pace(h->o->arg);
    }
}

static bool wanted(struct rehearsal *h, uint64_t time_ms)
{
    if (time_ms < h->o->since_ms) {
        return false;
    }
    if (h->skip > 0) {
        h->skip--;
        return false;
    }
    return true;
}

static void judge_refusal(struct rehearsal *h, const struct refusal *r)
{
    struct outcome was = { .code = r->code };
    pace(h);
    if (!is_request(h, r->argv) || !wanted(h, r->time_ms)) {
        return;
    }
    if (store_digest(h->s) != r->digest) {
        h->not_rebuilt++;
        return;
    }
    rehearse_one(h, r->argv, r->user, r->time_ms, r->index, &was);
}

static bool comes_before(const struct refusal *r, uint64_t index, uint32_t position)
{
    return r->index < index || (r->index == index && r->position <= position);
}

/* Inside the open group of entry `index`: those that met the state before transaction
 * `position`. */
static void refusals_here(struct rehearsal *h, uint64_t index, uint32_t position)
{
    while (h->refusals_at < h->refusals_count &&
           comes_before(&h->refusals[h->refusals_at], index, position)) {
        judge_refusal(h, &h->refusals[h->refusals_at++]);
    }
}

/* Between entries: those that met the state before entry `index`. */
static void refusals_between(struct rehearsal *h, uint64_t index)
{
    while (h->refusals_at < h->refusals_count && h->refusals[h->refusals_at].index < index) {
        const struct refusal *r = &h->refusals[h->refusals_at++];
        store_group_begin(h->s, r->time_ms, r->index);
        judge_refusal(h, r);
        store_group_cancel(h->s);
    }
}

/* ---- Entries
 * ------------------------------------------------------------------------------------------- */

static int apply(struct rehearsal *h, const struct entry_tx *tx, struct error *e)
{
    struct reader r;
    struct effect f;
    int rc = 0;
    reader_init(&r, tx->effects.data, tx->effects.len);
    store_tx_begin(h->s);
    while (rc == 0 && reader_left(&r) > 0) {
        rc = effect_decode(&r, &f, &h->scratch, e);
        rc = rc != 0 ? rc : store_do(h->s, &f, e);
    }
    if (rc == 0) {
        store_tx_end(h->s);
    } else {
        store_tx_undo(h->s);
    }
    return rc;
}

static int one_transaction(struct rehearsal *h, const struct entry_tx *tx, uint64_t time_ms,
                           uint64_t index, struct error *e)
{
    pace(h);
    if (is_request(h, tx->args) && wanted(h, time_ms)) {
        struct outcome was = { .code = tx->code };
        if (tx->code == 0) {
            read_effects(h, tx->effects, &was);
        }
        rehearse_one(h, tx->args, tx->user, time_ms, index, &was);
    }
    return apply(h, tx, e);
}

static int one_entry(struct rehearsal *h, uint64_t index, struct span bytes, struct error *e)
{
    struct reader r;
    struct entry_head head;
    struct entry_tx tx;
    int rc = entry_open(&r, bytes.data, bytes.len, &head, e);
    if (rc != 0) {
        return rc;
    }
    refusals_between(h, index);
    if (head.digest_before != store_digest(h->s)) { /* R1 */
        return error_set(e, ERR_CORRUPT, "entry %llu does not fit the state before it",
                         (unsigned long long)index);
    }
    store_group_begin(h->s, head.time_ms, index);
    for (uint32_t i = 0; rc == 0 && i < head.transactions; i++) {
        refusals_here(h, index, i);
        rc = entry_next(&r, &tx, e);
        rc = rc != 0 ? rc : one_transaction(h, &tx, head.time_ms, index, e);
    }
    if (rc != 0) {
        store_group_cancel(h->s);
        return rc;
    }
    refusals_here(h, index, UINT32_MAX);
    store_group_seal(h->s);
    store_group_commit(h->s);
    return 0;
}

/* How many requests there are, so that --last knows where to begin. */
static uint64_t count_requests(struct rehearsal *h, struct span entries)
{
    struct reader all, r;
    struct entry_head head;
    struct entry_tx tx;
    struct error e;
    uint64_t n = 0;
    error_clear(&e);
    reader_init(&all, entries.data, entries.len);
    while (reader_left(&all) > 0) {
        (void)reader_varint(&all);
        struct span bytes = reader_bytes(&all);
        if (all.failed || entry_open(&r, bytes.data, bytes.len, &head, &e) != 0) {
            break;
        }
        pace(h);
        for (uint32_t i = 0; i < head.transactions && entry_next(&r, &tx, &e) == 0; i++) {
            n += head.time_ms >= h->o->since_ms && is_request(h, tx.args) ? 1 : 0;
        }
    }
    for (size_t i = 0; i < h->refusals_count; i++) {
        const struct refusal *f = &h->refusals[i];
        n += f->time_ms >= h->o->since_ms && is_request(h, f->argv) ? 1 : 0;
    }
    return n;
}

static int all_entries(struct rehearsal *h, struct span entries, struct error *e)
{
    struct reader r;
    int rc = 0;
    uint64_t from = store_index(h->s);
    reader_init(&r, entries.data, entries.len);
    /* What met a state before the first that we have cannot be rebuilt. */
    while (h->refusals_at < h->refusals_count && h->refusals[h->refusals_at].index <= from) {
        const struct refusal *f = &h->refusals[h->refusals_at++];
        h->not_rebuilt += is_request(h, f->argv) && wanted(h, f->time_ms) ? 1 : 0;
    }
    while (rc == 0 && reader_left(&r) > 0) {
        uint64_t index = reader_varint(&r);
        struct span bytes = reader_bytes(&r);
        if (h->o->stop != NULL && atomic_load(h->o->stop)) {
            return error_set(e, ERR_CANCELED, "the rehearsal was stopped");
        }
        rc = r.failed ? error_set(e, ERR_CORRUPT, "the copied log is cut")
                      : one_entry(h, index, bytes, e);
    }
    if (rc == 0) {
        refusals_between(h, UINT64_MAX);
    }
    return rc;
}

/* ---- The report
 * ------------------------------------------------------------------------------------------- */

static void put_tally(struct buf *b, const char *key, const struct tally *t)
{
    json_put_key(b, key);
    buf_put_u8(b, '{');
    json_field_int(b, "count", (int64_t)t->count);
    json_field_int(b, "seats", t->seats);
    json_field_int(b, "money", t->money);
    buf_put_u8(b, '}');
}

static int by_count(const void *a, const void *b)
{
    uint64_t x = ((const struct rule_tally *)a)->t.count;
    uint64_t y = ((const struct rule_tally *)b)->t.count;
    return x > y ? -1 : x < y;
}

static void put_report(struct rehearsal *h, struct buf *b)
{
    buf_put_u8(b, '{');
    json_field_int(b, "requests", (int64_t)h->requests);
    json_field_int(b, "same", (int64_t)h->same);
    put_tally(b, "refused_now", &h->refused_now);
    put_tally(b, "granted_now", &h->granted_now);
    put_tally(b, "other_seats", &h->other_seats);
    put_tally(b, "other_price", &h->other_price);
    put_tally(b, "other_hold", &h->other_hold);
    json_field_int(b, "other_refusal", (int64_t)h->other_code);
    json_field_int(b, "policy_failed", (int64_t)h->failed);
    json_field_int(b, "not_rebuilt", (int64_t)h->not_rebuilt);
    json_field_int(b, "from_index", (int64_t)h->first_index);
    json_field_int(b, "to_index", (int64_t)h->last_index);
    json_field_int(b, "from_time", (int64_t)h->first_ms);
    json_field_int(b, "to_time", (int64_t)h->last_ms);
    qsort(h->rules, h->rules_count, sizeof *h->rules, by_count);
    json_put_key(b, "rules");
    buf_put_u8(b, '[');
    for (size_t i = 0; i < h->rules_count; i++) {
        json_put_comma(b);
        buf_put_u8(b, '{');
        json_field_string(b, "rule", span_of(h->rules[i].rule));
        json_field_int(b, "count", (int64_t)h->rules[i].t.count);
        json_field_int(b, "seats", h->rules[i].t.seats);
        json_field_int(b, "money", h->rules[i].t.money);
        buf_put_u8(b, '}');
    }
    buf_put_u8(b, ']');
    json_put_key(b, "examples");
    buf_put_u8(b, '[');
    buf_put(b, h->examples.data, h->examples.len);
    buf_put_str(b, "]}");
}

/* ---- The whole
 * -------------------------------------------------------------------------------------------- */

static int open_candidate(struct rehearsal *h, struct error *e)
{
    struct policy_options o = { .seed = { 1, 2 } };
    h->words = mem_alloc(WORDS_MAX * sizeof *h->words);
    h->registry = registry_new();
    if (h->words == NULL || h->registry == NULL) {
        return error_set(e, ERR_NOMEM, "out of memory");
    }
    int rc = policy_new(&o, h->registry, &h->p, e);
    return rc != 0 ? rc : policy_load(h->p, UINT32_MAX, h->o->bundle, e);
}

int rehearse(struct store *s, struct span entries, const struct rehearse_options *o,
             struct buf *json, struct error *e)
{
    struct rehearsal h = { .o = o, .s = s };
    int rc = open_candidate(&h, e);
    rc = rc != 0 ? rc : read_refusals(&h, e);
    if (rc == 0) {
        uint64_t n = o->last > 0 ? count_requests(&h, entries) : 0;
        h.skip = n > o->last ? n - o->last : 0;
        rc = all_entries(&h, entries, e);
    }
    if (rc == 0) {
        put_report(&h, json);
        rc = json->failed || h.no_memory ? error_set(e, ERR_NOMEM, "out of memory") : 0;
    }
    call_free(&h.call);
    policy_answer_free(&h.answer);
    buf_free(&h.scratch);
    buf_free(&h.bills);
    buf_free(&h.effects);
    buf_free(&h.examples);
    mem_free(h.refusals);
    mem_free(h.words);
    policy_free(h.p);
    registry_free(h.registry);
    return rc;
}
