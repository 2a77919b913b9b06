/* Inspecting: the steps of journal_open.c on files opened for reading only.
 *
 * The struct journal here is never started: it only holds what the steps of opening share.
 * The lock is taken where its file is (so no node starts meanwhile) and not made where it
 * is not: a copy of a directory may lack it.
 *
 * Invariants
 *   1 no file is written, made or removed
 *   2 what the disk cannot read is damage like what it reads wrongly
 *   3 damage of one kind of file does not hide that of another, except that without an
 *     identity nothing of votes and log can be read (the node id seeds their checksums) */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "raftio/journal_impl.h"

void journal_inspection_damaged(struct journal_inspection *in, const struct error *e)
{
    if (in->damage_count < INSPECT_DAMAGE_MAX) {
        in->damage[in->damage_count++] = *e;
    }
}

bool journal_inspection_is_damage(int rc) { return rc == ERR_CORRUPT || rc == ERR_IO; }

/* Damage becomes a finding (0); any other error stays one. */
static int note(struct journal_inspection *in, int rc, struct error *e)
{
    if (journal_inspection_is_damage(rc)) {
        if (rc == ERR_IO) {
            journal_hint_disk(e);
        }
        journal_inspection_damaged(in, e);
        error_clear(e);
        return 0;
    }
    return rc;
}

bool inspect_add_snapshot(struct opening *o, uint64_t index, uint64_t term)
{
    struct journal_inspection *in = o->inspection;
    struct inspected_snapshot *grown =
        mem_realloc(in->snapshots, (in->snapshots_count + 1) * sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    in->snapshots = grown;
    in->snapshots[in->snapshots_count++] =
        (struct inspected_snapshot){ .index = index, .term = term };
    return true;
}

void inspect_add_other(struct opening *o, const char *name)
{
    /* All that docs/formats.md lists and no function of the listing knows. */
    static const char *const ours[] = { "identity", "vote-0", "vote-1", "mark",    "lock",
                                        "backups",  "files",  "hooks",  "refused", "refused.1" };
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        if (strcmp(name, ours[i]) == 0) {
            return;
        }
    }
    buf_put(&o->inspection->others, name, strlen(name) + 1);
}

static int by_index(const void *a, const void *b)
{
    const struct inspected_snapshot *x = a, *y = b;
    return x->index != y->index ? (x->index > y->index) - (x->index < y->index)
                                : (x->term > y->term) - (x->term < y->term);
}

/* Reads every block, so that each is verified. */
static int read_snapshot(struct journal_inspection *in, struct inspected_snapshot *s,
                         struct error *e)
{
    struct journal_snapshot_reader *r = NULL;
    struct buf meta = BUF_INIT;
    uint8_t *piece = mem_alloc(SNAPSHOT_BLOCK_MAX);
    int rc = piece == NULL ? error_set(e, ERR_NOMEM, "no memory to read a snapshot")
                           : journal_inspect_snapshot(in, s, &r, &meta, e);
    size_t got = rc == 0;
    while (rc == 0 && got > 0) {
        rc = journal_snapshot_read(r, piece, SNAPSHOT_BLOCK_MAX, &got, e);
        s->bytes += rc == 0 ? got : 0;
    }
    s->whole = rc == 0;
    journal_snapshot_close(r);
    buf_free(&meta);
    mem_free(piece);
    return note(in, rc, e);
}

int journal_inspect_snapshot(struct journal_inspection *in, const struct inspected_snapshot *s,
                             struct journal_snapshot_reader **out, struct buf *meta,
                             struct error *e)
{
    uint64_t bytes;
    return snapshot_open(in->env, in->j->dir, s->index, s->term, out, meta, &bytes, e);
}

