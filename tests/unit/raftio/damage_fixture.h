/* A journal on the simulated disk whose directory can be damaged, restored and opened again. */
#ifndef USHER_TESTS_UNIT_RAFTIO_DAMAGE_FIXTURE_H
#define USHER_TESTS_UNIT_RAFTIO_DAMAGE_FIXTURE_H

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
#include "raftio/journal.h"
#include "raftio/journal_format.h"
#include "sim/env_sim.h"

#define DIR_NAME "/data"
#define SEGMENT  4096

struct fixture {
    struct sim *sim;
    struct env *env;
    struct journal *j;
    struct journal_recovery rec;
    struct journal_options options;
    struct dir_image image;
    unsigned callbacks, want;
    bool closed;
};

static inline void on_fatal(void *arg, const struct error *e)
{
    (void)arg;
    print_error("fatal: %s\n", e->message);
    abort();
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    log_set_level(LOG_NONE);
    f->sim = sim_new(7);
    f->env = sim_env(f->sim, "a:1");
    f->options = (struct journal_options){
        .segment_bytes = SEGMENT, .reserve_bytes = 4096, .fatal = on_fatal, .arg = f
    };
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    dir_image_free(&f->image);
    sim_free(f->sim);
    free(f);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

static inline int try_open(struct fixture *f, struct error *e)
{
    *e = (struct error){ 0 };
    return journal_open(f->env, DIR_NAME, &f->options, &f->j, &f->rec, e);
}

static inline void open_ok(struct fixture *f)
{
    struct error e;
    if (try_open(f, &e) != 0) {
        fail_msg("open: %s", e.message);
    }
}

static inline void on_closed(void *arg) { *(bool *)arg = true; }

static inline bool is_true(void *arg) { return *(bool *)arg; }

static inline void close_journal(struct fixture *f)
{
    f->closed = false;
    journal_release_recovery(f->j, &f->rec);
    journal_close(f->j, on_closed, &f->closed);
    assert_true(sim_run_until(f->sim, 10000, is_true, &f->closed));
}

static inline void on_done(void *arg, int status)
{
    struct fixture *f = arg;
    assert_int_equal(status, 0);
    f->callbacks++;
}

static inline bool all_done(void *arg)
{
    struct fixture *f = arg;
    return f->callbacks == f->want;
}

static inline void settle(struct fixture *f)
{
    assert_true(sim_run_until(f->sim, 900, all_done, f));
}

/* Entry i holds its index and term in text, so any mix-up shows. */
static inline size_t entry_text(char out[64], uint64_t index, uint64_t term)
{
    return (size_t)snprintf(out, 64, "entry %llu of term %llu%.*s", (unsigned long long)index,
                            (unsigned long long)term, (int)(index % 13), "-------------");
}

static inline void append(struct fixture *f, uint64_t from, uint64_t to, uint64_t term)
{
    static char texts[64][64];
    struct journal_entry entries[64];
    size_t n = 0;
    for (uint64_t i = from; i < to; i++, n++) {
        entries[n] = (struct journal_entry){
            .term = term, .type = 1, .data = texts[n], .len = entry_text(texts[n], i, term)
        };
    }
    f->want++;
    journal_append(f->j, from, entries, n, on_done, f);
    settle(f);
}

/* Entries from..to are there with this term. */
static inline void check(struct fixture *f, uint64_t from, uint64_t to, uint64_t term)
{
    assert_true(f->rec.first_index <= from);
    assert_true(f->rec.first_index + f->rec.entries_count >= to);
    for (uint64_t i = from; i < to; i++) {
        char text[64];
        size_t len = entry_text(text, i, term);
        const struct journal_entry *e = &f->rec.entries[i - f->rec.first_index];
        assert_int_equal(e->term, term);
        assert_int_equal(e->len, len);
        assert_memory_equal(e->data, text, len);
    }
}

static inline uint64_t last_index(const struct fixture *f)
{
    return f->rec.first_index + f->rec.entries_count - 1;
}

static inline void path_of(char out[128], const char *name)
{
    (void)snprintf(out, 128, "%s/%s", DIR_NAME, name);
}

static inline void overwrite(struct fixture *f, const char *name, uint64_t at, const void *data,
                             size_t len)
{
    char path[128];
    struct env_file *file;
    path_of(path, name);
    assert_int_equal(f->env->ops->file_open(f->env, path, ENV_WRITE, &file, NULL), 0);
    assert_int_equal(f->env->ops->file_write(file, at, data, len, NULL), 0);
    assert_int_equal(f->env->ops->file_sync(file, NULL), 0);
    f->env->ops->file_close(file);
}

/* A bit of each byte in turn; of a version never its only one, which would make none of it. */
static inline void flip(struct fixture *f, const char *name, uint64_t at)
{
    char path[128];
    path_of(path, name);
    assert_true(sim_flip_bit(f->env, path, at, (unsigned)((at + 1) % 8)));
}

/* The file is zero from `at` on. */
static inline void clear_from(struct fixture *f, const char *name, uint64_t at)
{
    char path[128];
    uint64_t size = 0;
    struct env_file *file = NULL;
    struct error e = { 0 };
    path_of(path, name);
    assert_int_equal(f->env->ops->file_open(f->env, path, ENV_READ | ENV_WRITE, &file, &e), 0);
    assert_int_equal(f->env->ops->file_size(file, &size, &e), 0);
    uint8_t *zeros = calloc(1, size);
    assert_int_equal(f->env->ops->file_write(file, at, zeros, size - at, &e), 0);
    assert_int_equal(f->env->ops->file_sync(file, &e), 0);
    f->env->ops->file_close(file);
    free(zeros);
}

static inline void restore(struct fixture *f) { dir_image_store(&f->image, f->env, DIR_NAME); }

static inline void take_image(struct fixture *f)
{
    dir_image_free(&f->image);
    dir_image_load(&f->image, f->env, DIR_NAME);
}

static inline void remove_file(struct fixture *f, const char *name)
{
    char path[128];
    path_of(path, name);
    assert_int_equal(f->env->ops->remove(f->env, path, NULL), 0);
}

/* Refused with ERR_CORRUPT, naming the file (or its directory), and leaving every byte as
 * it was. */
static inline void expect_refused(struct fixture *f, const char *name, uint64_t at)
{
    struct error e;
    int rc = try_open(f, &e);
    if (rc != ERR_CORRUPT) {
        fail_msg("%s, byte %llu: open gave %d (%s)", name, (unsigned long long)at, rc, e.message);
    }
    assert_non_null(strstr(e.message, name));
    assert_true(e.hint[0] != 0);
}

static inline void expect_refused_flip(struct fixture *f, const char *name, uint64_t at)
{
    flip(f, name, at);
    expect_refused(f, name, at);
    flip(f, name, at);
}

/* Three segments with truncations and votes; closed well, or its image taken while it still
 * runs, so that the mark lags behind. */
static inline void build(struct fixture *f, bool closed)
{
    open_ok(f);
    for (uint64_t i = 1; i < 121; i += 3) {
        append(f, i, i + 3, 1);
    }
    journal_truncate(f->j, 81);
    append(f, 81, 101, 2);
    struct journal_snapshot_writer *w = journal_snapshot_create(f->j, 10, 1, span_of("members"));
    struct buf b = BUF_INIT;
    for (int i = 0; i < 100; i++) {
        buf_printf(&b, "line %d\n", i);
    }
    journal_snapshot_write(w, &b, NULL, NULL);
    f->want += 2;
    journal_snapshot_finish(w, on_done, f);
    journal_set_vote(f->j, 5, 77, on_done, f);
    settle(f);
    append(f, 101, 104, 2);
    append(f, 104, 105, 2); /* the last range: one record */
    if (closed) {
        close_journal(f);
        take_image(f);
    } else {
        take_image(f);
        close_journal(f);
        restore(f);
    }
}

static inline const uint8_t *file_data(const struct fixture *f, const char *name, size_t *len)
{
    int i = dir_image_find(&f->image, name);
    assert_true(i >= 0);
    *len = f->image.files[i].len;
    return f->image.files[i].data;
}

/* The last segment that holds anything, and where its last non-zero byte ends. */
static inline const char *last_segment(const struct fixture *f, size_t *used)
{
    const char *best = NULL;
    for (size_t i = 0; i < f->image.count; i++) {
        const char *name = f->image.files[i].name;
        size_t len = f->image.files[i].len;
        while (len > 0 && f->image.files[i].data[len - 1] == 0) {
            len--;
        }
        if (strncmp(name, "log-", 4) == 0 && len > 0 && (best == NULL || strcmp(name, best) > 0)) {
            best = name;
            *used = (len + 7) & ~(size_t)7;
        }
    }
    assert_non_null(best);
    return best;
}

static inline size_t last_record_bytes(void)
{
    char text[64];
    return record_bytes(entry_text(text, 104, 2));
}

#endif
