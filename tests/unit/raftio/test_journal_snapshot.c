/* The journal's snapshots, restart and compaction, on a real disk. */
#include "journal_fixture.h"

static void put_snapshot(struct fixture *f, uint64_t index, uint64_t term, size_t bytes)
{
    struct journal_snapshot_writer *w =
        journal_snapshot_create(f->j, index, term, span_of("configuration"));
    assert_non_null(w);
    struct done part = { 0 }, end = { 0 };
    for (size_t at = 0; at < bytes;) {
        size_t len = bytes - at < 300001 ? bytes - at : 300001;
        struct buf b = BUF_INIT;
        buf_put(&b, (const uint8_t *)entry_data(index, term) + at % 1000, len);
        part.called = false;
        journal_snapshot_write(w, &b, on_status, &part);
        assert_null(b.data);
        assert_false(part.called);
        run_until(f, &part.called);
        assert_int_equal(part.status, 0);
        at += len;
    }
    journal_snapshot_finish(w, on_status, &end);
    run_until(f, &end.called);
    assert_int_equal(end.status, 0);
}

static void check_snapshot(struct fixture *f, uint64_t index, uint64_t term, size_t bytes)
{
    struct journal_snapshot_reader *r;
    struct buf meta = BUF_INIT;
    struct error e = { 0 };
    uint64_t total;
    assert_int_equal(journal_snapshot_open(f->j, index, term, &r, &meta, &total, &e), 0);
    assert_int_equal(total, bytes);
    assert_int_equal(meta.len, 13);
    assert_memory_equal(meta.data, "configuration", 13);
    uint8_t *out = malloc(bytes + 1);
    size_t have = 0;
    for (;;) {
        size_t got, want = bytes + 1 - have < 77777 ? bytes + 1 - have : 77777;
        assert_int_equal(journal_snapshot_read(r, out + have, want, &got, &e), 0);
        if (got == 0) {
            break;
        }
        have += got;
    }
    assert_int_equal(have, bytes);
    for (size_t at = 0; at < bytes;) {
        size_t len = bytes - at < 300001 ? bytes - at : 300001;
        assert_memory_equal(out + at, (const uint8_t *)entry_data(index, term) + at % 1000, len);
        at += len;
    }
    free(out);
    journal_snapshot_close(r);
    buf_free(&meta);
}

static int count_files(const struct fixture *f, const char *glob)
{
    char command[256], text[32] = "";
    (void)snprintf(command, sizeof command, "ls %s/%s 2>/dev/null | wc -l", f->dir, glob);
    FILE *p = popen(command, "r");
    assert_non_null(fgets(text, sizeof text, p));
    (void)pclose(p);
    return atoi(text);
}

/* Snapshots of several sizes come back as written; the newest two stay. */
static void test_snapshots(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    append(f, &calls, 1, 41, 1);
    run_until_callbacks(f, calls);
    put_snapshot(f, 10, 1, 0);
    check_snapshot(f, 10, 1, 0);
    put_snapshot(f, 20, 1, 1);
    put_snapshot(f, 30, 1, 3000000);
    check_snapshot(f, 20, 1, 1);
    check_snapshot(f, 30, 1, 3000000);
    assert_int_equal(count_files(f, "snapshot-*"), 2);
    reopen(f);
    assert_int_equal(f->rec.snapshot_index, 30);
    assert_int_equal(f->rec.snapshot_term, 1);
    assert_int_equal(last_index(f), 40);
    check_snapshot(f, 30, 1, 3000000);
}

/* An abandoned snapshot leaves nothing behind, at any stage; closing waits for it. */
static void test_snapshot_abandoned(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    struct journal_snapshot_writer *w = journal_snapshot_create(f->j, 5, 1, span_of("x"));
    journal_snapshot_abandon(w);
    w = journal_snapshot_create(f->j, 5, 1, span_of("x"));
    struct buf b = BUF_INIT;
    buf_put_str(&b, "some bytes");
    struct done d = { 0 };
    journal_snapshot_write(w, &b, on_status, &d);
    journal_snapshot_abandon(w);
    close_journal(f);
    assert_true(d.called);
    assert_int_equal(count_files(f, "snapshot-*"), 0);
}

static bool no_descriptor;

static int open_busy(struct env *env, const char *path, int flags, struct env_file **out,
                     struct error *e)
{
    return no_descriptor ? error_set(e, ERR_BUSY, "no descriptor (test)")
                         : real->file_open(env, path, flags, out, e);
}

static int sync_dir_busy(struct env *env, const char *path, struct error *e)
{
    return no_descriptor ? error_set(e, ERR_BUSY, "no descriptor (test)")
                         : real->sync_dir(env, path, e);
}

