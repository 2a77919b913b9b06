/* The journal on a real disk: round trips, order of callbacks, group commit, reopening,
 * locking, a full disk. */
#include "journal_fixture.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* A new directory gets a random identity, which stays; term, vote and log are empty. */
static void test_fresh(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    assert_true(f->rec.fresh);
    assert_int_not_equal(f->rec.identity.node_id, 0);
    assert_int_equal(f->rec.identity.cluster_id, 0);
    assert_int_equal(f->rec.term, 0);
    assert_int_equal(f->rec.entries_count, 0);
    assert_int_equal(f->rec.first_index, 1);
    uint64_t id = f->rec.identity.node_id;
    reopen(f);
    assert_false(f->rec.fresh);
    assert_int_equal(f->rec.identity.node_id, id);
    assert_int_equal(f->rec.entries_count, 0);
    assert_int_equal(f->rec.first_index, 1);
}

/* Entries, over many segments, come back as they were after each of several reopens. */
static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    uint64_t next = 1;
    for (int round = 0; round < 4; round++) {
        open_ok(f);
        assert_int_equal(last_index(f) + 1, next);
        check_entries(f, 1, next, 7);
        release(f);
        unsigned calls = 0;
        f->callbacks = 0;
        for (int i = 0; i < 100; i++) {
            uint64_t to = next + 1 + (uint64_t)(i % 5);
            append(f, &calls, next, to, 7);
            next = to;
            if (i % 10 == 9) {
                run_until_callbacks(f, calls);
            }
        }
        run_until_callbacks(f, calls);
        close_journal(f);
    }
    open_ok(f);
    assert_int_equal(last_index(f) + 1, next);
    check_entries(f, 1, next, 7);
    assert_int_equal(f->rec.cut_bytes, 0);
}

/* Identity, term and vote are there after a reopen, whichever way they were set. */
static void test_identity_and_vote(void **state)
{
    struct fixture *f = *state;
    struct error e = { 0 };
    open_ok(f);
    struct journal_identity id = f->rec.identity;
    id.cluster_id = 0xabcdef;
    (void)snprintf(id.address, sizeof id.address, "a.example:6000");
    assert_int_equal(journal_set_identity(f->j, &id, &e), 0);
    assert_int_equal(journal_set_vote_now(f->j, 3, 11, &e), 0);
    reopen(f);
    assert_int_equal(f->rec.identity.cluster_id, 0xabcdef);
    assert_string_equal(f->rec.identity.address, "a.example:6000");
    assert_int_equal(f->rec.term, 3);
    assert_int_equal(f->rec.vote, 11);
    journal_set_vote(f->j, 4, 0, on_done, waiter(f, 0));
    journal_set_vote(f->j, 4, 12, on_done, waiter(f, 1));
    assert_int_equal(f->callbacks, 0);
    run_until_callbacks(f, 2);
    reopen(f);
    assert_int_equal(f->rec.term, 4);
    assert_int_equal(f->rec.vote, 12);
}

/* What waits while a sync is under way shares the next one: 500 appends need few syncs. */
static void test_group_commit(void **state)
{
    struct fixture *f = *state;
    by_worker = true;
    f->options.segment_bytes = 4 * 1024 * 1024;
    open_ok(f);
    unsigned calls = 0, before = syncs;
    for (uint64_t i = 1; i <= 500; i++) {
        append(f, &calls, i, i + 1, 1);
        if (i % 100 == 0) {
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        }
    }
    run_until_callbacks(f, calls);
    assert_in_range(syncs - before, 1, 12);
    reopen(f);
    check_entries(f, 1, 501, 1);
}

/* One append on an idle journal costs exactly one write and one sync. */
static void test_one_append_one_sync(void **state)
{
    struct fixture *f = *state;
    by_worker = true;
    f->options.segment_bytes = 4 * 1024 * 1024;
    open_ok(f);
    unsigned calls = 0;
    append(f, &calls, 1, 2, 1);
    run_until_callbacks(f, calls);
    for (uint64_t i = 2; i < 20; i++) {
        unsigned s = syncs, w = writes;
        append(f, &calls, i, i + 1, 1);
        while (f->callbacks < calls) {
            (void)uv_run(&f->loop, UV_RUN_ONCE);
        }
        /* The tick may add its own two once a second; never more. */
        assert_in_range(syncs - s, 1, 2);
        assert_in_range(writes - w, 1, 2);
    }
}

