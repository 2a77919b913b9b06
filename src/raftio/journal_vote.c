/* The small files: vote slots, durable mark, identity.
 *
 * Vote. Term and vote are written to both files, one after the other, each synced before
 * the next is touched, and only then acknowledged. So whatever happens to one file (torn
 * by a power loss, rotten later), the other holds the last acknowledged vote: a damaged
 * slot is repaired from its twin at open and nothing is ever forgotten. Elections are
 * rare; the second sync costs nothing that matters.
 *
 * Mark. One file, two slots in different sectors, written in turn. It is only a lower
 * bound of what is durable, so the older slot will do when the newer one was torn.
 *
 * Identity. Replaced as a whole: part file, sync, rename, directory sync.
 *
 * Invariants
 *   1 an acknowledged vote is in both files
 *   2 the mark never says more than what had been synced before it was written */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LOG_MODULE "journal"
#include "base/log.h"
#include "base/mem.h"
#include "raftio/journal_impl.h"

/* Votes were given and entries acknowledged on the strength of these files. */
#define REBUILD                                                                                    \
    "do not vote with what is left: restore the files, or rebuild the node from the others: "      \
    "usher node --id N --rebuild"

int journal_corrupt(struct error *e, const char *path, uint64_t offset, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    error_vset(e, ERR_CORRUPT, fmt, args);
    va_end(args);
    error_prefix(e, "%s at offset %" PRIu64, path, offset);
    error_hint(e, "%s", REBUILD);
    return ERR_CORRUPT;
}

void journal_hint_disk(struct error *e)
{
    error_hint(
        e, "repair or replace the disk and start the node again, or rebuild it from the others: "
           "usher node --id N --rebuild");
}

static const char *const vote_names[2] = { "vote-0", "vote-1" };

static int open_named(struct env *env, const char *dir, const char *name, int flags,
                      struct env_file **out, struct error *e)
{
    char *path = journal_path(dir, name);
    if (path == NULL) {
        return error_set(e, ERR_NOMEM, "no memory to open %s", name);
    }
    int rc = env->ops->file_open(env, path, flags, out, e);
    if (rc == ERR_NOTFOUND && (flags & ENV_CREATE) == 0) {
        rc = journal_corrupt(e, path, 0, "the file is missing");
    }
    mem_free(path);
    return rc;
}

static int open_all(struct slots *s, const char *dir, int flags, struct error *e)
{
    int rc = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        rc = open_named(s->env, dir, vote_names[i], flags, &s->vote[i], e);
    }
    return rc != 0 ? rc : open_named(s->env, dir, "mark", flags, &s->mark, e);
}

static int write_slot(struct slots *s, struct env_file *f, uint64_t at, enum slot_kind kind,
                      const struct slot *slot, struct error *e)
{
    uint8_t bytes[SLOT_BYTES];
    slot_encode(bytes, kind, s->node_id, slot);
    int rc = s->env->ops->file_write(f, at, bytes, sizeof bytes, e);
    return rc != 0 ? rc : s->env->ops->file_sync(f, e);
}

int slots_write_vote(struct slots *s, uint64_t term, uint64_t vote, struct error *e)
{
    struct slot next = { s->vote_now.sequence + 1, term, vote };
    int rc = write_slot(s, s->vote[0], 0, SLOT_VOTE, &next, e);
    rc = rc != 0 ? rc : write_slot(s, s->vote[1], 0, SLOT_VOTE, &next, e);
    if (rc == 0) {
        s->vote_now = next;
    }
    return rc;
}

int slots_write_mark(struct slots *s, uint64_t position, struct error *e)
{
    struct slot next = { s->mark_now.sequence + 1, position, 0 };
    uint64_t at = (next.sequence & 1) * MARK_SLOT_STRIDE;
    int rc = write_slot(s, s->mark, at, SLOT_MARK, &next, e);
    if (rc == 0) {
        s->mark_now = next;
    }
    return rc;
}

