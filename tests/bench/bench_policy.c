/* What the policy VM costs: microseconds per call, evaluated over a real store, in batches of
 * 64 as on a busy leader; parsing and encoding of entries are not in it.
 *
 *   build/release/bench_policy [ROUNDS [book]]     book: only the bookings, for a profiler
 *
 * The aims are in docs/design.md, 7: about 3 us for a booking by the default policy, at most
 * 200 us for `best 4` on a 20,000-seat event that is half sold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy/policy.h"

#define BATCH 64

struct bench {
    struct policy *policy;
    struct registry *registry;
    struct store *store;
    struct policy_answer answer;
    uint64_t now_ms, index;
    bool open;
};

/* CPU time: the machine may be busy with other things. */
static double now_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void die(const char *what, const struct error *e)
{
    (void)fprintf(stderr, "%s: %s\n", what, e->message);
    exit(1);
}

static void next_group(struct bench *b)
{
    if (b->open) {
        store_group_seal(b->store);
        store_group_commit(b->store);
    }
    store_group_begin(b->store, ++b->now_ms, ++b->index);
    b->open = true;
}

static void parse(struct bench *b, const char *line, struct call *c)
{
    char words[400];
    struct span argv[32];
    size_t n = 0;
    struct error e = { 0 };
    (void)snprintf(words, sizeof(words), "%s", line);
    char *save = NULL;
    for (char *w = strtok_r(words, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
        argv[n++] = span_of(w);
    }
    if (call_parse(b->registry, n, argv, c, &e) != 0) {
        die(line, &e);
    }
}

static void evaluate(struct bench *b, const struct call *c)
{
    store_tx_begin(b->store);
    policy_evaluate(b->policy, b->store, c, NULL, b->now_ms, b->index, &b->answer);
    store_tx_end(b->store);
}

/* One line in a group of its own; dies when it is refused. Returns the time it took. */
static double call(struct bench *b, const char *line)
{
    struct call c = { 0 };
    parse(b, line, &c);
    next_group(b);
    double start = now_us();
    evaluate(b, &c);
    double took = now_us() - start;
    if (b->answer.code != 0) {
        die(line, &b->answer.error);
    }
    call_free(&c);
    return took;
}

/* BATCH lines in one group; returns the time of all evaluations together. */
struct batch {
    struct call calls[BATCH];
    char order[BATCH][20]; /* ids of the answers */
};

__attribute__((noinline)) static double run_batch(struct bench *b, struct batch *batch,
                                                  bool granted)
{
    next_group(b);
    double start = now_us();
    for (int i = 0; i < BATCH; i++) {
        evaluate(b, &batch->calls[i]);
        if ((b->answer.code == 0) != granted) {
            die("batch", &b->answer.error);
        }
        size_t n = granted ? b->answer.order.len : 0;
        memcpy(batch->order[i], b->answer.order.data, n);
        batch->order[i][n] = 0;
    }
    return now_us() - start;
}

/* Cancels what the batch has booked. */
static void cancel_batch(struct bench *b, struct batch *batch)
{
    char line[40];
    for (int i = 0; i < BATCH; i++) {
        (void)snprintf(line, sizeof(line), "cancel %s", batch->order[i]);
        (void)call(b, line);
    }
}

static void add_event(struct bench *b, const char *id, int rows, int seats)
{
    char plan[20000] = "[", line[200];
    struct span argv[3] = { span_of("add-chart"), span_of(id), { NULL, 0 } };
    struct call c = { 0 };
    struct error e = { 0 };
    for (int r = 0; r < rows; r++) {
        (void)snprintf(line, sizeof(line), "%s{\"row\":\"R%d-\",\"seats\":%d}", r > 0 ? "," : "", r,
                       seats);
        (void)strncat(plan, line, sizeof(plan) - strlen(plan) - 1);
    }
    (void)strncat(plan, "]", sizeof(plan) - strlen(plan) - 1);
    argv[2] = span_of(plan);
    if (call_parse(b->registry, 3, argv, &c, &e) != 0) {
        die("add-chart", &e);
    }
    next_group(b);
    store_tx_begin(b->store);
    policy_evaluate(b->policy, b->store, &c, NULL, b->now_ms, b->index, &b->answer);
    store_tx_end(b->store);
    if (b->answer.code != 0) {
        die("add-chart", &b->answer.error);
    }
    call_free(&c);
    (void)snprintf(line, sizeof(line), "add-event %s %s", id, id);
    (void)call(b, line);
}

static void report(const char *what, double us, int n)
{
    (void)printf("{\"bench\":\"policy\",\"figure\":\"%s\",\"calls\":%d,\"us_each\":%.2f}\n", what,
                 n, us / n);
}

/* Every second seat, chosen as sales go: whole blocks in front, singles further back. */
static void sell_half(struct bench *b, const char *event, int rows, int seats)
{
    char line[200];
    unsigned state = 1;
    for (int r = 0; r < rows; r++) {
        for (int i = 1; i <= seats; i++) {
            state = state * 1103515245u + 12345u;
            if ((state >> 16) % 100 < (r < rows / 2 ? 85u : 15u)) {
                (void)snprintf(line, sizeof(line), "book %s c%d R%d-%d", event, i, r, i);
                (void)call(b, line);
            }
        }
    }
}

static void load(struct bench *b, const char *text)
{
    struct buf bundle = BUF_INIT;
    struct error e = { 0 };
    policy_bundle_begin(&bundle);
    policy_bundle_add(&bundle, span_of("policy.lua"), span_of(text));
    if (policy_load(b->policy, 1, span_make((const char *)bundle.data, bundle.len), &e) != 0) {
        die("policy", &e);
    }
    buf_free(&bundle);
}

static void bookings(struct bench *b, const char *what, int batches)
{
    static struct batch batch;
    char line[200];
    double us = 0;
    for (int k = 0; k < batches; k++) {
        for (int i = 0; i < BATCH; i++) {
            int seat = 1 + i % 50 * 2, row = k % 90 * 2 + i / 50;
            (void)snprintf(line, sizeof(line), "book big cust%d R%d-%d R%d-%d", k * BATCH + i, row,
                           seat, row, seat + 1);
            parse(b, line, &batch.calls[i]);
        }
        us += run_batch(b, &batch, true);
        cancel_batch(b, &batch);
    }
    report(what, us, batches * BATCH);
}

static void refusals(struct bench *b, const char *what, int batches)
{
    static struct batch batch;
    double us = 0;
    (void)call(b, "book big zoe R0-1");
    for (int k = 0; k < batches; k++) {
        for (int i = 0; i < BATCH; i++) {
            parse(b, "book big ann R0-1", &batch.calls[i]);
        }
        us += run_batch(b, &batch, false);
    }
    (void)call(b, "cancel-seat big R0-1");
    report(what, us, batches * BATCH);
}

static void best(struct bench *b, const char *what, const char *line, int n)
{
    double us = 0;
    char cancel[100];
    for (int i = 0; i < n; i++) {
        us += call(b, line);
        (void)snprintf(cancel, sizeof(cancel), "cancel %.*s", (int)b->answer.order.len,
                       b->answer.order.data);
        (void)call(b, cancel);
    }
    report(what, us, n);
}

int main(int argc, char **argv)
{
    int rounds = argc > 1 ? atoi(argv[1]) : 3;
    struct bench b;
    struct error e = { 0 };
    struct policy_options o = { .seed = { 1, 2 } };
    memset(&b, 0, sizeof(b));
    b.now_ms = 1000;
    b.store = store_new();
    b.registry = registry_new();
    if (policy_new(&o, b.registry, &b.policy, &e) != 0) {
        die("policy_new", &e);
    }
    next_group(&b);
    add_event(&b, "big", 200, 100);
    bool only_book = argc > 2 && strcmp(argv[2], "book") == 0;
    if (!only_book) {
        add_event(&b, "half", 200, 100);
        sell_half(&b, "half", 200, 100);
    }
    for (int round = 0; round < rounds; round++) {
        bookings(&b, "book, 2 seats, default policy", 150);
        if (only_book) {
            continue;
        }
        refusals(&b, "book refused: TAKEN, with an alternative", 10);
        best(&b, "best 4, 20,000 seats half sold", "best half ann 4 --book", 2000);
        best(&b, "best 12, the same", "best half ann 12 --book", 500);
        load(&b, "local rules = require 'usher.rules' return policy { name = 'theatre', rules = { "
                 "rules.max_per_customer(6), rules.no_orphans { aisles = true } } }");
        bookings(&b, "book, 2 seats, limit and orphan rule", 20);
        best(&b, "best 4, half sold, limit and orphan rule", "best half ann 4 --book", 500);
        load(&b, "return policy { name = 'plain' }");
    }
    policy_answer_free(&b.answer);
    policy_free(b.policy);
    registry_free(b.registry);
    store_free(b.store);
    return 0;
}
