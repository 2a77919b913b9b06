/* Opening a journal directory.
 *
 *   lock -> list -> identity -> vote slots and mark -> newest snapshot -> segments -> writer
 *
 * A directory without identity is new if nothing in it is worth anything (a first start
 * may have died half-way); the identity is written last, so with it everything else must
 * be there. Blocking, before serving.
 *
 * A snapshot may reach beyond the log, or disagree with it about the entry it ends with
 * (installed from a leader, the restart not yet written): then the log restarts behind it.
 *
 * Invariants
 *   1 nothing is changed before everything has been read and found good
 *   2 what is given out is durable */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOG_MODULE "journal"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

#define SEGMENT_BYTES_DEFAULT ((uint64_t)64 * 1024 * 1024)
#define SEGMENT_BYTES_MIN     ((uint64_t)4096)
#define RESERVE_BYTES_DEFAULT ((uint64_t)16 * 1024 * 1024)

/* ---- The directory ------------------------------------------------------ */

static bool parse_segment_name(const char *name, uint64_t *number)
{
    int end = 0;
    return sscanf(name, "log-%16" SCNx64 "%n", number, &end) == 1 && end == 4 + 16 &&
           name[end] == 0;
}

static void add_number(struct opening *o, uint64_t number)
{
    if (o->count == o->cap) {
        size_t cap = o->cap * 2 + 32;
        uint64_t *grown = mem_realloc(o->numbers, cap * sizeof *grown);
        if (grown == NULL) {
            o->no_memory = true;
            return;
        }
        o->numbers = grown;
        o->cap = cap;
    }
    o->numbers[o->count++] = number;
}

static void add_part(struct opening *o, const char *name)
{
    char(*grown)[JOURNAL_NAME_BYTES] =
        mem_realloc(o->parts, (o->parts_count + 1) * sizeof *o->parts);
    if (grown == NULL) {
        o->no_memory = true;
        return;
    }
    o->parts = grown;
    (void)snprintf(o->parts[o->parts_count++], JOURNAL_NAME_BYTES, "%s", name);
}