int slots_create(struct slots *s, const char *dir, struct error *e)
{
    int rc = open_all(s, dir, ENV_READ | ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, e);
    rc = rc != 0 ? rc : slots_write_vote(s, 0, 0, e);
    rc = rc != 0 ? rc : slots_write_mark(s, 0, e);
    /* The second mark fills the other slot, so that the file has its full size. */
    return rc != 0 ? rc : slots_write_mark(s, 0, e);
}

/* Reads one slot; only failures to read are errors. */
static int read_slot(struct slots *s, struct env_file *f, uint64_t at, enum slot_kind kind,
                     struct slot *out, enum format_status *status, struct error *e)
{
    uint8_t bytes[SLOT_BYTES];
    size_t got;
    int rc = s->env->ops->file_read(f, at, bytes, sizeof bytes, &got, e);
    if (rc == 0) {
        *status = slot_decode(bytes, got, kind, s->node_id, out);
    }
    return rc;
}

/* What cannot be a torn or rotten slot is refused even when its twin is well. */
static int refuse_slot(const char *dir, const char *name, uint64_t at, enum format_status status,
                       struct error *e)
{
    if (status != FORMAT_FOREIGN && status != FORMAT_VERSION) {
        return 0;
    }
    char path[ERROR_MESSAGE_BYTES];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return journal_corrupt(e, path, at,
                           status == FORMAT_FOREIGN ? "it belongs to another node"
                                                    : "its format version is not known here");
}

static int read_vote(struct slots *s, const char *dir, struct error *e)
{
    struct slot slot[2];
    enum format_status status[2];
    for (int i = 0; i < 2; i++) {
        int rc = read_slot(s, s->vote[i], 0, SLOT_VOTE, &slot[i], &status[i], e);
        rc = rc != 0 ? rc : refuse_slot(dir, vote_names[i], 0, status[i], e);
        if (rc != 0) {
            return rc;
        }
    }
    if (status[0] != FORMAT_OK && status[1] != FORMAT_OK) {
        char path[ERROR_MESSAGE_BYTES];
        (void)snprintf(path, sizeof path, "%s/vote-0", dir);
        return journal_corrupt(e, path, 0, "this vote slot and vote-1 are both damaged");
    }
    int best = status[0] != FORMAT_OK   ? 1
               : status[1] != FORMAT_OK ? 0
                                        : slot[1].sequence > slot[0].sequence;
    s->vote_now = slot[best];
    int other = !best;
    s->vote_bad = status[other] == FORMAT_OK ? -1 : other;
    s->vote_behind =
        status[other] == FORMAT_OK && slot[other].sequence == slot[best].sequence ? -1 : other;
    return 0;
}

/* A copy that is damaged or was not reached any more becomes like the other one. */
static int repair_vote(struct slots *s, const char *dir, struct error *e)
{
    int other = s->vote_behind;
    if (other < 0) {
        return 0;
    }
    if (s->vote_bad >= 0) {
        log_warn("%s/%s was damaged; repaired from %s", dir, vote_names[other], vote_names[!other]);
    }
    s->vote_bad = s->vote_behind = -1;
    return write_slot(s, s->vote[other], 0, SLOT_VOTE, &s->vote_now, e);
}

static int read_mark(struct slots *s, const char *dir, struct error *e)
{
    bool found = false;
    for (int i = 0; i < 2; i++) {
        struct slot slot;
        enum format_status status;
        uint64_t at = (uint64_t)i * MARK_SLOT_STRIDE;
        int rc = read_slot(s, s->mark, at, SLOT_MARK, &slot, &status, e);
        rc = rc != 0 ? rc : refuse_slot(dir, "mark", at, status, e);
        if (rc != 0) {
            return rc;
        }
        if (status == FORMAT_OK && (!found || slot.sequence > s->mark_now.sequence)) {
            s->mark_now = slot;
            found = true;
        }
    }
    if (!found) {
        char path[ERROR_MESSAGE_BYTES];
        (void)snprintf(path, sizeof path, "%s/mark", dir);
        return journal_corrupt(e, path, 0, "both slots of the durable mark are damaged");
    }
    return 0;
}

