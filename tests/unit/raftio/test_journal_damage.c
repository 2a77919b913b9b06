/* The journal against damaged files: every byte of every file, torn tails at every byte,
 * missing, shortened and foreign files. Runs on the simulated disk, so that "every" is
 * affordable. */
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

static void on_fatal(void *arg, const struct error *e)
{
    (void)arg;
    print_error("fatal: %s\n", e->message);
    abort();
}

static int setup(void **state)
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

static int teardown(void **state)
{
    struct fixture *f = *state;
    dir_image_free(&f->image);
    sim_free(f->sim);
    free(f);
    assert_int_equal(mem_test_live(), 0);
    return 0;
}

static int try_open(struct fixture *f, struct error *e)
{
    *e = (struct error){ 0 };
    return journal_open(f->env, DIR_NAME, &f->options, &f->j, &f->rec, e);
}

static void open_ok(struct fixture *f)
{
    struct error e;
    if (try_open(f, &e) != 0) {
        fail_msg("open: %s", e.message);
    }
}

static void on_closed(void *arg) { *(bool *)arg = true; }

static bool is_true(void *arg) { return *(bool *)arg; }

static void close_journal(struct fixture *f)
{
    f->closed = false;
    journal_release_recovery(f->j, &f->rec);
    journal_close(f->j, on_closed, &f->closed);
    assert_true(sim_run_until(f->sim, 10000, is_true, &f->closed));
}

static void on_done(void *arg, int status)
{
    struct fixture *f = arg;
    assert_int_equal(status, 0);
    f->callbacks++;
}

static bool all_done(void *arg)
{
    struct fixture *f = arg;
    return f->callbacks == f->want;
}

static void settle(struct fixture *f) { assert_true(sim_run_until(f->sim, 900, all_done, f)); }

/* Entry i holds its index and term in text, so any mix-up shows. */
static size_t entry_text(char out[64], uint64_t index, uint64_t term)
{
    return (size_t)snprintf(out, 64, "entry %llu of term %llu%.*s", (unsigned long long)index,
                            (unsigned long long)term, (int)(index % 13), "-------------");
}

static void append(struct fixture *f, uint64_t from, uint64_t to, uint64_t term)
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
static void check(struct fixture *f, uint64_t from, uint64_t to, uint64_t term)
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

static uint64_t last_index(const struct fixture *f)
{
    return f->rec.first_index + f->rec.entries_count - 1;
}

static void path_of(char out[128], const char *name)
{
    (void)snprintf(out, 128, "%s/%s", DIR_NAME, name);
}

