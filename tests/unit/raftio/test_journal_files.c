/* Damage to what lies beside the log: identity, vote, mark, snapshots, and files that are no part
 * of a directory. Each is refused by name, or mended from its twin, and nothing is written before.
 */
#include "unit/raftio/damage_fixture.h"

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
