/* The journal against crashes and failing disks, on the simulated disk: power loss and kills
 * at any moment, any operation failing, many lives of one directory in a row.
 *
 * The model is the list of records in the order in which they were asked for. After every
 * crash the recovered log must be what some prefix of that list makes, and a prefix that
 * holds everything that was acknowledged; the same for term and vote. Then life goes on
 * from there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal.h"
#include "sim/env_sim.h"

#define DIR_NAME    "/data"
#define ADDRESS     "a:1"
#define STEPS_MAX   20000
#define INDEX_MAX   40000
#define TERMS_MAX   4000
#define PAYLOAD_MAX 400

enum step_kind { STEP_ENTRY, STEP_TRUNCATE, STEP_RESTART };

struct step {
    enum step_kind kind;
    uint64_t index, id;
};

struct world {
    struct sim *sim;
    struct env *env;
    struct journal *j;
    struct journal_options options;
    uint64_t seed;
    unsigned life; /* callbacks of earlier lives say nothing */
    unsigned fatals;
    /* Calls with a callback: all are answered, those of the log in their order, votes in theirs:
     * votes do not wait for space. */
    uint64_t asked, answered, votes_asked, votes_answered;
    bool closed;
    /* The model. base: what the log held at the start of this life. */
    uint64_t base[INDEX_MAX], base_next;
    struct step steps[STEPS_MAX];
    size_t count, acked;
    uint64_t next, next_id;
    uint64_t term, term_acked, votes[TERMS_MAX];
    uint64_t snapshot_started, snapshot_done; /* newest index */
    uint64_t compacted;
    /* Totals, so that a test can tell that it has done something. */
    unsigned acks, cuts, crashes;
};

struct pending {
    struct world *w;
    unsigned life;
    uint64_t number; /* of the call */
    size_t steps;    /* acked when this is done */
    uint64_t term;   /* of a vote */
    uint8_t *data;   /* entries' bytes */
};

static void on_fatal(void *arg, const struct error *e)
{
    struct world *w = arg;
    (void)e;
    w->fatals++;
}

static bool gone(const struct pending *p)
{
    return p->life != p->w->life || sim_is_ghost(p->w->env);
}

static void on_done(void *arg, int status)
{
    struct pending *p = arg;
    struct world *w = p->w;
    bool vote = p->term > 0;
    assert_int_equal(p->number, vote ? ++w->votes_answered : ++w->answered);
    if (!gone(p)) {
        assert_true(status == 0 || w->fatals > 0);
        if (status == 0) {
            assert_true(vote || p->steps >= w->acked);
            w->acked = !vote && p->steps > w->acked ? p->steps : w->acked;
            w->term_acked = p->term > w->term_acked ? p->term : w->term_acked;
            w->acks++;
        }
    }
    free(p->data);
    free(p);
}

/* term: of a vote, else 0. */
static struct pending *pending(struct world *w, uint64_t term)
{
    struct pending *p = calloc(1, sizeof *p);
    *p = (struct pending){ .w = w,
                           .life = w->life,
                           .number = term > 0 ? ++w->votes_asked : ++w->asked,
                           .steps = w->count,
                           .term = term };
    return p;
}

static void add_step(struct world *w, enum step_kind kind, uint64_t index, uint64_t id)
{
    assert_true(w->count < STEPS_MAX && index < INDEX_MAX);
    w->steps[w->count++] = (struct step){ kind, index, id };
}

static size_t payload_len(uint64_t id) { return 8 + (size_t)(id * 31 % (PAYLOAD_MAX - 8)); }

static void payload_fill(uint8_t *out, uint64_t id)
{
    for (size_t i = 0; i < payload_len(id); i++) {
        out[i] = (uint8_t)(i < 8 ? id >> (8 * i) : id + i * 3);
    }
}

static uint64_t payload_id(const struct journal_entry *e)
{
    uint8_t expected[PAYLOAD_MAX];
    uint64_t id = 0;
    assert_true(e->len >= 8);
    for (size_t i = 0; i < 8; i++) {
        id |= (uint64_t)((const uint8_t *)e->data)[i] << (8 * i);
    }
    payload_fill(expected, id);
    assert_int_equal(e->len, payload_len(id));
    assert_memory_equal(e->data, expected, e->len);
    return id;
}

/* ---- What a node does --------------------------------------------------- */