static void overwrite(struct fixture *f, const char *name, uint64_t at, const void *data,
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
static void flip(struct fixture *f, const char *name, uint64_t at)
{
    char path[128];
    path_of(path, name);
    assert_true(sim_flip_bit(f->env, path, at, (unsigned)((at + 1) % 8)));
}

/* The file is zero from `at` on. */
static void clear_from(struct fixture *f, const char *name, uint64_t at)
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

static void restore(struct fixture *f) { dir_image_store(&f->image, f->env, DIR_NAME); }

static void take_image(struct fixture *f)
{
    dir_image_free(&f->image);
    dir_image_load(&f->image, f->env, DIR_NAME);
}

static void remove_file(struct fixture *f, const char *name)
{
    char path[128];
    path_of(path, name);
    assert_int_equal(f->env->ops->remove(f->env, path, NULL), 0);
}

/* Refused with ERR_CORRUPT, naming the file (or its directory), and leaving every byte as
 * it was. */
static void expect_refused(struct fixture *f, const char *name, uint64_t at)
{
    struct error e;
    int rc = try_open(f, &e);
    if (rc != ERR_CORRUPT) {
        fail_msg("%s, byte %llu: open gave %d (%s)", name, (unsigned long long)at, rc, e.message);
    }
    assert_non_null(strstr(e.message, name));
    assert_true(e.hint[0] != 0);
}

static void expect_refused_flip(struct fixture *f, const char *name, uint64_t at)
{
    flip(f, name, at);
    expect_refused(f, name, at);
    flip(f, name, at);
}

/* Three segments with truncations and votes; closed well, or its image taken while it still
 * runs, so that the mark lags behind. */
static void build(struct fixture *f, bool closed)
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

static const uint8_t *file_data(const struct fixture *f, const char *name, size_t *len)
{
    int i = dir_image_find(&f->image, name);
    assert_true(i >= 0);
    *len = f->image.files[i].len;
    return f->image.files[i].data;
}

/* The last segment that holds anything, and where its last non-zero byte ends. */
static const char *last_segment(const struct fixture *f, size_t *used)
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

static size_t last_record_bytes(void)
{
    char text[64];
    return record_bytes(entry_text(text, 104, 2));
}

/* ---- Torn tails --------------------------------------------------------- */

/* A last record of which only the first k bytes reached the disk is cut, for every k, and
 * the log goes on from there. */
static void test_torn_at_every_byte(void **state)
{
    struct fixture *f = *state;
    build(f, false);
    size_t end = 0, size = last_record_bytes();
    const char *name = last_segment(f, &end);
    static const uint8_t zeros[256];
    for (size_t k = 0; k < size - 8; k++) {
        restore(f);
        overwrite(f, name, end - size + k, zeros, size - k);
        open_ok(f);
        assert_int_equal(last_index(f), 103);
        check(f, 1, 81, 1);
        check(f, 81, 104, 2);
        assert_true(f->rec.cut_bytes <= k);
        journal_release_recovery(f->j, &f->rec);
        append(f, 104, 106, 6);
        close_journal(f);
        open_ok(f);
        assert_int_equal(last_index(f), 105);
        check(f, 104, 106, 6);
        assert_int_equal(f->rec.cut_bytes, 0);
        close_journal(f);
    }
}

/* The pages of a last range may reach the disk in any order: whichever of its records is
 * missing, everything from there on is cut, also what is whole behind it, for good. */
static void test_torn_in_any_order(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    append(f, 1, 6, 1);
    append(f, 6, 16, 1); /* one range of ten records */
    take_image(f);
    close_journal(f);
    size_t at = SEGMENT_HEADER_BYTES;
    for (uint64_t i = 1; i < 16; i++) {
        char text[64];
        size_t size = record_bytes(entry_text(text, i, 1));
        if (i >= 6) {
            restore(f);
            flip(f, "log-0000000000000001", at + size / 2);
            open_ok(f);
            assert_int_equal(last_index(f), i - 1);
            assert_true(f->rec.cut_bytes > 0);
            journal_release_recovery(f->j, &f->rec);
            /* An entry of the same size in its place must not revive what stood behind. */
            append(f, i, i + 1, 3);
            close_journal(f);
            open_ok(f);
            assert_int_equal(last_index(f), i);
            close_journal(f);
        }
        at += size;
    }
}

/* The directory is opened with an empty log, which then works like any other. */
static void starts_anew(struct fixture *f)
{
    open_ok(f);
    assert_int_equal(f->rec.entries_count, 0);
    assert_int_equal(f->rec.first_index, 1);
    journal_release_recovery(f->j, &f->rec);
    append(f, 1, 2, 4);
    close_journal(f);
    open_ok(f);
    check(f, 1, 2, 4);
    close_journal(f);
}

/* A first range of which the header is missing leaves an empty log. */
static void test_torn_first_header(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    append(f, 1, 3, 1);
    take_image(f);
    close_journal(f);
    for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES; at++) {
        if (at >= 8 && at < 12) {
            continue; /* the version: refused, tested elsewhere */
        }
        restore(f);
        flip(f, "log-0000000000000001", at);
        starts_anew(f);
    }
}

/* The same when the write of the first header was torn after any word: the rest is zero. (Found by
 * the simulator: a version of 0 was taken for that of a newer program.) */
static void test_first_header_in_part(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    append(f, 1, 3, 1);
    take_image(f);
    close_journal(f);
    for (uint64_t at = 0; at < SEGMENT_HEADER_BYTES; at += 8) {
        restore(f);
        clear_from(f, "log-0000000000000001", at);
        starts_anew(f);
    }
}

/* Rubbish behind the last record (a range that never counted) is cut, nothing else. */
static void test_rubbish_behind_the_end(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    size_t end = 0;
    const char *name = last_segment(f, &end);
    for (size_t at = end; at < SEGMENT; at += 61) {
        restore(f);
        flip(f, name, at);
        open_ok(f);
        assert_int_equal(last_index(f), 104);
        assert_true(f->rec.cut_bytes > 0);
        close_journal(f);
        open_ok(f);
        assert_int_equal(f->rec.cut_bytes, 0);
        close_journal(f);
    }
}

/* ---- Damage ------------------------------------------------------------- */

/* One flipped bit at any byte of a log that was closed well is refused, naming the file;
 * only the zeros behind the last record of all do not matter. */