/* A small batch is one durable write that needs no worker, wherever in a block it begins and
 * ends; a vote, a large batch and a change of segment are a worker's. All are read back. */
static void test_direct_writes(void **state)
{
    struct fixture *f = *state;
    f->options.segment_bytes = 256 * 1024;
    garble_parts = true;
    open_ok(f);
    unsigned calls = 0;
    uint64_t next = 1;
    for (; next < 60; next++) {
        unsigned before = direct_writes;
        append(f, &calls, next, next + 1, 1);
        run_until_callbacks(f, calls);
        assert_int_equal(direct_writes - before, 1);
    }
    unsigned before = direct_writes;
    for (uint64_t term = 2; term < 6; term++) { /* a worker's and a direct one by turns */
        journal_set_vote(f->j, term, 11, on_done, waiter(f, calls++));
        append(f, &calls, next, next + 1, 1);
        run_until_callbacks(f, calls);
        assert_int_equal(direct_writes - before, term - 2);
        append(f, &calls, next + 1, next + 2, 1);
        run_until_callbacks(f, calls);
        next += 2;
    }
    before = direct_writes;
    for (int many = 0; many < 12; many++) { /* 170 KiB together */
        append(f, &calls, next, next + 60, 1);
        next += 60;
    }
    run_until_callbacks(f, calls);
    assert_int_equal(direct_writes - before, 0);
    for (int i = 0; i < 400; i++) { /* over the segment's end, record by record */
        append(f, &calls, next, next + 1, 1);
        next++;
        run_until_callbacks(f, calls);
    }
    assert_int_equal(direct_writes - before, 399); /* one of them did not fit any more */
    reopen(f);
    assert_int_equal(last_index(f), next - 1);
    check_entries(f, 1, next, 1);
    release(f);
    append(f, &calls, next, next + 1, 1); /* in the block that was read at opening */
    run_until_callbacks(f, calls);
    reopen(f);
    check_entries(f, 1, next + 1, 1);
}

/* The next segment is prepared before it is needed, one at a time. */
static void test_spare_in_background(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    unsigned before = allocations;
    uint64_t i = 1;
    while (allocations == before) {
        append(f, &calls, i, i + 1, 1);
        run_until_callbacks(f, calls);
        i++;
    }
    assert_in_range(i, 40, 100); /* 64 KiB hold some 230 of these */
    for (; i < 1000; i++) {
        append(f, &calls, i, i + 1, 1);
        run_until_callbacks(f, calls);
    }
    assert_in_range(allocations - before, 4, 6);
    reopen(f);
    check_entries(f, 1, 1000, 1);
}

/* A truncation is ordered before the append that follows; past the end it does nothing. */
static void test_truncate(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    append(f, &calls, 1, 21, 1);
    journal_truncate(f->j, 50);
    journal_truncate(f->j, 21);
    journal_truncate(f->j, 11);
    append(f, &calls, 11, 16, 2);
    journal_truncate(f->j, 14);
    append(f, &calls, 14, 20, 3);
    run_until_callbacks(f, calls);
    reopen(f);
    assert_int_equal(last_index(f), 19);
    check_entries(f, 1, 11, 1);
    check_entries(f, 11, 14, 2);
    check_entries(f, 14, 20, 3);
    release(f);
    journal_truncate(f->j, 15); /* nothing behind it: still durable after a clean close */
    reopen(f);
    assert_int_equal(last_index(f), 14);
}

/* Truncation across segments: the entries of later segments are void, and new ones follow. */
static void test_truncate_across_segments(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    for (uint64_t i = 1; i < 601; i += 10) {
        append(f, &calls, i, i + 10, 1);
        run_until_callbacks(f, calls);
    }
    journal_truncate(f->j, 100);
    append(f, &calls, 100, 101, 2);
    for (uint64_t i = 101; i < 701; i += 10) {
        append(f, &calls, i, i + 10, 2);
    }
    run_until_callbacks(f, calls);
    reopen(f);
    assert_int_equal(last_index(f), 700);
    check_entries(f, 1, 100, 1);
    check_entries(f, 100, 701, 2);
}

