/* The journal against damaged logs: every byte of them, torn tails at every byte, missing and
 * shortened files. Runs on the simulated disk, so that "every" is affordable. */
#include "unit/raftio/damage_fixture.h"

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

static const struct env_ops *real_ops;
static const uint8_t *wrong_once; /* what a file holds of which one reading is wrong; then NULL */
static size_t wrong_at;

static int read_wrong(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                      struct error *e)
{
    int rc = real_ops->file_read(f, at, out, len, got, e);
    if (rc == 0 && at == 0 && *got > wrong_at && wrong_once != NULL &&
        memcmp(out, wrong_once, *got) == 0) {
        ((uint8_t *)out)[wrong_at] ^= 4;
        wrong_once = NULL;
    }
    return rc;
}

/* One reading of the last range gives another bit, whichever: the log is not opened, or whole. What
 * is on the disk stays there. */
static void test_read_wrong_once(void **state)
{
    struct fixture *f = *state;
    build(f, false);
    size_t end = 0, refused = 0;
    const char *last = last_segment(f, &end);
    const struct env_ops *ops = f->env->ops;
    struct env_ops wrong = *ops;
    struct error e;
    real_ops = ops;
    wrong.file_read = read_wrong;
    for (wrong_at = end - last_record_bytes(); wrong_at < end; wrong_at++) {
        restore(f);
        for (size_t i = 0; i < f->image.count; i++) {
            if (strcmp(f->image.files[i].name, last) == 0) {
                wrong_once = f->image.files[i].data;
            }
        }
        f->env->ops = &wrong;
        if (try_open(f, &e) != 0) {
            assert_int_equal(e.code, ERR_IO);
            assert_non_null(strstr(e.message, "reads differently each time"));
            refused++;
            f->env->ops = ops;
            open_ok(f);
        }
        f->env->ops = ops;
        assert_null(wrong_once);
        assert_int_equal(last_index(f), 104);
        close_journal(f);
    }
    assert_true(refused > 0);
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

/* A last segment that was cut right behind its last record, or in the zeros behind it, has lost
 * nothing: the log goes on, also where there is no room for the seal any more. */
static void test_cut_behind_the_end(void **state)
{
    struct fixture *f = *state;
    f->options.segment_bytes = 16 * SEGMENT;
    build(f, true);
    f->options.segment_bytes = SEGMENT; /* else it would be made as long as before */
    size_t end = 0;
    const char *last = last_segment(f, &end);
    assert_true(end > SEGMENT);
    char path[128];
    path_of(path, last);
    for (size_t keep = end; keep < end + 100; keep += 4) {
        struct env_file *file;
        restore(f);
        assert_int_equal(f->env->ops->file_open(f->env, path, ENV_WRITE, &file, NULL), 0);
        assert_int_equal(f->env->ops->file_truncate(file, keep, NULL), 0);
        f->env->ops->file_close(file);
        open_ok(f);
        uint64_t next = last_index(f) + 1;
        append(f, next, next + 3, 9);
        close_journal(f);
        open_ok(f);
        assert_int_equal(last_index(f), next + 2);
        check(f, next, next + 3, 9);
        close_journal(f);
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
        cmocka_unit_test_setup_teardown(test_read_wrong_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_mark_follows_when_idle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_gap_below_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_behind_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_missing_files, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
