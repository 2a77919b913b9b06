/* What the store costs: time per effect, memory per seat and per order, snapshots.
 *
 *   bench_store [--seats N]      default 1,000,000 seats in events of 20,000
 *
 * One JSON line per figure. Takes some seconds and up to a few hundred megabytes.
 * Memory is told twice: as the store counts it, and as the allocator sees it. */
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "store/store.h"

#define EVENT_SEATS 20000u
#define ROW_SEATS   50u
#define BATCH       64u /* transactions per group */
#define SLICE_BYTES (64u * 1024)

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

/* On a busy machine the second number is the one to trust. */
static uint64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

static _Noreturn void die(const char *what, const struct error *e)
{
    fprintf(stderr, "bench_store: %s: %s\n", what, e != NULL ? e->message : "");
    exit(1);
}

static size_t heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

struct bench {
    struct store *s;
    uint32_t events;
    uint32_t customers; /* orders go round them; 0: one per order */
    uint64_t index, now;
};

static void must(struct bench *b, const struct effect *f)
{
    struct error e = { 0 };
    if (store_do(b->s, f, &e) != 0) {
        die("effect", &e);
    }
}

static void group_begin(struct bench *b) { store_group_begin(b->s, ++b->now, ++b->index); }

static void group_end(struct bench *b)
{
    store_group_seal(b->s);
    store_group_commit(b->s);
}

static void one(struct bench *b, const struct effect *f)
{
    group_begin(b);
    store_tx_begin(b->s);
    must(b, f);
    store_tx_end(b->s);
    group_end(b);
}

/* ---- Houses ------------------------------------------------------------------- */

static struct buf stadium(void)
{
    struct chart_builder *c = chart_builder_new();
    struct buf out = BUF_INIT;
    struct error e = { 0 };
    if (c == NULL || chart_add_section(c, span_of("stalls"), &e) < 0 ||
        chart_add_category(c, span_of("all"), &e) < 0) {
        die("chart", &e);
    }
    for (uint32_t seat = 0; seat < EVENT_SEATS; seat++) {
        char row[16], label[24];
        uint32_t number = seat / ROW_SEATS;
        snprintf(row, sizeof row, "R%u", number);
        snprintf(label, sizeof label, "R%u-%u", number, seat % ROW_SEATS + 1);
        struct chart_seat s = { .label = span_of(label), .row = number, .table = -1 };
        if ((seat % ROW_SEATS == 0 && chart_add_row(c, span_of(row), 0, &e) < 0) ||
            chart_add_seat(c, &s, &e) < 0) {
            die("chart", &e);
        }
    }
    if (chart_builder_encode(c, &out, &e) != 0) {
        die("chart", &e);
    }
    chart_builder_free(c);
    return out;
}

/* own_charts: a chart per event, which is the most a seat can cost. */
static struct bench fill(uint32_t events, bool own_charts)
{
    struct bench b = { store_new(), events, 0, 0, 1700000000000ull };
    struct buf chart = stadium();
    if (b.s == NULL) {
        die("store_new", NULL);
    }
    for (uint32_t i = 0; i < events; i++) {
        char id[16], chart_id[16];
        snprintf(id, sizeof id, "e%u", i);
        snprintf(chart_id, sizeof chart_id, "c%u", own_charts ? i : 0);
        if (i == 0 || own_charts) {
            one(&b, &(struct effect){ .kind = EFFECT_CHART_PUT,
                                      .id = span_of(chart_id),
                                      .text = span_make((char *)chart.data, chart.len) });
        }
        one(&b, &(struct effect){ .kind = EFFECT_EVENT_PUT,
                                  .id = span_of(id),
                                  .id2 = span_of(chart_id),
                                  .number = i + 1,
                                  .open = true });
    }
    buf_free(&chart);
    return b;
}

static void seat_memory(uint32_t events, bool own_charts)
{
    size_t before = heap_bytes();
    struct bench b = fill(events, own_charts);
    struct store_stats st;
    store_stats(b.s, &st);
    double seats = (double)events * EVENT_SEATS;
    printf("{\"bench\":\"store\",\"figure\":\"bytes_per_free_seat\",\"charts\":\"%s\","
           "\"seats\":%.0f,\"counted\":%.2f,\"allocated\":%.2f}\n",
           own_charts ? "one per event" : "shared", seats, (double)st.bytes / seats,
           (double)(heap_bytes() - before) / seats);
    store_free(b.s);
}

/* ---- Orders ------------------------------------------------------------------- */