static void test_flip_every_log_byte(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    size_t end = 0, segments = 0, flips = 0;
    const char *last = last_segment(f, &end);
    for (size_t i = 0; i < f->image.count; i++) {
        const char *name = f->image.files[i].name;
        if (strncmp(name, "log-", 4) != 0 || strcmp(name, last) > 0) {
            continue;
        }
        segments++;
        size_t len = strcmp(name, last) == 0 ? end : f->image.files[i].len;
        for (size_t at = 0; at < len; at++, flips++) {
            expect_refused_flip(f, name, at);
        }
    }
    assert_true(segments >= 3);
    assert_true(flips > 2 * SEGMENT);
    open_ok(f); /* and nothing was changed by all those refusals */
    assert_int_equal(last_index(f), 104);
    close_journal(f);
}

/* The same with a mark that lags behind: the records themselves vouch for all but the last
 * range, which alone may be cut. */
static void test_flip_with_old_mark(void **state)
{
    struct fixture *f = *state;
    build(f, false);
    size_t end = 0;
    const char *last = last_segment(f, &end);
    size_t safe = end - last_record_bytes();
    for (size_t at = 0; at < safe; at++) {
        expect_refused_flip(f, last, at);
    }
    for (size_t at = safe; at < end; at++) {
        restore(f);
        flip(f, last, at);
        open_ok(f);
        assert_int_equal(last_index(f), 103);
        close_journal(f);
    }
}

/* A second after the log has become idle the mark covers the last range too. */
static void test_mark_follows_when_idle(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    append(f, 1, 5, 1);
    sim_run(f->sim, 2500);
    take_image(f);
    close_journal(f);
    restore(f);
    size_t end = 0;
    const char *name = last_segment(f, &end);
    for (size_t at = 0; at < end; at++) {
        expect_refused_flip(f, name, at);
    }
}

/* A removal of old segments that the power cut short may leave a gap: no harm as long as
 * the snapshot covers what is before it, else a file is missing. */
static void test_gap_below_snapshot(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    for (uint64_t i = 1; i < 221; i += 5) {
        append(f, i, i + 5, 1);
    }
    struct journal_snapshot_writer *w = journal_snapshot_create(f->j, 150, 1, span_of("members"));
    f->want++;
    journal_snapshot_finish(w, on_done, f);
    settle(f);
    close_journal(f);
    take_image(f);
    remove_file(f, "log-0000000000000002");
    open_ok(f);
    assert_int_equal(f->rec.snapshot_index, 150);
    assert_in_range(f->rec.first_index, 51, 151);
    assert_int_equal(last_index(f), 220);
    check(f, f->rec.first_index, 221, 1);
    close_journal(f);
    take_image(f);
    assert_int_equal(dir_image_find(&f->image, "log-0000000000000001"), -1);
    remove_file(f, "log-0000000000000003");
    expect_refused(f, "log", 0);
}

/* A log that lost its end is noticed by the mark: shortened file, zeroed end. */
static void test_lost_end(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    size_t end = 0;
    const char *last = last_segment(f, &end);
    char path[128];
    path_of(path, last);
    for (size_t keep = 0; keep < end; keep += 97) {
        struct env_file *file;
        restore(f);
        assert_int_equal(f->env->ops->file_open(f->env, path, ENV_WRITE, &file, NULL), 0);
        assert_int_equal(f->env->ops->file_truncate(file, keep, NULL), 0);
        f->env->ops->file_close(file);
        struct error e;
        assert_int_equal(try_open(f, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.message, DIR_NAME));
    }
}

/* Every file but the lock and an unused spare segment is needed. */
static void test_missing_files(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    size_t end = 0;
    const char *last = last_segment(f, &end);
    for (size_t i = 0; i < f->image.count; i++) {
        const char *name = f->image.files[i].name;
        struct error e;
        restore(f);
        remove_file(f, name);
        bool spare = strncmp(name, "log-", 4) == 0 && strcmp(name, last) > 0;
        /* The snapshot is of entry 10 and the log has all entries: it can do without. */
        bool spared = spare || strcmp(name, "lock") == 0 || strncmp(name, "snapshot-", 9) == 0;
        int rc = try_open(f, &e);
        if (spared) {
            assert_int_equal(rc, 0);
            assert_int_equal(last_index(f), 104);
            close_journal(f);
        } else if (rc != ERR_CORRUPT) {
            fail_msg("without %s: %d %s", name, rc, e.message);
        }
    }
}