static void do_append(struct world *w, size_t n)
{
    struct journal_entry entries[16];
    uint64_t index = w->next;
    uint8_t *bytes = malloc(n * PAYLOAD_MAX);
    for (size_t i = 0; i < n; i++) {
        uint64_t id = w->next_id++;
        payload_fill(bytes + i * PAYLOAD_MAX, id);
        entries[i] = (struct journal_entry){
            .term = 1, .type = 1, .data = bytes + i * PAYLOAD_MAX, .len = payload_len(id)
        };
        add_step(w, STEP_ENTRY, w->next++, id);
    }
    struct pending *p = pending(w, 0);
    p->data = bytes;
    journal_append(w->j, index, entries, n, on_done, p);
}

static void do_truncate(struct world *w)
{
    uint64_t low = w->snapshot_started > w->compacted ? w->snapshot_started : w->compacted;
    if (w->next <= low + 2) {
        return;
    }
    uint64_t index = low + 1 + sim_rand(w->sim, w->next - low - 1);
    add_step(w, STEP_TRUNCATE, index, 0);
    w->next = index;
    journal_truncate(w->j, index);
}

static void do_vote(struct world *w)
{
    w->term++;
    assert_true(w->term < TERMS_MAX);
    w->votes[w->term] = 1 + sim_rand(w->sim, 3);
    journal_set_vote(w->j, w->term, w->votes[w->term], on_done, pending(w, w->term));
}

struct snapshot {
    struct pending p;
    uint64_t index;
    int status;
    bool done;
};

static void on_snapshot(void *arg, int status)
{
    struct snapshot *s = arg;
    s->done = true;
    s->status = status;
}

static bool snapshot_over(void *arg) { return ((struct snapshot *)arg)->done; }

/* Writes a snapshot and waits for it; false when it failed. */
static bool do_snapshot(struct world *w, uint64_t index)
{
    struct snapshot s = { .index = index };
    struct journal_snapshot_writer *sw = journal_snapshot_create(w->j, index, 1, span_of("meta"));
    assert_non_null(sw);
    w->snapshot_started = index;
    struct buf b = BUF_INIT;
    buf_put(&b, &index, sizeof index);
    for (int i = 0; i < 100; i++) {
        buf_printf(&b, "part %d of the state at %d;", i, (int)index);
    }
    journal_snapshot_write(sw, &b, NULL, NULL);
    journal_snapshot_finish(sw, on_snapshot, &s);
    while (!s.done) {
        assert_true(sim_run_until(w->sim, 10000, snapshot_over, &s));
    }
    if (s.status == 0 && !sim_is_ghost(w->env)) {
        w->snapshot_done = index;
        return true;
    }
    return false;
}

static void do_compact(struct world *w)
{
    if (w->next < w->snapshot_started + 20) {
        return;
    }
    uint64_t index = w->next - 1 - sim_rand(w->sim, 10);
    if (index > w->snapshot_done && do_snapshot(w, index)) {
        w->compacted = index - 5;
        journal_compact(w->j, w->compacted);
    }
}

static void do_install(struct world *w)
{
    uint64_t index = w->next + 5 + sim_rand(w->sim, 20);
    if (!do_snapshot(w, index) || w->fatals > 0 || sim_is_ghost(w->env)) {
        return;
    }
    add_step(w, STEP_RESTART, index, 0);
    w->next = index + 1;
    journal_restart(w->j, index, on_done, pending(w, 0));
}

static void do_something(struct world *w)
{
    switch (sim_rand(w->sim, 24)) {
    case 0: do_truncate(w); break;
    case 1: do_vote(w); break;
    case 2: do_compact(w); break;
    case 3:
        if (sim_rand(w->sim, 4) == 0) {
            do_install(w);
        }
        break;
    default: do_append(w, 1 + sim_rand(w->sim, 6)); break;
    }
}

/* ---- Crash, reopen, compare --------------------------------------------- */

static void on_closed(void *arg) { *(bool *)arg = true; }
static bool is_true(void *arg) { return *(bool *)arg; }

static void wind_down(struct world *w)
{
    if (w->j == NULL) {
        return;
    }
    w->closed = false;
    journal_close(w->j, on_closed, &w->closed);
    assert_true(sim_run_until(w->sim, 60000, is_true, &w->closed));
    w->j = NULL;
}

static void crash(struct world *w)
{
    if (!sim_is_ghost(w->env)) {
        sim_crash(w->env, sim_rand(w->sim, 2) == 0 ? SIM_KILL : SIM_POWER_LOSS);
    }
    w->crashes++;
    w->life++; /* from here on callbacks say nothing */
    wind_down(w);
    w->env = sim_env(w->sim, ADDRESS);
}

/* Does the model after its first `steps` steps look like what was recovered? */
struct view {
    uint64_t ids[INDEX_MAX];
    uint64_t next;
};

