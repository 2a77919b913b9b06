/* Reading a stopped node's directory: what is found, that nothing is changed, and that it ends
 * cleanly whatever fails on the way. */
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
#include "lib/dir_image.h"
#include "raftio/journal_inspect.h"
#include "sim/env_sim.h"

#define DIR     "d"
#define ENTRIES 20

struct world {
    struct sim *sim;
    struct env *env;
    struct dir_image image; /* of the directory, closed */
};

static void on_fatal(void *arg, const struct error *e)
{
    (void)arg;
    fail_msg("fatal: %s", e->message);
}
static void on_status(void *arg, int status)
{
    (void)arg;
    assert_int_equal(status, 0);
}
static void on_closed(void *arg) { *(bool *)arg = true; }

static void fill(struct journal *j)
{
    static const uint8_t data[300] = { 1, 2, 3 };
    journal_set_vote(j, 3, 0, on_status, NULL);
    for (uint64_t i = 1; i <= ENTRIES; i++) {
        journal_append(j, i, &(struct journal_entry){ 3, 1, data, sizeof data }, 1, on_status,
                       NULL);
    }
    struct journal_snapshot_writer *w = journal_snapshot_create(j, 5, 3, span_of("meta"));
    struct buf b = BUF_INIT;
    buf_put(&b, data, sizeof data);
    journal_snapshot_write(w, &b, on_status, NULL);
    journal_snapshot_finish(w, on_status, NULL);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct journal_options o = { .segment_bytes = 4096, .fatal = on_fatal };
    struct journal_recovery rec;
    struct journal *j;
    struct error e = { 0 };
    bool closed = false;
    log_set_level(LOG_NONE);
    w->sim = sim_new(7);
    w->env = sim_env(w->sim, "n:1");
    assert_int_equal(journal_open(w->env, DIR, &o, &j, &rec, &e), 0);
    journal_release_recovery(j, &rec);
    fill(j);
    sim_run(w->sim, 3000);
    journal_close(j, on_closed, &closed);
    sim_run(w->sim, 3000);
    assert_true(closed);
    dir_image_load(&w->image, w->env, DIR);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    dir_image_free(&w->image);
    sim_free(w->sim);
    free(w);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

/* The directory holds what it held after the journal was closed, byte for byte. */
static void assert_untouched(struct world *w)
{
    struct dir_image now = { 0 };
    dir_image_load(&now, w->env, DIR);
    assert_int_equal(now.count, w->image.count);
    for (size_t i = 0; i < now.count; i++) {
        int at = dir_image_find(&w->image, now.files[i].name);
        assert_true(at >= 0 && now.files[i].len == w->image.files[at].len);
        assert_memory_equal(now.files[i].data, w->image.files[at].data, now.files[i].len);
    }
    dir_image_free(&now);
}

/* Everything that was written is found, and nothing is touched. */
static void test_finds_all(void **state)
{
    struct world *w = *state;
    struct journal_inspection in;
    struct error e = { 0 };
    assert_int_equal(journal_inspect(w->env, DIR, &in, &e), 0);
    assert_int_equal(in.damage_count, 0);
    assert_true(in.has_identity && in.has_votes && in.has_log);
    assert_int_equal(in.vote_bad, -1);
    assert_int_equal(in.found.term, 3);
    assert_int_equal(in.found.first_index, 1);
    assert_int_equal(in.found.entries_count, ENTRIES);
    assert_true(in.segments >= 2);
    assert_int_equal(in.snapshots_count, 1);
    assert_true(in.snapshots[0].whole);
    assert_int_equal(in.snapshots[0].bytes, 300);
    assert_int_equal(in.unfinished, 0);
    assert_int_equal(in.others.len, 0);
    journal_inspection_free(&in);
    assert_untouched(w);
}

/* Damage of one kind of file does not hide that of another. */
static void test_tells_all_damage(void **state)
{
    struct world *w = *state;
    struct journal_inspection in;
    struct error e = { 0 };
    assert_true(sim_flip_bit(w->env, DIR "/snapshot-0000000000000005-0000000000000003", 100, 3));
    assert_true(sim_flip_bit(w->env, DIR "/log-0000000000000001", 70, 3));
    assert_true(sim_flip_bit(w->env, DIR "/vote-1", 40, 3));
    assert_int_equal(journal_inspect(w->env, DIR, &in, &e), 0);
    assert_int_equal(in.vote_bad, 1); /* the other copy serves */
    assert_int_equal(in.damage_count, 2);
    assert_non_null(strstr(in.damage[0].message, "log-0000000000000001 at offset 64"));
    assert_non_null(strstr(in.damage[1].message, "snapshot-0000000000000005"));
    assert_non_null(strstr(in.damage[1].hint, "--rebuild"));
    assert_false(in.snapshots[0].whole);
    journal_inspection_free(&in);
    /* The second copy of the vote gone as well: told, and the log is still read. */
    assert_true(sim_flip_bit(w->env, DIR "/vote-0", 40, 3));
    assert_int_equal(journal_inspect(w->env, DIR, &in, &e), 0);
    assert_int_equal(in.damage_count, 3);
    assert_non_null(strstr(in.damage[0].message, "vote-0"));
    journal_inspection_free(&in);
}

/* Memory running out at any allocation is an error or no matter, never a leak or a change. */
static void test_any_allocation_fails(void **state)
{
    struct world *w = *state;
    unsigned failed = 0;
    for (uint64_t n = 1;; n++) {
        struct journal_inspection in;
        struct error e = { 0 };
        int64_t live = mem_test_live();
        mem_test_fail_at(n);
        int rc = journal_inspect(w->env, DIR, &in, &e);
        bool hit = mem_test_count() >= n;
        mem_test_fail_at(0);
        assert_true(rc == 0 || (rc == ERR_NOMEM && e.message[0] != 0));
        assert_true(rc != 0 || in.damage_count == 0); /* no memory is never called damage */
        failed += rc != 0;
        journal_inspection_free(&in);
        assert_int_equal(mem_test_live(), live);
        if (!hit) {
            break;
        }
    }
    assert_true(failed > 10);
    assert_untouched(w);
}

/* A file that the disk cannot read is a finding, and an error only when nothing can be said of
 * the directory. */
static void test_any_open_fails(void **state)
{
    struct world *w = *state;
    unsigned failed = 0;
    for (uint64_t n = 1;; n++) {
        struct journal_inspection in;
        struct error e = { 0 };
        uint64_t before = sim_op_count(w->env, SIM_ANY_OP);
        sim_fail_at(w->env, SIM_ANY_OP, n, SIM_FAIL_IO);
        int rc = journal_inspect(w->env, DIR, &in, &e);
        bool hit = sim_op_count(w->env, SIM_ANY_OP) - before >= n;
        sim_fail_at(w->env, SIM_ANY_OP, 0, SIM_FAIL_IO);
        assert_true(rc == 0 || (hit && rc == ERR_IO));
        assert_int_equal(in.damage_count, rc == 0 && hit ? 1 : 0);
        for (size_t i = 0; i < in.damage_count; i++) {
            assert_non_null(strstr(in.damage[i].hint, "--rebuild"));
        }
        failed += in.damage_count > 0;
        journal_inspection_free(&in);
        if (!hit) {
            break;
        }
    }
    assert_true(failed >= 6);
    assert_untouched(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_finds_all, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tells_all_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_allocation_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_open_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