static void on_name(void *arg, const char *name)
{
    struct opening *o = arg;
    uint64_t a, b;
    size_t len = strlen(name);
    if (strcmp(name, "identity") == 0) {
        o->has_identity = true;
    } else if (parse_segment_name(name, &a)) {
        add_number(o, a);
    } else if (snapshot_parse_name(name, &a, &b)) {
        struct journal_recovery *r = o->rec;
        if (o->inspection != NULL && !inspect_add_snapshot(o, a, b)) {
            o->no_memory = true;
        }
        if (a > r->snapshot_index || (a == r->snapshot_index && b > r->snapshot_term)) {
            r->snapshot_index = a;
            r->snapshot_term = b;
        }
    } else if (len > 5 && len < JOURNAL_NAME_BYTES && strcmp(name + len - 5, ".part") == 0) {
        add_part(o, name);
    } else if (o->inspection != NULL) {
        inspect_add_other(o, name);
    }
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

int opening_list(struct opening *o)
{
    struct journal *j = o->j;
    int rc = j->env->ops->list_dir(j->env, j->dir, on_name, o, o->e);
    if (rc == 0 && o->no_memory) {
        rc = error_set(o->e, ERR_NOMEM, "no memory to list %s", j->dir);
    }
    if (rc == 0 && o->count > 0) {
        qsort(o->numbers, o->count, sizeof *o->numbers, compare_numbers);
    }
    return rc;
}

int opening_lock(struct opening *o, int flags)
{
    struct journal *j = o->j;
    char *path = journal_path(j->dir, "lock");
    if (path == NULL) {
        return error_set(o->e, ERR_NOMEM, "no memory to open %s", j->dir);
    }
    int rc = j->env->ops->file_open(j->env, path, flags, &j->lock, o->e);
    mem_free(path);
    if (rc != 0) {
        j->lock = NULL;
        return rc;
    }
    rc = j->env->ops->file_lock(j->lock, o->e);
    if (rc == ERR_CONFLICT) {
        error_set(o->e, rc, "the data directory %s is in use by a running node", j->dir);
        error_hint(o->e, "stop that node, or give this one its own --data directory");
    }
    return rc;
}

/* ---- A new directory ---------------------------------------------------- */

/* Without an identity nothing may be there that a node could miss. */
static int check_worthless(struct opening *o)
{
    struct journal *j = o->j;
    bool worth = o->rec->snapshot_index != 0;
    char name[JOURNAL_NAME_BYTES];
    int rc = 0;
    for (size_t i = 0; i < o->count + 2 && rc == 0 && !worth; i++) {
        if (i < o->count) {
            (void)snprintf(name, sizeof name, "log-%016" PRIx64, o->numbers[i]);
        } else {
            (void)snprintf(name, sizeof name, "vote-%zu", i - o->count);
        }
        char *path = journal_path(j->dir, name);
        uint8_t *data = NULL;
        size_t len = 0;
        rc = path == NULL ? error_set(o->e, ERR_NOMEM, "no memory to open %s", j->dir)
                          : journal_read_file(j->env, path, &data, &len, o->e);
        struct slot s = { 0 };
        if (rc == 0 && i < o->count) {
            worth = !bytes_are_zero(data, len);
        } else if (rc == 0) {
            enum format_status status = slot_decode(data, len, SLOT_VOTE, 0, &s);
            worth = status == FORMAT_VERSION ||
                    ((status == FORMAT_OK || status == FORMAT_FOREIGN) && s.a > 0);
        }
        rc = rc == ERR_NOTFOUND ? 0 : rc;
        mem_free(data);
        mem_free(path);
    }
    if (rc == 0 && worth) {
        rc = journal_corrupt(o->e, j->dir, 0,
                             "the file \"identity\" is missing from a used data directory");
    }
    return rc;
}

static int create(struct opening *o)
{
    struct journal *j = o->j;
    int rc = check_worthless(o);
    if (rc != 0) {
        return rc;
    }
    while (j->identity.node_id == 0) {
        j->env->ops->random(j->env, &j->identity.node_id, sizeof j->identity.node_id);
    }
    for (size_t i = 0; i < o->count; i++) {
        char *path = journal_segment_path(j->dir, o->numbers[i]);
        if (path != NULL) {
            (void)j->env->ops->remove(j->env, path, NULL);
        }
        mem_free(path);
    }
    o->count = 0;
    j->slots.node_id = j->identity.node_id;
    rc = slots_create(&j->slots, j->dir, o->e);
    rc = rc != 0 ? rc
                 : segment_create(j->env, j->dir, 1, j->options.segment_bytes, &j->log.file, o->e);
    rc = rc != 0 ? rc : identity_write(j->env, j->dir, &j->identity, o->e);
    if (rc != 0) {
        return rc;
    }
    o->rec->fresh = true;
    o->number = 1;
    o->replay.first_index = o->replay.next_index = 1;
    j->log.capacity = j->options.segment_bytes;
    return 0;
}

/* ---- Snapshot and log together ------------------------------------------ */

int opening_join_snapshot(struct opening *o, bool *restart)
{
    const struct journal_recovery *rec = o->rec;
    const struct replay *r = &o->replay;
    *restart = false;
    if (r->first_index > rec->snapshot_index + 1) {
        return journal_corrupt(o->e, o->j->dir, 0,
                               "the log begins at entry %" PRIu64 " but the newest snapshot ends "
                               "at entry %" PRIu64,
                               r->first_index, rec->snapshot_index);
    }
    if (rec->snapshot_index == 0) {
        return 0;
    }
    int rc = snapshot_check(o->j->env, o->j->dir, rec->snapshot_index, rec->snapshot_term, o->e);
    if (rc != 0) {
        return rc;
    }
    if (rec->snapshot_index >= r->next_index) {
        *restart = true;
    } else if (rec->snapshot_index >= r->first_index) {
        uint64_t term = r->entries[rec->snapshot_index - r->first_index].term;
        *restart = term != rec->snapshot_term;
    }
    return 0;
}

/* The log restarts behind the snapshot, durably, before anything is given out. */
static int restart_log(struct opening *o)
{
    struct journal *j = o->j;
    struct log_writer *w = &j->log;
    int rc = 0;
    if (w->spare == NULL && record_bytes(0) > log_room(w->capacity, w->offset)) {
        rc = segment_create(j->env, j->dir, w->number + 1, j->options.segment_bytes, &w->spare,
                            o->e);
        w->spare_capacity = j->options.segment_bytes;
    }
    uint64_t index = o->rec->snapshot_index;
    rc =
        rc != 0 ? rc : log_put(w, &(struct record){ .kind = RECORD_RESTART, .index = index }, o->e);
    rc = rc != 0 ? rc : log_flush(w, o->e);
    if (rc == 0) {
        o->replay.first_index = o->replay.next_index = index + 1;
        o->replay.entries_count = 0;
        j->compact_index = index;
    }
    return rc;
}

static int open_all(struct opening *o)
{
    struct journal *j = o->j;
    int rc = j->env->ops->make_dir(j->env, j->dir, o->e);
    rc = rc != 0 ? rc : opening_lock(o, ENV_READ | ENV_WRITE | ENV_CREATE);
    rc = rc != 0 ? rc : opening_list(o);
    if (rc != 0) {
        return rc;
    }
    bool restart = false;
    if (!o->has_identity) {
        rc = create(o);
    } else {
        rc = identity_read(j->env, j->dir, &j->identity, o->e);
        j->slots.node_id = j->identity.node_id;
        rc = rc != 0 ? rc : slots_open(&j->slots, j->dir, o->e);
        rc = rc != 0 ? rc : load_segments(o);
        rc = rc != 0 ? rc : opening_join_snapshot(o, &restart);
    }
    rc = rc != 0 ? rc : load_writer(o);
    rc = rc != 0 || !restart ? rc : restart_log(o);
    return rc != 0 ? rc : journal_start(j, o->e);
}

static void fill_recovery(struct opening *o)
{
    struct journal *j = o->j;
    struct journal_recovery *rec = o->rec;
    rec->identity = j->identity;
    rec->term = j->term = j->slots.vote_now.a;
    rec->vote = j->vote = j->slots.vote_now.b;
    rec->first_index = o->replay.first_index;
    rec->entries = o->replay.entries;
    rec->entries_count = o->replay.entries_count;
    o->replay.entries = NULL;
    j->next_index = o->replay.next_index;
    for (size_t i = 0; i < rec->entries_count; i++) {
        journal_account(j, rec->first_index + i, o->replay.sizes[i]);
    }
    if (rec->cut_bytes > 0) {
        log_warn("%s: a torn tail of %" PRIu64 " bytes was cut from the log (never acknowledged)",
                 j->dir, rec->cut_bytes);
    }
}

int journal_open(struct env *env, const char *dir, const struct journal_options *options,
                 struct journal **out, struct journal_recovery *rec, struct error *e)
{
    *rec = (struct journal_recovery){ 0 };
    struct journal *j = mem_zalloc(sizeof *j);
    char *copy = mem_strndup(dir, strlen(dir));
    if (j == NULL || copy == NULL) {
        mem_free(j);
        mem_free(copy);
        return error_set(e, ERR_NOMEM, "no memory to open %s", dir);
    }
    j->env = j->slots.env = j->log.env = env;
    j->dir = copy;
    j->options = *options;
    uint64_t segment = options->segment_bytes;
    segment = segment == 0 ? SEGMENT_BYTES_DEFAULT : segment;
    segment = segment < SEGMENT_BYTES_MIN ? SEGMENT_BYTES_MIN : segment;
    j->options.segment_bytes = segment;
    if (options->reserve_bytes == 0) {
        j->options.reserve_bytes = RESERVE_BYTES_DEFAULT;
    }
    struct error local = { 0 };
    struct opening o = { .j = j, .rec = rec, .e = e != NULL ? e : &local };
    int rc = open_all(&o);
    if (rc == ERR_IO && o.has_identity) {
        journal_hint_disk(o.e);
    }
    if (rc == 0) {
        fill_recovery(&o);
        *out = j;
    } else {
        journal_destroy(j);
        *rec = (struct journal_recovery){ 0 };
    }
    mem_free(o.numbers);
    mem_free(o.parts);
    mem_free(o.replay.entries);
    mem_free(o.replay.sizes);
    return rc;
}

void journal_release_recovery(struct journal *j, struct journal_recovery *rec)
{
    for (size_t i = 0; i < j->recovery_count; i++) {
        mem_free(j->recovery_data[i]);
    }
    mem_free(j->recovery_data);
    j->recovery_data = NULL;
    j->recovery_count = 0;
    mem_free(rec->entries);
    rec->entries = NULL;
    rec->entries_count = 0;
}