int slots_read(struct slots *s, const char *dir, struct error *e)
{
    int rc = open_all(s, dir, ENV_READ, e);
    rc = rc != 0 ? rc : read_vote(s, dir, e);
    return rc != 0 ? rc : read_mark(s, dir, e);
}

int slots_open(struct slots *s, const char *dir, struct error *e)
{
    int rc = open_all(s, dir, ENV_READ | ENV_WRITE, e);
    rc = rc != 0 ? rc : read_vote(s, dir, e);
    rc = rc != 0 ? rc : read_mark(s, dir, e);
    return rc != 0 ? rc : repair_vote(s, dir, e);
}

static void close_file(struct slots *s, struct env_file **f)
{
    if (*f != NULL) {
        s->env->ops->file_close(*f);
        *f = NULL;
    }
}

void slots_close(struct slots *s)
{
    close_file(s, &s->vote[0]);
    close_file(s, &s->vote[1]);
    close_file(s, &s->mark);
}

/* ---- Identity ----------------------------------------------------------- */

int identity_write(struct env *env, const char *dir, const struct journal_identity *id,
                   struct error *e)
{
    const struct env_ops *ops = env->ops;
    char *part = journal_path(dir, "identity.part");
    char *path = journal_path(dir, "identity");
    uint8_t bytes[IDENTITY_BYTES];
    identity_encode(bytes, id);
    struct env_file *f = NULL;
    int rc = part == NULL || path == NULL
                 ? error_set(e, ERR_NOMEM, "no memory to write the identity")
                 : ops->file_open(env, part, ENV_WRITE | ENV_CREATE | ENV_TRUNCATE, &f, e);
    if (rc == 0) {
        rc = ops->file_write(f, 0, bytes, sizeof bytes, e);
        rc = rc != 0 ? rc : ops->file_sync(f, e);
        ops->file_close(f);
        rc = rc != 0 ? rc : ops->rename(env, part, path, e);
        rc = rc != 0 ? rc : ops->sync_dir(env, dir, e);
    }
    mem_free(part);
    mem_free(path);
    return rc;
}

int journal_read_file(struct env *env, const char *path, uint8_t **data, size_t *len,
                      struct error *e)
{
    const struct env_ops *ops = env->ops;
    struct env_file *f;
    int rc = ops->file_open(env, path, ENV_READ, &f, e);
    if (rc != 0) {
        return rc;
    }
    uint64_t size = 0;
    uint8_t *bytes = NULL;
    rc = ops->file_size(f, &size, e);
    if (rc == 0) {
        bytes = size < SIZE_MAX ? mem_alloc((size_t)size) : NULL;
        rc = bytes == NULL
                 ? error_set(e, ERR_NOMEM, "no memory to read %s (%" PRIu64 " bytes)", path, size)
                 : ops->file_read(f, 0, bytes, (size_t)size, len, e);
    }
    ops->file_close(f);
    if (rc != 0) {
        mem_free(bytes);
        return rc;
    }
    *data = bytes;
    return 0;
}

int identity_read(struct env *env, const char *dir, struct journal_identity *out, struct error *e)
{
    char *path = journal_path(dir, "identity");
    uint8_t *data = NULL;
    size_t len = 0;
    int rc = path == NULL ? error_set(e, ERR_NOMEM, "no memory to read the identity")
                          : journal_read_file(env, path, &data, &len, e);
    if (rc == 0) {
        switch (len == IDENTITY_BYTES ? identity_decode(data, len, out) : FORMAT_BAD) {
        case FORMAT_OK: break;
        case FORMAT_VERSION:
            rc = journal_corrupt(e, path, 8, "its format version is not known here");
            break;
        default: rc = journal_corrupt(e, path, 0, "the identity is damaged"); break;
        }
    }
    mem_free(data);
    mem_free(path);
    return rc;
}