/* One append larger than a segment gets a segment of its own size. */
static void test_large_entry(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    unsigned calls = 0;
    append(f, &calls, 1, 3, 1);
    struct journal_entry big = { .term = 1, .type = 1, .data = entry_data(3, 1), .len = 400000 };
    journal_append(f->j, 3, &big, 1, on_done, waiter(f, calls++));
    append(f, &calls, 4, 6, 1);
    struct journal_entry bigger = { .term = 1, .type = 1, .data = entry_data(6, 1), .len = 500000 };
    journal_append(f->j, 6, &bigger, 1, on_done, waiter(f, calls++));
    run_until_callbacks(f, calls);
    reopen(f);
    assert_int_equal(last_index(f), 6);
    check_entries(f, 1, 3, 1);
    check_entries(f, 4, 6, 1);
    assert_int_equal(f->rec.entries[2].len, 400000);
    assert_memory_equal(f->rec.entries[2].data, big.data, big.len);
    assert_int_equal(f->rec.entries[5].len, 500000);
    assert_memory_equal(f->rec.entries[5].data, bigger.data, bigger.len);
}

/* ---- kill -9 --------------------------------------------------------------- */

struct killed {
    int pipe;
    uint64_t next;
    struct fixture *f;
};

static void report_and_go_on(void *arg, int status)
{
    struct killed *k = arg;
    uint64_t acked = k->next - 1;
    if (status != 0 || write(k->pipe, &acked, sizeof acked) != sizeof acked) {
        _exit(1);
    }
    struct journal_entry entries[3];
    for (uint64_t i = 0; i < 3; i++) {
        entries[i] = (struct journal_entry){ .term = 1,
                                             .type = (uint8_t)(1 + (k->next + i) % 3),
                                             .data = entry_data(k->next + i, 1),
                                             .len = entry_len(k->next + i) };
    }
    journal_append(k->f->j, k->next, entries, 3, report_and_go_on, k);
    k->next += 3;
}

/* A process of its own that appends and says what was acknowledged, until it is killed. */
static int child_appends(const char *dir, int pipe)
{
    static struct fixture f;
    struct error e = { 0 };
    struct killed k = { .pipe = pipe, .f = &f };
    f.options = (struct journal_options){ .segment_bytes = 64 * 1024, .reserve_bytes = 4096 };
    (void)alarm(60);
    if (uv_loop_init(&f.loop) != 0 || env_uv_new(&f.loop, &f.env, &e) != 0 ||
        journal_open(f.env, dir, &f.options, &f.j, &f.rec, &e) != 0) {
        return 2;
    }
    k.next = last_index(&f) + 1;
    journal_release_recovery(f.j, &f.rec);
    report_and_go_on(&k, 0);
    (void)uv_run(&f.loop, UV_RUN_DEFAULT);
    return 3;
}

/* A process killed in the middle of its appends, again and again, loses nothing that it
 * had said was durable. */