static void apply(struct view *v, const struct step *s)
{
    switch (s->kind) {
    case STEP_ENTRY:
        v->ids[s->index] = s->id;
        v->next = s->index + 1;
        break;
    case STEP_TRUNCATE: v->next = s->index; break;
    case STEP_RESTART: v->next = s->index + 1; break;
    }
}

static bool same(const struct view *v, const struct journal_recovery *rec, const uint64_t *ids)
{
    if (rec->first_index + rec->entries_count != v->next) {
        /* A snapshot at or beyond the end of the log empties it. */
        return rec->entries_count == 0 && rec->first_index == rec->snapshot_index + 1 &&
               v->next <= rec->first_index;
    }
    for (size_t i = 0; i < rec->entries_count; i++) {
        if (v->ids[rec->first_index + i] != ids[i]) {
            return false;
        }
    }
    return true;
}

static void compare(struct world *w, const struct journal_recovery *rec)
{
    static struct view v;
    uint64_t *ids = calloc(rec->entries_count + 1, sizeof *ids);
    for (size_t i = 0; i < rec->entries_count; i++) {
        ids[i] = payload_id(&rec->entries[i]);
    }
    memcpy(v.ids, w->base, sizeof v.ids);
    v.next = w->base_next;
    bool found = w->acked == 0 && same(&v, rec, ids);
    size_t at = 0;
    while (!found && at < w->count) {
        apply(&v, &w->steps[at++]);
        found = at >= w->acked && same(&v, rec, ids);
    }
    if (!found) {
        fail_msg("seed %llu: log %llu..%llu is no state from step %zu to %zu (snapshot %llu)",
                 (unsigned long long)w->seed, (unsigned long long)rec->first_index,
                 (unsigned long long)(rec->first_index + rec->entries_count - 1), w->acked,
                 w->count, (unsigned long long)rec->snapshot_index);
    }
    assert_true(rec->snapshot_index >= w->snapshot_done);
    assert_true(rec->snapshot_index <= w->snapshot_started);
    assert_true(rec->first_index <= rec->snapshot_index + 1);
    assert_true(rec->term >= w->term_acked);
    assert_true(rec->term <= w->term);
    assert_int_equal(rec->vote, w->votes[rec->term]);
    w->cuts += rec->cut_bytes > 0;
    /* From here on this is the truth. */
    memset(w->base, 0, sizeof w->base);
    for (size_t i = 0; i < rec->entries_count; i++) {
        w->base[rec->first_index + i] = ids[i];
    }
    w->base_next = w->next = rec->first_index + rec->entries_count;
    w->count = w->acked = 0;
    w->term = w->term_acked = rec->term;
    w->snapshot_started = w->snapshot_done = rec->snapshot_index;
    w->compacted = rec->first_index - 1;
    free(ids);
}

static void check_snapshot(struct world *w)
{
    if (w->snapshot_done == 0) {
        return;
    }
    struct journal_snapshot_reader *r;
    struct buf meta = BUF_INIT;
    struct error e = { 0 };
    uint64_t bytes, index = 0;
    size_t got;
    assert_int_equal(journal_snapshot_open(w->j, w->snapshot_done, 1, &r, &meta, &bytes, &e), 0);
    assert_int_equal(journal_snapshot_read(r, &index, sizeof index, &got, &e), 0);
    assert_int_equal(index, w->snapshot_done);
    char out[512];
    do {
        assert_int_equal(journal_snapshot_read(r, out, sizeof out, &got, &e), 0);
    } while (got > 0);
    journal_snapshot_close(r);
    buf_free(&meta);
}

/* Opens; a fault on the way (and what it leaves) is overcome by crashing and trying again. */
static void reopen(struct world *w)
{
    struct journal_recovery rec;
    struct error e = { 0 };
    for (int tries = 0;; tries++) {
        w->fatals = 0;
        int rc = journal_open(w->env, DIR_NAME, &w->options, &w->j, &rec, &e);
        if (rc == 0 && !sim_is_ghost(w->env)) {
            break;
        }
        if (rc == ERR_CORRUPT || tries > 3) {
            fail_msg("seed %llu: reopen: %s", (unsigned long long)w->seed, e.message);
        }
        if (rc == 0) { /* died, but the call still returned */
            journal_release_recovery(w->j, &rec);
        } else {
            w->j = NULL;
        }
        crash(w);
    }
    sim_fail_at(w->env, SIM_ANY_OP, 0, SIM_FAIL_IO);
    compare(w, &rec);
    check_snapshot(w);
    journal_release_recovery(w->j, &rec);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof *w);
    w->seed = seed;
    w->sim = sim_new(seed);
    w->env = sim_env(w->sim, ADDRESS);
    w->options = (struct journal_options){ .segment_bytes = 4096 + sim_rand(w->sim, 3) * 4096,
                                           .reserve_bytes = 1,
                                           .fatal = on_fatal,
                                           .arg = w };
    w->base_next = w->next = 1;
    w->next_id = 1;
    return w;
}