/* Without descriptors a snapshot fails, whether at its first file or at its last step, and
 * nothing else does: the next one is written. */
static void test_snapshot_no_descriptors(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    static int (*const opens[])(struct env *, const char *, int, struct env_file **,
                                struct error *) = { open_busy, NULL };
    for (size_t i = 0; i < 2; i++) {
        struct journal_snapshot_writer *w = journal_snapshot_create(f->j, 5, 1, span_of("x"));
        struct done end = { 0 };
        counting_ops.file_open = opens[i] != NULL ? opens[i] : real->file_open;
        counting_ops.sync_dir = sync_dir_busy;
        no_descriptor = true;
        journal_snapshot_finish(w, on_status, &end);
        run_until(f, &end.called);
        assert_int_equal(end.status, ERR_BUSY);
        assert_true(journal_has_space(f->j));
        no_descriptor = false;
    }
    unsigned calls = 0;
    append(f, &calls, 1, 41, 1);
    run_until_callbacks(f, calls);
    put_snapshot(f, 10, 1, 1000);
    check_snapshot(f, 10, 1, 1000);
}

/* A part file left by a crash is removed at open and is no snapshot. */
static void test_snapshot_part_file(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    close_journal(f);
    char path[200];
    (void)snprintf(path, sizeof path, "%s/snapshot-%016x-%016x.1.part", f->dir, 9, 1);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs("half", file);
    (void)fclose(file);
    open_ok(f);
    assert_int_equal(f->rec.snapshot_index, 0);
    assert_int_equal(count_files(f, "snapshot-*"), 0);
}

/* After an installed snapshot the log is empty at index + 1 and goes on there. */
static void test_restart(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    for (uint64_t i = 1; i < 601; i += 10) {
        append(f, &calls, i, i + 10, 1);
    }
    put_snapshot(f, 1000, 5, 100);
    journal_restart(f->j, 1000, on_done, waiter(f, calls++));
    append(f, &calls, 1001, 1011, 5);
    run_until_callbacks(f, calls);
    assert_in_range(journal_log_bytes(f->j), 1, 10 * 600);
    reopen(f);
    assert_int_equal(f->rec.snapshot_index, 1000);
    assert_int_equal(f->rec.first_index, 1001);
    assert_int_equal(last_index(f), 1010);
    check_entries(f, 1001, 1011, 5);
    assert_int_equal(count_files(f, "log-*"), 2); /* the old segments are gone */
}

/* A snapshot beyond the log (entries committed and snapshotted before the local append was
 * durable) and one that the log contradicts both make the log restart behind it. */
static void test_snapshot_beyond_log(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    append(f, &calls, 1, 21, 1);
    run_until_callbacks(f, calls);
    put_snapshot(f, 25, 1, 10);
    reopen(f);
    assert_int_equal(f->rec.first_index, 26);
    assert_int_equal(f->rec.entries_count, 0);
    release(f);
    append(f, &calls, 26, 41, 2);
    run_until_callbacks(f, calls);
    put_snapshot(f, 30, 3, 10); /* our entry 30 is of term 2 */
    reopen(f);
    assert_int_equal(f->rec.snapshot_index, 30);
    assert_int_equal(f->rec.first_index, 31);
    assert_int_equal(f->rec.entries_count, 0);
    release(f);
    append(f, &calls, 31, 41, 3);
    run_until_callbacks(f, calls);
    put_snapshot(f, 40, 3, 10); /* the last entry exactly: nothing to restart */
    reopen(f);
    assert_int_equal(f->rec.first_index, 31);
    assert_int_equal(last_index(f), 40);
    check_entries(f, 31, 41, 3);
}

/* Compaction removes whole segments below the index and never an entry above it. */
static void test_compact(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    for (uint64_t i = 1; i < 2001; i += 10) {
        append(f, &calls, i, i + 10, 1);
        run_until_callbacks(f, calls);
    }
    int before = count_files(f, "log-*");
    uint64_t bytes = journal_log_bytes(f->j);
    put_snapshot(f, 1500, 1, 10);
    journal_compact(f->j, 1490);
    assert_true(journal_log_bytes(f->j) < bytes / 2);
    journal_compact(f->j, 5); /* never goes back */
    reopen(f);
    assert_true(count_files(f, "log-*") <= before - 5);
    assert_true(f->rec.first_index > 1 && f->rec.first_index <= 1490);
    assert_int_equal(last_index(f), 2000);
    check_entries(f, f->rec.first_index, 2001, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_abandoned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_no_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_part_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_beyond_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compact, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