static void test_kill(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 15; round++) {
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            char fd[16];
            (void)snprintf(fd, sizeof fd, "%d", fds[1]);
            (void)close(fds[0]);
            (void)execl("/proc/self/exe", "test_journal", f->dir, fd, (char *)NULL);
            _exit(4);
        }
        (void)close(fds[1]);
        uint64_t acked = 0, seen;
        for (int n = 0; n < 3 + round * 7; n++) {
            assert_int_equal(read(fds[0], &acked, sizeof acked), sizeof acked);
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        while (read(fds[0], &seen, sizeof seen) == sizeof seen) {
            acked = seen;
        }
        (void)close(fds[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        open_ok(f);
        assert_true(last_index(f) >= acked);
        check_entries(f, 1, last_index(f) + 1, 1);
        close_journal(f);
    }
}

/* ---- Locking and space -------------------------------------------------- */

/* A directory in use is refused to a second open, in this process and in another. */
static void test_lock(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    struct journal *second;
    struct journal_recovery rec;
    struct error e = { 0 };
    assert_int_equal(journal_open(f->env, f->dir, &f->options, &second, &rec, &e), ERR_CONFLICT);
    assert_non_null(strstr(e.message, "in use by a running node"));
    assert_non_null(strstr(e.hint, "--data"));
    pid_t child = fork();
    if (child == 0) {
        _exit(journal_open(f->env, f->dir, &f->options, &second, &rec, &e) == ERR_CONFLICT ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static uint64_t fake_free;
static int allocate_fails;

static int fake_free_bytes(struct env *env, const char *path, uint64_t *bytes, struct error *e)
{
    (void)env;
    (void)path;
    (void)e;
    *bytes = fake_free;
    return 0;
}

static int full_allocate(struct env_file *f, uint64_t bytes, struct error *e)
{
    return allocate_fails ? error_set(e, ERR_NOSPACE, "no space (test)")
                          : real->file_allocate(f, bytes, e);
}

/* Little free space is said early and taken back when there is room again. */
static void test_low_space_heals(void **state)
{
    struct fixture *f = *state;
    fake_free = 10ull * 1024 * 1024;
    counting_ops.free_bytes = fake_free_bytes;
    open_ok(f);
    assert_true(journal_has_space(f->j));
    fake_free = 1000;
    uint64_t end = real->mono_ms(f->env) + DEADLINE_MS;
    while (journal_has_space(f->j)) {
        assert_true(real->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    fake_free = 10ull * 1024 * 1024;
    while (!journal_has_space(f->j)) {
        assert_true(real->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

/* When no segment can be made, what needs it waits, nothing is fatal, and it goes on by
 * itself when space returns. */
static void test_full_disk_heals(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    counting_ops.file_allocate = full_allocate;
    allocate_fails = 1;
    unsigned calls = 0;
    for (uint64_t i = 1; i < 1001; i += 10) {
        append(f, &calls, i, i + 10, 1);
    }
    uint64_t end = real->mono_ms(f->env) + DEADLINE_MS;
    while (journal_has_space(f->j)) {
        assert_true(real->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_true(f->callbacks < calls);
    struct done voted = { 0 };
    journal_set_vote(f->j, 2, 7, on_status, &voted); /* needs no space: it waits for nobody */
    while (!voted.called) {
        assert_true(real->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_int_equal(voted.status, 0);
    allocate_fails = 0;
    run_until_callbacks(f, calls);
    while (!journal_has_space(f->j)) {
        assert_true(real->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    reopen(f);
    check_entries(f, 1, 1001, 1);
}

static int open_busy(struct env *env, const char *path, int flags, struct env_file **out,
                     struct error *e)
{
    return allocate_fails ? error_set(e, ERR_BUSY, "no descriptor (test)")
                          : real->file_open(env, path, flags, out, e);
}

/* Without descriptors what needs the next segment waits, nothing is fatal, the disk is not
 * called full, and it goes on by itself. */
static void test_no_descriptors(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    counting_ops.file_open = open_busy;
    allocate_fails = 1;
    unsigned calls = 0;
    for (uint64_t i = 1; i < 1001; i += 10) {
        append(f, &calls, i, i + 10, 1);
    }
    uint64_t end = real->mono_ms(f->env) + 2500; /* two ticks */
    while (real->mono_ms(f->env) < end) {
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    assert_true(f->callbacks < calls);
    assert_true(journal_has_space(f->j));
    allocate_fails = 0;
    run_until_callbacks(f, calls);
    reopen(f);
    check_entries(f, 1, 1001, 1);
}

/* Closing with a full disk does not hang: what waits is answered with NOSPACE. */
static void test_close_with_full_disk(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    counting_ops.file_allocate = full_allocate;
    allocate_fails = 1;
    struct journal_entry big = { .term = 1, .type = 1, .data = entry_data(1, 1), .len = 400000 };
    struct done d = { 0 };
    journal_append(f->j, 1, &big, 1, on_status, &d);
    close_journal(f);
    assert_true(d.called);
    assert_int_equal(d.status, ERR_NOSPACE);
    allocate_fails = 0;
    open_ok(f);
    assert_int_equal(f->rec.entries_count, 0);
}

int main(int argc, char **argv)
{
    if (argc == 3) { /* test_kill starts itself again */
        return child_appends(argv[1], atoi(argv[2]));
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fresh, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity_and_vote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_append_one_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_direct_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spare_in_background, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncate_across_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_low_space_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_with_full_disk, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