static void world_free(struct world *w)
{
    w->life++;
    wind_down(w);
    sim_free(w->sim);
    free(w);
    assert_int_equal(mem_test_live(), 0);
}

/* ---- Tests -------------------------------------------------------------- */

static const enum sim_fault faults[] = { SIM_FAIL_IO, SIM_FAIL_NOSPACE, SIM_FAIL_KILL,
                                         SIM_FAIL_POWER };

/* One life: bursts of work until something breaks, or the burst count is over. */
static void live(struct world *w)
{
    if (sim_rand(w->sim, 3) != 0) {
        sim_fail_at(w->env, SIM_ANY_OP, 1 + sim_rand(w->sim, 60), faults[sim_rand(w->sim, 4)]);
    }
    unsigned bursts = 1 + (unsigned)sim_rand(w->sim, 30);
    for (unsigned b = 0; b < bursts && w->fatals == 0 && !sim_is_ghost(w->env); b++) {
        for (uint64_t n = sim_rand(w->sim, 8); n > 0 && !sim_is_ghost(w->env); n--) {
            do_something(w);
        }
        sim_run(w->sim, sim_rand(w->sim, 20) == 0 ? 1500 : sim_rand(w->sim, 4));
    }
}

/* Many lives under random faults: what was acknowledged is never lost, what was not is gone
 * or there but never mixed up, and the journal always opens. */
static void test_random_lives(void **state)
{
    (void)state;
    unsigned acks = 0, cuts = 0, crashes = 0;
    for (uint64_t seed = 1; seed <= 150; seed++) {
        struct world *w = world_new(seed);
        reopen(w);
        for (int life = 0; life < 12; life++) {
            live(w);
            crash(w);
            if (sim_rand(w->sim, 4) == 0) {
                sim_fail_at(w->env, SIM_ANY_OP, 1 + sim_rand(w->sim, 12),
                            faults[sim_rand(w->sim, 4)]);
            }
            reopen(w);
        }
        acks += w->acks;
        cuts += w->cuts;
        crashes += w->crashes;
        world_free(w);
    }
    assert_true(acks > 10000);
    assert_true(cuts > 50);
    assert_true(crashes > 1800);
}

static void scripted(struct world *w)
{
    for (int i = 0; i < 30 && w->fatals == 0 && !sim_is_ghost(w->env); i++) {
        do_append(w, 1 + (size_t)i % 4);
        if (i % 7 == 6) {
            do_truncate(w);
            do_append(w, 2);
        }
        if (i % 9 == 8) {
            do_vote(w);
        }
        if (i == 15) {
            do_compact(w);
        }
        if (i == 22) {
            do_install(w);
        }
        sim_run(w->sim, i == 20 ? 1500 : 5);
    }
    sim_run(w->sim, 3000);
}

/* The n-th file operation fails, for every n from the first open on, in each way: fatal at
 * most once, nothing acknowledged after it, and a reopen after kill or power loss finds all
 * that was acknowledged. */
static void test_every_operation_fails(void **state)
{
    (void)state;
    for (size_t kind = 0; kind < 4; kind++) {
        uint64_t total = 0;
        for (uint64_t n = 1;; n++) {
            struct world *w = world_new(1000 + n);
            struct journal_recovery rec;
            struct error e = { 0 };
            w->options.segment_bytes = 4096;
            sim_fail_at(w->env, SIM_ANY_OP, n, faults[kind]);
            uint64_t before = sim_op_count(w->env, SIM_ANY_OP);
            int rc = journal_open(w->env, DIR_NAME, &w->options, &w->j, &rec, &e);
            if (rc == 0) {
                journal_release_recovery(w->j, &rec);
                scripted(w);
            } else {
                w->j = NULL;
                assert_true(e.code != ERR_CORRUPT && e.message[0] != 0);
            }
            uint64_t used = sim_op_count(w->env, SIM_ANY_OP) - before;
            bool hit = n <= used;
            assert_true(w->fatals <= 1);
            if (rc == 0 && !hit) {
                assert_int_equal(w->fatals, 0);
                assert_int_equal(w->acked, w->count);
            }
            crash(w);
            reopen(w);
            world_free(w);
            total = n;
            if (!hit) {
                break;
            }
        }
        assert_true(total > 60);
    }
}

/* A sync that failed is fatal once; the bytes that the cache still shows afterwards are not
 * taken for durable: what the next life gives out survives a power loss right away. */