/* The i-th order takes the i-th pair of seats, event after event. */
static void order_place(uint32_t i, struct place seats[2])
{
    uint32_t per_event = EVENT_SEATS / 2;
    for (uint32_t k = 0; k < 2; k++) {
        seats[k] = (struct place){
            .event = i / per_event + 1, .number = i % per_event * 2 + k, .count = 1, .price = 6500
        };
    }
}

enum step { STEP_HOLD, STEP_BOOK, STEP_CONFIRM, STEP_CANCEL, STEP_RESULT };

static void step(struct bench *b, enum step kind, uint32_t i)
{
    char id[16], customer[16], request[24];
    struct place seats[2];
    snprintf(id, sizeof id, "7H2K%09u", i);
    struct effect f = { .id = span_of(id) };
    switch (kind) {
    case STEP_HOLD:
    case STEP_BOOK:
        snprintf(customer, sizeof customer, "customer-%u", b->customers ? i % b->customers : i);
        order_place(i, seats);
        f.kind = EFFECT_TAKE;
        f.customer = span_of(customer);
        f.places = seats;
        f.places_count = 2;
        f.price = 13000;
        f.version = 1;
        f.until_ms = kind == STEP_HOLD ? b->now + 600000 : 0;
        break;
    case STEP_CONFIRM: f.kind = EFFECT_CONFIRM; break;
    case STEP_CANCEL:
        f.kind = EFFECT_FINISH;
        f.code = ORDER_CANCELLED;
        break;
    case STEP_RESULT:
        snprintf(request, sizeof request, "request-%012u", i);
        f = (struct effect){ .kind = EFFECT_RESULT,
                             .request = span_of(request),
                             .id2 = span_of(id),
                             .args_digest = i + 1 };
        break;
    }
    must(b, &f);
}

static void measure(struct bench *b, const char *name, enum step kind, uint32_t from, uint32_t to)
{
    uint64_t start = now_ns(), cpu = cpu_ns();
    for (uint32_t i = from; i < to; i++) {
        if ((i - from) % BATCH == 0) {
            group_begin(b);
        }
        store_tx_begin(b->s);
        step(b, kind, i);
        store_tx_end(b->s);
        if ((i - from) % BATCH == BATCH - 1 || i + 1 == to) {
            group_end(b);
        }
    }
    double ns = (double)(now_ns() - start) / (to - from);
    printf("{\"bench\":\"store\",\"figure\":\"%s\",\"operations\":%u,\"ns_each\":%.0f,"
           "\"cpu_ns_each\":%.0f,\"per_s\":%.0f}\n",
           name, to - from, ns, (double)(cpu_ns() - cpu) / (to - from), 1e9 / ns);
}

static void measure_takes(struct bench *b, enum step kind, uint32_t from, uint32_t to)
{
    struct store_stats before, after;
    store_stats(b->s, &before);
    size_t heap = heap_bytes();
    measure(b, kind == STEP_BOOK ? "book" : "hold", kind, from, to);
    store_stats(b->s, &after);
    printf("{\"bench\":\"store\",\"figure\":\"bytes_per_order\",\"seats_each\":2,"
           "\"customers\":%u,\"orders\":%u,\"counted\":%.1f,\"allocated\":%.1f}\n",
           b->customers ? b->customers : to - from, to - from,
           (double)(after.bytes - before.bytes) / (to - from),
           (double)(heap_bytes() - heap) / (to - from));
}

static void orders(struct bench *b, uint32_t count)
{
    b->customers = 1000;
    measure_takes(b, STEP_BOOK, 0, count / 2);
    b->customers = 0;
    measure_takes(b, STEP_HOLD, count / 2, count);
    measure(b, "confirm", STEP_CONFIRM, count / 2, count);
    measure(b, "remember_result", STEP_RESULT, 0, count);
    measure(b, "cancel", STEP_CANCEL, count - count / 4, count);
}