static int read_log(struct opening *o, struct journal_inspection *in)
{
    bool restart = false;
    int rc = load_segments(o);
    in->has_log = rc == 0;
    rc = rc != 0 ? rc : opening_join_snapshot(o, &restart);
    in->segments = o->count - o->begin;
    in->found.first_index = o->replay.first_index;
    in->found.entries = o->replay.entries;
    in->found.entries_count = restart ? 0 : o->replay.entries_count;
    if (restart) {
        in->found.first_index = in->found.snapshot_index + 1;
    }
    for (size_t i = 0; i < in->found.entries_count; i++) {
        in->log_bytes += o->replay.sizes[i];
    }
    o->replay.entries = NULL;
    return note(in, rc, o->e);
}

static int read_all(struct opening *o, struct journal_inspection *in)
{
    struct journal *j = o->j;
    int rc = opening_lock(o, ENV_READ);
    if (rc == ERR_NOTFOUND) {
        error_clear(o->e);
        rc = 0;
    }
    rc = rc != 0 ? rc : opening_list(o);
    if (rc == ERR_CONFLICT) {
        error_hint(o->e, "stop that node first, or ask it itself: `usher health`, `usher status`");
    }
    if (rc != 0) {
        return rc;
    }
    if (!o->has_identity && o->count == 0 && in->snapshots_count == 0) {
        error_set(o->e, ERR_NOTFOUND, "%s is not the data directory of a node", j->dir);
        error_hint(o->e, "give the directory that holds the file `identity`, by default "
                         "data/PROFILE/ADDRESS");
        return ERR_NOTFOUND;
    }
    if (in->snapshots_count > 1) {
        qsort(in->snapshots, in->snapshots_count, sizeof *in->snapshots, by_index);
    }
    in->unfinished = o->parts_count;
    rc = identity_read(j->env, j->dir, &j->identity, o->e);
    if (rc == ERR_NOTFOUND) {
        rc = journal_corrupt(o->e, j->dir, 0,
                             "the file \"identity\" is missing from a used data directory");
    }
    in->has_identity = rc == 0;
    in->found.identity = j->identity;
    rc = note(in, rc, o->e);
    j->slots.node_id = j->identity.node_id;
    if (rc == 0 && in->has_identity) {
        rc = slots_read(&j->slots, j->dir, o->e);
        in->has_votes = rc == 0;
        in->vote_bad = rc == 0 ? j->slots.vote_bad : -1;
        in->found.term = j->slots.vote_now.a;
        in->found.vote = j->slots.vote_now.b;
        in->mark_segment = position_segment(j->slots.mark_now.a);
        in->mark_offset = position_offset(j->slots.mark_now.a);
        rc = note(in, rc, o->e);
        rc = rc != 0 ? rc : read_log(o, in);
    }
    for (size_t i = 0; i < in->snapshots_count && rc == 0; i++) {
        rc = read_snapshot(in, &in->snapshots[i], o->e);
    }
    return rc;
}

int journal_inspect(struct env *env, const char *dir, struct journal_inspection *in,
                    struct error *e)
{
    *in = (struct journal_inspection){ .env = env, .vote_bad = -1 };
    struct error local = { 0 };
    e = e != NULL ? e : &local;
    in->j = mem_zalloc(sizeof *in->j);
    char *copy = mem_strndup(dir, strlen(dir));
    if (in->j == NULL || copy == NULL) {
        mem_free(copy);
        return error_set(e, ERR_NOMEM, "no memory to read %s", dir);
    }
    in->j->env = in->j->slots.env = in->j->log.env = env;
    in->j->dir = copy;
    struct opening o = { .j = in->j, .rec = &in->found, .e = e, .inspection = in };
    int rc = read_all(&o, in);
    mem_free(o.numbers);
    mem_free(o.parts);
    mem_free(o.replay.entries);
    mem_free(o.replay.sizes);
    return rc;
}

void journal_inspection_free(struct journal_inspection *in)
{
    if (in->j != NULL) {
        if (in->j->dir != NULL) {
            journal_destroy(in->j);
        } else {
            mem_free(in->j);
        }
    }
    mem_free(in->found.entries);
    mem_free(in->snapshots);
    buf_free(&in->others);
    *in = (struct journal_inspection){ 0 };
}