static void test_failed_sync_is_not_trusted(void **state)
{
    (void)state;
    struct world *w = world_new(5);
    reopen(w);
    do_append(w, 3);
    sim_run(w->sim, 100);
    assert_int_equal(w->acked, w->count);
    sim_fail_at(w->env, SIM_SYNC, 1, SIM_FAIL_IO);
    do_append(w, 3);
    sim_run(w->sim, 100);
    assert_int_equal(w->fatals, 1);
    w->life++;
    sim_crash(w->env, SIM_KILL); /* the cache survives */
    wind_down(w);
    w->env = sim_env(w->sim, ADDRESS);
    reopen(w);
    w->acked = w->count = 0;
    uint64_t next = w->base_next;
    assert_int_equal(next, 7); /* all six are shown ... */
    w->life++;
    sim_crash(w->env, SIM_POWER_LOSS);
    wind_down(w);
    w->env = sim_env(w->sim, ADDRESS);
    reopen(w);
    assert_int_equal(w->base_next,
                     7); /* ... and were made durable by the open that gave them out */
    world_free(w);
}

static int no_space(struct env_file *f, uint64_t bytes, struct error *e)
{
    (void)f;
    (void)bytes;
    return error_set(e, ERR_NOSPACE, "no space (test)");
}

/* A journal whose next segment cannot be made; `full` is its table of functions meanwhile. */
static struct world *world_without_space(uint64_t seed, struct env_ops *full)
{
    struct world *w = world_new(seed);
    w->options.segment_bytes = 4096;
    reopen(w);
    *full = *w->env->ops;
    full->file_allocate = no_space;
    w->env->ops = full;
    return w;
}

/* Closed while the disk is full, after any number of steps: what fits is written, what needs a
 * segment that cannot be made is given up, and the answers still come in order. */
static void test_close_without_space(void **state)
{
    (void)state;
    for (unsigned steps = 0; steps < 60; steps++) {
        struct env_ops full;
        struct world *w = world_without_space(steps, &full);
        do_append(w, 8); /* over a quarter: the next segment is wanted, in vain */
        while (w->answered == 0) {
            assert_true(sim_step(w->sim));
        }
        do_append(w, 1);
        do_append(w, 16);
        for (unsigned i = 0; i < steps; i++) {
            (void)sim_step(w->sim);
        }
        w->life++;
        wind_down(w);
        assert_int_equal(w->answered, w->asked);
        world_free(w);
    }
}

/* The disk fails while the log waits for space: whoever waits is told at once, else a node that
 * ends for that would wait for ever. */
static void test_failure_without_space(void **state)
{
    (void)state;
    struct env_ops full;
    struct world *w = world_without_space(3, &full);
    do_append(w, 8);
    do_append(w, 16);
    sim_run(w->sim, 100);
    assert_int_equal(w->answered, w->asked - 1); /* the second append needs the next segment */
    sim_fail_at(w->env, SIM_WRITE, 1, SIM_FAIL_IO);
    (void)do_snapshot(w, 3);
    sim_run(w->sim, 100);
    assert_int_equal(w->fatals, 1);
    assert_int_equal(w->answered, w->asked);
    world_free(w);
}

/* Memory running out at any allocation of an open is an error, without a leak. */
static void test_open_without_memory(void **state)
{
    (void)state;
    struct world *w = world_new(9);
    reopen(w);
    do_append(w, 5);
    (void)do_snapshot(w, 3);
    sim_run(w->sim, 100);
    crash(w);
    unsigned failed = 0;
    for (uint64_t n = 1; n < 200; n++) {
        struct journal_recovery rec;
        struct error e = { 0 };
        mem_test_fail_at(n);
        int rc = journal_open(w->env, DIR_NAME, &w->options, &w->j, &rec, &e);
        bool hit = mem_test_count() >= n;
        mem_test_fail_at(0);
        if (rc == 0) {
            journal_release_recovery(w->j, &rec);
            wind_down(w);
        } else {
            assert_int_equal(rc, ERR_NOMEM);
            w->j = NULL;
            failed++;
        }
        if (!hit) {
            break;
        }
    }
    assert_true(failed > 10);
    reopen(w);
    world_free(w);
}

static int quiet(void **state)
{
    (void)state;
    log_set_level(LOG_NONE);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failed_sync_is_not_trusted),
        cmocka_unit_test(test_open_without_memory),
        cmocka_unit_test(test_every_operation_fails),
        cmocka_unit_test(test_close_without_space),
        cmocka_unit_test(test_failure_without_space),
        cmocka_unit_test(test_random_lives),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