/* A directory whose identity is gone is not mistaken for a new one. */
static void test_identity(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    size_t len = 0;
    (void)file_data(f, "identity", &len);
    assert_int_equal(len, IDENTITY_BYTES);
    for (size_t at = 0; at < len; at++) {
        expect_refused_flip(f, "identity", at);
    }
    remove_file(f, "identity");
    expect_refused(f, "identity", 0);
}

/* A flip in one vote slot never changes the vote: it is repaired from the other, or (the
 * version) refused. Both damaged: refused. */
static void test_vote_slots(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    for (int slot = 0; slot < 2; slot++) {
        const char *name = slot == 0 ? "vote-0" : "vote-1";
        const char *twin = slot == 0 ? "vote-1" : "vote-0";
        for (size_t at = 0; at < SLOT_BYTES; at++) {
            restore(f);
            flip(f, name, at);
            if (at >= 8 && at < 12) {
                expect_refused(f, name, at);
                continue;
            }
            open_ok(f);
            assert_int_equal(f->rec.term, 5);
            assert_int_equal(f->rec.vote, 77);
            close_journal(f);
            flip(f, twin, at); /* now the repaired one must carry it */
            open_ok(f);
            assert_int_equal(f->rec.term, 5);
            assert_int_equal(f->rec.vote, 77);
            close_journal(f);
            restore(f);
            flip(f, name, at);
            flip(f, twin, 40);
            expect_refused(f, "vote-0", at);
        }
    }
}

/* One slot of the mark may be torn; without any it is refused. */
static void test_mark_slots(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    for (size_t at = 0; at < SLOT_BYTES; at++) {
        restore(f);
        bool version = at >= 8 && at < 12;
        for (size_t slot = 0; slot < 2; slot++) {
            restore(f);
            flip(f, "mark", at + slot * MARK_SLOT_STRIDE);
            if (version) {
                expect_refused(f, "mark", at);
                continue;
            }
            open_ok(f);
            assert_int_equal(last_index(f), 104);
            close_journal(f);
        }
        restore(f);
        flip(f, "mark", at);
        flip(f, "mark", at + MARK_SLOT_STRIDE);
        expect_refused(f, "mark", at);
    }
}

/* Reads the whole snapshot; returns the first error, else compares the bytes. */
static int read_snapshot(struct fixture *f, struct error *e)
{
    struct journal_snapshot_reader *r;
    struct buf meta = BUF_INIT, expected = BUF_INIT;
    uint64_t bytes;
    int rc = journal_snapshot_open(f->j, 10, 1, &r, &meta, &bytes, e);
    if (rc != 0) {
        buf_free(&meta);
        return rc;
    }
    assert_int_equal(meta.len, 7);
    assert_memory_equal(meta.data, "members", 7);
    for (int i = 0; i < 100; i++) {
        buf_printf(&expected, "line %d\n", i);
    }
    assert_int_equal(bytes, expected.len);
    char out[50];
    size_t have = 0, got = 1;
    while (rc == 0 && got > 0) {
        rc = journal_snapshot_read(r, out, sizeof out, &got, e);
        if (rc == 0) {
            assert_memory_equal(out, expected.data + have, got);
            have += got;
        }
    }
    assert_true(rc != 0 || have == expected.len);
    journal_snapshot_close(r);
    buf_free(&meta);
    buf_free(&expected);
    return rc;
}

/* A flip at any byte of a snapshot is refused at open or when its block is read; no wrong
 * byte is ever handed out. The same for every shortened length. */
static void test_snapshot_damage(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    const char *name = "snapshot-000000000000000a-0000000000000001";
    size_t len = 0;
    const uint8_t *whole = file_data(f, name, &len);
    open_ok(f);
    struct error e = { 0 };
    assert_int_equal(read_snapshot(f, &e), 0);
    for (size_t at = 0; at < len; at++) {
        flip(f, name, at);
        assert_int_equal(read_snapshot(f, &e), ERR_CORRUPT);
        assert_non_null(strstr(e.message, name));
        flip(f, name, at);
    }
    char path[128];
    path_of(path, name);
    for (size_t keep = 0; keep < len; keep++) {
        struct env_file *file;
        assert_int_equal(f->env->ops->file_open(f->env, path, ENV_WRITE, &file, NULL), 0);
        assert_int_equal(f->env->ops->file_truncate(file, keep, NULL), 0);
        assert_int_equal(read_snapshot(f, &e), ERR_CORRUPT);
        assert_int_equal(f->env->ops->file_write(file, 0, whole, len, NULL), 0);
        f->env->ops->file_close(file);
    }
    close_journal(f);
    flip(f, name, 20); /* a damaged header of the newest is refused by open already */
    expect_refused(f, name, 20);
}

