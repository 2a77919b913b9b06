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

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/refusals.h"
#include "policy/rehearse_report.h"
#include "store/effect.h"

#define WORDS_MAX 4096

struct rehearsal {
    const struct rehearse_options *o;
    struct store *s;
    struct policy *p;
    struct registry *registry;
    struct call call;
    struct policy_answer answer;
    struct outcome_reader reader;
    struct buf effects; /* of the request that was judged */
    struct buf scratch;
    struct span *words;
    struct refusal *refusals; /* by index and position */
    size_t refusals_count, refusals_at;
    struct error lacks; /* why the candidate does not know the request; code 0: it does */
    uint64_t skip;      /* requests still to pass over, for --last */
    struct report report;
};

/* ---- Requests ------------------------------------------------------------------------ */

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
        outcome_refuse(out, h->answer.code, h->answer.error.message, &h->answer.fields);
    }
    store_tx_undo(h->s);
    if (out->code == 0) {
        outcome_add(&h->reader, span_make((const char *)h->effects.data, h->effects.len), out);
        h->reader.no_memory |= h->effects.failed;
    }
}

static void rehearse_one(struct rehearsal *h, struct span argv, struct span user_name,
                         uint64_t time_ms, uint64_t index, const struct outcome *was)
{
    struct outcome now;
    struct policy_user user = user_of(h, user_name);
    judge(h, &user, time_ms, index, &now);
    report_decision(&h->report, argv, time_ms, index, was, &now);
}

/* ---- Refusals of the leaders' files -------------------------------------------------- */

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
        h->report.not_rebuilt++;
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

/* ---- Entries ------------------------------------------------------------------------- */

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
            outcome_add(&h->reader, tx->effects, &was);
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
        h->report.not_rebuilt += is_request(h, f->argv) && wanted(h, f->time_ms) ? 1 : 0;
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

/* ---- The whole ----------------------------------------------------------------------- */

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

static bool no_memory(const struct rehearsal *h, const struct buf *json)
{
    return json->failed || h->report.examples.failed || h->reader.no_memory;
}

int rehearse(struct store *s, struct span entries, const struct rehearse_options *o,
             struct buf *json, struct error *e)
{
    struct rehearsal h = { .o = o, .s = s, .reader = { .s = s } };
    int rc = open_candidate(&h, e);
    rc = rc != 0 ? rc : read_refusals(&h, e);
    if (rc == 0) {
        uint64_t n = o->last > 0 ? count_requests(&h, entries) : 0;
        h.skip = n > o->last ? n - o->last : 0;
        rc = all_entries(&h, entries, e);
    }
    if (rc == 0) {
        report_put(&h.report, json);
        rc = no_memory(&h, json) ? error_set(e, ERR_NOMEM, "out of memory") : 0;
    }
    call_free(&h.call);
    policy_answer_free(&h.answer);
    outcome_reader_free(&h.reader);
    report_free(&h.report);
    buf_free(&h.scratch);
    buf_free(&h.effects);
    mem_free(h.refusals);
    mem_free(h.words);
    policy_free(h.p);
    registry_free(h.registry);
    return rc;
}
