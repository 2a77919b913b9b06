/* A journal on a real disk, driven by the libuv env with counted syncs, and entries that can
 * be told from each other. */
#ifndef USHER_TESTS_UNIT_RAFTIO_JOURNAL_FIXTURE_H
#define USHER_TESTS_UNIT_RAFTIO_JOURNAL_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "raftio/env_uv.h"
#include "raftio/journal.h"

#define DEADLINE_MS 20000

/* A table that counts syncs and forwards everything to the libuv env. */
static const struct env_ops *real;
static struct env_ops counting_ops;
static _Atomic unsigned syncs, writes, allocations;
static unsigned direct_writes; /* handed over as such */
static bool garble_parts;
static bool by_worker; /* every write by a worker, so that syncs and writes count it */

static void count_job(struct env *env, struct env_job *job)
{
    direct_writes += job->write != NULL;
    if (by_worker) {
        job->write = NULL;
    }
    real->job(env, job);
}

static int count_sync(struct env_file *f, struct error *e)
{
    syncs++;
    return real->file_sync(f, e);
}

/* With garble_parts: whoever reads a part of a segment, after all of it has been read and
 * checked, is given other bytes than were checked. Some disks do that, and then also to the kernel,
 * which reads the rest of a block of which a part is written. */
static int garble_part(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                       struct error *e)
{
    uint64_t size = 0;
    int rc = real->file_read(f, at, out, len, got, e);
    rc = rc != 0 ? rc : real->file_size(f, &size, e);
    if (rc == 0 && garble_parts && *got > 0 && size >= 64 * 1024 && len < size) {
        *(uint8_t *)out ^= 1;
    }
    return rc;
}

static int count_write(struct env_file *f, uint64_t at, const void *data, size_t len,
                       struct error *e)
{
    uint64_t size = 0;
    size_t got = 0;
    uint8_t before;
    writes++;
    int rc = real->file_size(f, &size, e);
    if (rc == 0 && garble_parts && size >= 64 * 1024 && at % 4096 != 0) {
        rc = garble_part(f, at - 1, &before, 1, &got, e);
        rc = rc != 0 ? rc : real->file_write(f, at - 1, &before, 1, e);
    }
    return rc != 0 ? rc : real->file_write(f, at, data, len, e);
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
    by_worker = garble_parts = false;
    counting_ops.job = count_job;
    counting_ops.file_read = garble_part;
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

/* ---- Entries that can be told from each other --------------------------- */

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

#endif