/* Whole blocks in the wrong order are refused too. */
static void test_snapshot_blocks_swapped(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    append(f, 1, 20, 1);
    struct journal_snapshot_writer *w = journal_snapshot_create(f->j, 10, 1, span_of("members"));
    for (int i = 0; i < 2; i++) {
        struct buf b = BUF_INIT;
        buf_put_str(&b, i == 0 ? "one half of " : "another one.");
        journal_snapshot_write(w, &b, NULL, NULL);
    }
    f->want++;
    journal_snapshot_finish(w, on_done, f);
    settle(f);
    take_image(f);
    const char *name = "snapshot-000000000000000a-0000000000000001";
    size_t len = 0, block = SNAPSHOT_BLOCK_HEADER + 12, at = SNAPSHOT_HEADER_BYTES + 7;
    const uint8_t *whole = file_data(f, name, &len);
    assert_int_equal(len, at + 2 * block + SNAPSHOT_TRAILER_BYTES);
    overwrite(f, name, at, whole + at + block, block);
    overwrite(f, name, at + block, whole + at, block);
    struct journal_snapshot_reader *r;
    struct buf meta = BUF_INIT;
    struct error e = { 0 };
    uint64_t bytes;
    char out[24];
    size_t got;
    assert_int_equal(journal_snapshot_open(f->j, 10, 1, &r, &meta, &bytes, &e), 0);
    assert_int_equal(bytes, 24);
    assert_int_equal(journal_snapshot_read(r, out, sizeof out, &got, &e), ERR_CORRUPT);
    journal_snapshot_close(r);
    buf_free(&meta);
    close_journal(f);
}

/* A payload that holds a whole record, with the right node and a claim to have seen
 * everything durable, is no evidence when the entry around it is torn. */
static void test_forged_record_in_payload(void **state)
{
    struct fixture *f = *state;
    open_ok(f);
    append(f, 1, 3, 1);
    struct buf forged = BUF_INIT;
    for (uint64_t i = 0; i < 4; i++) {
        record_encode(&forged, f->rec.identity.node_id, position_make(1, 8 * i),
                      &(struct record){ .kind = RECORD_ENTRY, .durable = UINT64_MAX });
    }
    struct journal_entry entry = { .term = 1, .type = 1, .data = forged.data, .len = forged.len };
    f->want++;
    journal_append(f->j, 3, &entry, 1, on_done, f);
    settle(f);
    take_image(f);
    close_journal(f);
    restore(f);
    size_t end = 0;
    const char *name = last_segment(f, &end);
    flip(f, name, end - record_bytes(forged.len) + 16); /* its term */
    open_ok(f);
    assert_int_equal(last_index(f), 2);
    assert_int_equal(f->rec.cut_bytes, record_bytes(forged.len));
    close_journal(f);
    buf_free(&forged);
}

/* Files of another node are refused even when they are whole. */
static void test_foreign_files(void **state)
{
    struct fixture *f = *state;
    build(f, true);
    struct dir_image other = { 0 }, mine = f->image;
    f->image.count = 0;
    struct env *env = f->env;
    f->env = sim_env(f->sim, "b:1");
    build(f, true);
    other = f->image;
    f->image = mine;
    f->env = env;
    const char *names[] = { "vote-0", "vote-1", "mark", "log-0000000000000001",
                            "log-0000000000000002" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int at = dir_image_find(&other, names[i]);
        assert_true(at >= 0);
        restore(f);
        overwrite(f, names[i], 0, other.files[at].data, other.files[at].len);
        expect_refused(f, names[i], 0);
    }
    /* Our own segment under a wrong number. */
    size_t len = 0;
    restore(f);
    const uint8_t *first = file_data(f, "log-0000000000000001", &len);
    overwrite(f, "log-0000000000000002", 0, first, len);
    expect_refused(f, "log-0000000000000002", 0);
    dir_image_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_torn_at_every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_in_any_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn_first_header, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first_header_in_part, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rubbish_behind_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flip_every_log_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flip_with_old_mark, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mark_follows_when_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap_below_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
        cmocka_unit_test_setup_teardown(test_vote_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mark_slots, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_snapshot_blocks_swapped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_forged_record_in_payload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_foreign_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