/* A batch as a follower gets it: decode, check, apply, commit. */
static void apply_entries(void)
{
    struct bench leader = fill(2, false), follower = fill(2, false);
    uint32_t count = 2 * EVENT_SEATS / 2, done = 0;
    uint64_t spent = 0;
    struct buf entry = BUF_INIT;
    struct error e = { 0 };
    while (done < count) {
        buf_clear(&entry);
        entry_begin(&entry, leader.now + 1, store_digest(leader.s), 1);
        group_begin(&leader);
        uint32_t n = count - done < BATCH ? count - done : BATCH;
        for (uint32_t i = 0; i < n; i++) {
            store_tx_begin(leader.s);
            step(&leader, STEP_BOOK, done + i);
            step(&leader, STEP_RESULT, done + i);
            entry_add(&entry, &(struct entry_tx){ .command = span_of("book"),
                                                  .effects = store_tx_effects(leader.s) });
            store_tx_end(leader.s);
        }
        group_end(&leader);
        entry_end(&entry, n);
        done += n;
        uint64_t start = cpu_ns();
        if (entry_apply(follower.s, entry.data, entry.len, leader.index, &e) != 0) {
            die("entry_apply", &e);
        }
        store_group_commit(follower.s);
        spent += cpu_ns() - start;
    }
    if (store_digest(leader.s) != store_digest(follower.s)) {
        die("digests differ", NULL);
    }
    printf("{\"bench\":\"store\",\"figure\":\"apply_booking\",\"operations\":%u,\"batch\":%u,"
           "\"cpu_ns_each\":%.0f,\"entry_bytes_each\":%.1f}\n",
           count, BATCH, (double)spent / count,
           (double)entry.len / (count % BATCH ? count % BATCH : BATCH));
    buf_free(&entry);
    store_free(leader.s);
    store_free(follower.s);
}

/* ---- Snapshots ---------------------------------------------------------------- */

static void snapshot(struct bench *b, double seats)
{
    struct error e = { 0 };
    struct snapshot *snap;
    struct buf out = BUF_INIT;
    bool done = false;
    if (!buf_reserve(&out, (size_t)(seats * 100) + (1u << 20))) { /* no growing in a slice */
        die("out of memory", NULL);
    }
    memset(out.data, 0, out.cap);
    uint64_t start = now_ns(), longest = 0, begun, cpu = cpu_ns(), longest_cpu = 0;
    if (store_snapshot_begin(b->s, &snap, &e) != 0) {
        die("snapshot", &e);
    }
    begun = now_ns() - start;
    for (uint64_t at = now_ns(); !done;) {
        if (store_snapshot_next(snap, SLICE_BYTES, &out, &done, &e) != 0) {
            die("snapshot", &e);
        }
        uint64_t then = now_ns();
        longest = then - at > longest ? then - at : longest;
        at = then;
        uint64_t used = cpu_ns();
        longest_cpu = used - cpu > longest_cpu ? used - cpu : longest_cpu;
        cpu = used;
    }
    store_snapshot_end(snap);
    double total = (double)(now_ns() - start) / 1e6;
    printf("{\"bench\":\"store\",\"figure\":\"snapshot\",\"seats\":%.0f,\"bytes\":%zu,"
           "\"begin_ms\":%.3f,\"longest_slice_ms\":%.3f,\"longest_slice_cpu_ms\":%.3f,"
           "\"total_ms\":%.1f}\n",
           seats, out.len, (double)begun / 1e6, (double)longest / 1e6, (double)longest_cpu / 1e6,
           total);

    struct store_loader *loader = store_load_begin();
    struct store *copy = NULL;
    start = now_ns();
    cpu = cpu_ns();
    if (loader == NULL || store_load_feed(loader, out.data, out.len, &e) != 0 ||
        store_load_end(loader, &copy, &e) != 0) {
        die("load", &e);
    }
    printf("{\"bench\":\"store\",\"figure\":\"load\",\"seats\":%.0f,\"ms\":%.1f,"
           "\"cpu_ms\":%.1f}\n",
           seats, (double)(now_ns() - start) / 1e6, (double)(cpu_ns() - cpu) / 1e6);
    if (store_digest(copy) != store_digest(b->s)) {
        die("the loaded store differs", NULL);
    }
    store_free(copy);
    buf_free(&out);
}

int main(int argc, char **argv)
{
    uint32_t seats = 1000000;
    if (argc == 3 && strcmp(argv[1], "--seats") == 0) {
        seats = (uint32_t)strtoul(argv[2], NULL, 10);
    } else if (argc != 1) {
        seats = 0;
    }
    if (seats < EVENT_SEATS || seats > 50000000) {
        fprintf(stderr, "usage: bench_store [--seats 20000..50000000]\n");
        return 2;
    }
    uint32_t events = seats / EVENT_SEATS;
    seat_memory(events, false);
    seat_memory(events, true);
    apply_entries();
    struct bench b = fill(events, false);
    orders(&b, events * EVENT_SEATS / 4); /* half of the seats */
    snapshot(&b, (double)events * EVENT_SEATS);
    store_free(b.s);
    return 0;
}
