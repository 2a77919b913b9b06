/* The journal on a real disk: round trips, order of callbacks, group commit, reopening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raftio/env_uv.h"
#include "raftio/journal.h"

#define DEADLINE_MS 20000

/* A table that counts syncs and forwards everything to the libuv env. */
static const struct env_ops *real;
static struct env_ops counting_ops;
static _Atomic unsigned syncs, writes, allocations;

static int count_sync(struct env_file *f, struct error *e)
{
    syncs++;
    return real->file_sync(f, e);
}

static int count_write(struct env_file *f, uint64_t at, const void *data, size_t len,
                       struct error *e)
{
    writes++;
    return real->file_write(f, at, data, len, e);
}

static int count_allocate(struct env_file *f, uint64_t bytes, struct error *e)
{
    allocations++;
    return real->file_allocate(f, bytes, e);
}

struct fixture {
    uv_loop_t loop;
    struct env *env;
    char root[64], dir[96];
    struct journal *j;
    struct journal_recovery rec;
    bool fatal, closed;
    unsigned callbacks; /* so far */
    unsigned order_errors, status_errors;
    struct journal_options options;
};

static void on_fatal(void *arg, const struct error *e)
{
    struct fixture *f = arg;
    print_error("fatal: %s\n", e->message);
    f->fatal = true;
}

static void open_ok(struct fixture *f)
{
    struct error e = { 0 };
    if (journal_open(f->env, f->dir, &f->options, &f->j, &f->rec, &e) != 0) {
        fail_msg("open: %s", e.message);
    }
}

static void release(struct fixture *f) { journal_release_recovery(f->j, &f->rec); }

static void on_closed(void *arg) { *(bool *)arg = true; }

static void run_until(struct fixture *f, const bool *flag)
{
    uint64_t end = f->env->ops->mono_ms(f->env) + DEADLINE_MS;
    while (!*flag) {
        assert_true(f->env->ops->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void run_until_callbacks(struct fixture *f, unsigned n)
{
    uint64_t end = f->env->ops->mono_ms(f->env) + DEADLINE_MS;
    while (f->callbacks < n) {
        assert_true(f->env->ops->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
}

static void close_journal(struct fixture *f)
{
    f->closed = false;
    release(f);
    journal_close(f->j, on_closed, &f->closed);
    assert_false(f->closed);
    run_until(f, &f->closed);
    f->j = NULL;
}

static void reopen(struct fixture *f)
{
    close_journal(f);
    open_ok(f);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error e = { 0 };
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(env_uv_new(&f->loop, &f->env, &e), 0);
    real = f->env->ops;
    counting_ops = *real;
    counting_ops.file_sync = count_sync;
    counting_ops.file_write = count_write;
    counting_ops.file_allocate = count_allocate;
    f->env->ops = &counting_ops;
    assert_int_equal(real->make_dir(f->env, "build/tmp", &e), 0);
    (void)snprintf(f->root, sizeof f->root, "build/tmp/journal-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    (void)snprintf(f->dir, sizeof f->dir, "%s/node/data", f->root);
    f->options = (struct journal_options){
        .segment_bytes = 64 * 1024, .reserve_bytes = 4096, .fatal = on_fatal, .arg = f
    };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->j != NULL) {
        close_journal(f);
    }
    env_uv_free(f->env);
    (void)uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", f->root);
    assert_int_equal(system(command), 0);
    assert_false(f->fatal);
    assert_int_equal(f->order_errors, 0);
    assert_int_equal(f->status_errors, 0);
    assert_int_equal(mem_test_live(), 0);
    free(f);
    return 0;
}

/* ---- Entries that can be told from each other ------------------------------------- */

static uint8_t pattern[1 << 20];

static size_t entry_len(uint64_t index) { return (size_t)(index * 37 % 500); }

static const void *entry_data(uint64_t index, uint64_t term)
{
    if (pattern[1] == 0) {
        for (size_t i = 0; i < sizeof pattern; i++) {
            pattern[i] = (uint8_t)(i * 131 + (i >> 8) + 1);
        }
    }
    return pattern + (index * 7 + term * 1001) % 500000;
}

struct waiter {
    struct fixture *f;
    unsigned number;
};

static void on_done(void *arg, int status)
{
    struct waiter *w = arg;
    struct fixture *f = w->f;
    f->status_errors += status != 0;
    f->order_errors += w->number != f->callbacks;
    f->callbacks++;
    free(w);
}

static struct waiter *waiter(struct fixture *f, unsigned number)
{
    struct waiter *w = malloc(sizeof *w);
    *w = (struct waiter){ f, number };
    return w;
}

/* Appends [from, to) of `term` as one call; `calls` counts the calls made so far. */
static void append(struct fixture *f, unsigned *calls, uint64_t from, uint64_t to, uint64_t term)
{
    struct journal_entry entries[64];
    size_t n = 0;
    for (uint64_t i = from; i < to; i++) {
        entries[n++] = (struct journal_entry){ .term = term,
                                               .type = (uint8_t)(1 + i % 3),
                                               .data = entry_data(i, term),
                                               .len = entry_len(i) };
    }
    journal_append(f->j, from, entries, n, on_done, waiter(f, (*calls)++));
}

static void check_entries(struct fixture *f, uint64_t from, uint64_t to, uint64_t term)
{
    assert_true(f->rec.first_index <= from);
    assert_true(f->rec.first_index + f->rec.entries_count >= to);
    for (uint64_t i = from; i < to; i++) {
        const struct journal_entry *e = &f->rec.entries[i - f->rec.first_index];
        assert_int_equal(e->term, term);
        assert_int_equal(e->type, 1 + i % 3);
        assert_int_equal(e->len, entry_len(i));
        assert_memory_equal(e->data, entry_data(i, term), e->len);
    }
}

static uint64_t last_index(const struct fixture *f)
{
    return f->rec.first_index + f->rec.entries_count - 1;
}

/* ---- Tests ------------------------------------------------------------------------------ */

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

/* ---- Snapshots, restart, compaction ------------------------------------------------------- */

struct done {
    bool called;
    int status;
};

static void on_status(void *arg, int status)
{
    struct done *d = arg;
    assert_false(d->called);
    *d = (struct done){ true, status };
}

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

/* ---- Locking and space ------------------------------------------------------------------------
 */

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
    allocate_fails = 0;
    run_until_callbacks(f, calls);
    while (!journal_has_space(f->j)) {
        assert_true(real->mono_ms(f->env) < end);
        (void)uv_run(&f->loop, UV_RUN_ONCE);
    }
    reopen(f);
    check_entries(f, 1, 1001, 1);
}

static void on_refused(void *arg, int status)
{
    struct done *d = arg;
    *d = (struct done){ true, status };
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
    journal_append(f->j, 1, &big, 1, on_refused, &d);
    close_journal(f);
    assert_true(d.called);
    assert_int_equal(d.status, ERR_NOSPACE);
    allocate_fails = 0;
    open_ok(f);
    assert_int_equal(f->rec.entries_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fresh, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity_and_vote, setup, teardown),
        cmocka_unit_test_setup_teardown(test_group_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_append_one_sync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_spare_in_background, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncate_across_segments, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_abandoned, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_part_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_beyond_log, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compact, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_low_space_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk_heals, setup, teardown),
        cmocka_unit_test_setup_teardown(test_close_with_full_disk, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
