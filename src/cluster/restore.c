/* See restore.h.
 *
 * How it fails: a file that is no whole backup is refused with its offset before anything was
 * made; a directory that holds anything is left alone; a later error removes what was made.
 *
 * Invariants
 *   RS1 the state loaded from the file has the digest that its header states, and passes the
 *       store's own checks, before DIR.restoring exists
 *   RS2 a directory named DIR that this has made is complete: it can be started */
#include "cluster/restore.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/feature.h"
#include "cluster/internal.h"
#include "raftio/journal_import.h"

struct restore {
    struct env *env;
    struct journal *journal;
    char *dir, *made;
    void (*closed)(void *arg);
    void *arg;
};

/* ---- Reading ------------------------------------------------------------------------------ */

static int load(struct backup_reader *r, struct store **out, struct error *e)
{
    struct store_loader *loader = store_load_begin();
    uint8_t *piece = mem_alloc(SNAPSHOT_CHUNK_BYTES);
    size_t got = 1;
    int rc = loader == NULL || piece == NULL ? error_set(e, ERR_NOMEM, "out of memory") : 0;
    while (rc == 0 && got > 0) {
        rc = backup_read(r, piece, SNAPSHOT_CHUNK_BYTES, &got, e);
        rc = rc != 0 || got == 0 ? rc : store_load_feed(loader, piece, got, e);
    }
    mem_free(piece);
    if (rc == 0) {
        return store_load_end(loader, out, e);
    }
    store_load_abort(loader);
    return rc;
}

static int judge(const char *file, struct store *s, struct restore_result *result, struct error *e)
{
    store_stats(s, &result->stats);
    if (store_digest(s) != result->head.digest) {
        error_set(e, ERR_CORRUPT, "%s: the state's digest is %016llx, its header says %016llx",
                  file, (unsigned long long)store_digest(s),
                  (unsigned long long)result->head.digest);
        error_hint(e, "take another copy of the file, or an older backup; nothing was changed");
        return ERR_CORRUPT;
    }
    uint32_t level = feature_of_store(s);
    level = result->head.feature_level > level ? result->head.feature_level : level;
    if (level > FEATURE_LEVEL) {
        error_set(e, ERR_CONFLICT,
                  "%s was written with feature level %u; this program knows levels up to %d", file,
                  level, FEATURE_LEVEL);
        error_hint(e, "restore it with the version of usher that wrote it, or a newer one");
        return ERR_CONFLICT;
    }
    return store_check(s, e);
}

int restore_verify(struct env *env, const char *file, struct restore_result *result,
                   struct error *e)
{
    struct backup_reader *r = NULL;
    struct store *s = NULL;
    memset(result, 0, sizeof *result);
    int rc = backup_open(env, file, &r, &result->head, e);
    rc = rc != 0 ? rc : load(r, &s, e);
    if (rc == ERR_CORRUPT && e->hint[0] == '\0') {
        error_prefix(e, "%s", file);
        error_hint(e, "take another copy of the file, or an older backup; nothing was changed");
    }
    rc = rc != 0 ? rc : judge(file, s, result, e);
    store_free(s);
    backup_close(r);
    return rc;
}

/* ---- The directory -------------------------------------------------------------------------- */

static void on_name(void *arg, const char *name)
{
    (void)name;
    ++*(size_t *)arg;
}

static int check_empty(struct env *env, const char *dir, struct error *e)
{
    size_t names = 0;
    struct error why = { 0 };
    if (env->ops->list_dir(env, dir, on_name, &names, &why) != 0) {
        return why.code == ERR_NOTFOUND ? 0 : (*e = why, why.code);
    }
    if (names == 0) {
        return 0;
    }
    error_set(e, ERR_CONFLICT, "%s is not empty: a backup makes a new cluster, it replaces nothing",
              dir);
    error_hint(e, "give --data another directory, or move this one away first");
    return ERR_CONFLICT;
}

static int configuration(uint64_t node_id, const char *address, uint64_t index, struct buf *meta,
                         struct error *e)
{
    struct raft_configuration conf;
    struct raft_buffer encoded = { NULL, 0 };
    raft_configuration_init(&conf);
    int rv = raft_configuration_add(&conf, node_id, address, RAFT_VOTER);
    rv = rv != 0 ? rv : raft_configuration_encode(&conf, &encoded);
    raft_configuration_close(&conf);
    if (rv != 0) {
        return error_set(e, ERR_NOMEM, "no configuration can be made: %s", raft_strerror(rv));
    }
    snapshot_meta_put(meta, index, encoded.base, encoded.len);
    raft_free(encoded.base);
    return meta->failed ? error_set(e, ERR_NOMEM, "out of memory") : 0;
}

struct copy {
    struct backup_reader *r;
    uint8_t *piece;
};

static int next_piece(void *arg, const uint8_t **data, size_t *len, struct error *e)
{
    struct copy *c = arg;
    *data = c->piece;
    return backup_read(c->r, c->piece, SNAPSHOT_CHUNK_BYTES, len, e);
}

static int import(struct restore *x, const char *file, const struct backup_head *verified,
                  struct span meta, struct error *e)
{
    struct backup_head head = { 0 };
    struct copy c = { .piece = mem_alloc(SNAPSHOT_CHUNK_BYTES) };
    int rc = c.piece != NULL ? backup_open(x->env, file, &c.r, &head, e)
                             : error_set(e, ERR_NOMEM, "out of memory");
    if (rc == 0 && (head.index != verified->index || head.digest != verified->digest)) {
        rc = error_set(e, ERR_CONFLICT, "%s changed while it was read", file);
    }
    rc = rc != 0
             ? rc
             : journal_import_snapshot(x->journal, head.index, head.term, meta, next_piece, &c, e);
    backup_close(c.r);
    mem_free(c.piece);
    return rc;
}

/* Into the opened directory: snapshot, term, and last the cluster id, which makes it a
 * member's. */
static int fill(struct restore *x, const char *file, const char *address,
                struct journal_identity *id, struct restore_result *result, struct error *e)
{
    struct buf meta = BUF_INIT;
    const struct backup_head *h = &result->head;
    int rc = configuration(id->node_id, address, h->index, &meta, e);
    rc = rc != 0 ? rc : import(x, file, h, span_make((const char *)meta.data, meta.len), e);
    buf_free(&meta);
    rc = rc != 0 ? rc : journal_set_vote_now(x->journal, h->term, id->node_id, e);
    while (id->cluster_id == 0 || id->cluster_id == h->cluster_id) {
        x->env->ops->random(x->env, &id->cluster_id, sizeof id->cluster_id);
    }
    (void)snprintf(id->address, sizeof id->address, "%s", address);
    result->cluster_id = id->cluster_id;
    result->node_id = id->node_id;
    return rc != 0 ? rc : journal_set_identity(x->journal, id, e);
}

static void on_closed(void *arg)
{
    struct restore *x = arg;
    x->journal = NULL;
    x->closed(x->arg);
}

static void on_fatal(void *arg, const struct error *e) { (void)arg, (void)e; }

static char *join(const char *a, const char *b)
{
    size_t len = strlen(a) + strlen(b) + 1;
    char *s = mem_must_alloc(len);
    (void)snprintf(s, len, "%s%s", a, b);
    return s;
}

static struct restore *restore_new(struct env *env, const char *dir)
{
    struct restore *x = mem_must_alloc(sizeof *x);
    *x = (struct restore){ .env = env, .dir = mem_strndup(dir, strlen(dir)) };
    for (size_t n = strlen(x->dir); n > 1 && x->dir[n - 1] == '/'; n--) {
        x->dir[n - 1] = '\0';
    }
    x->made = join(x->dir, ".restoring");
    return x;
}

static void restore_free(struct restore *x)
{
    mem_free(x->dir);
    mem_free(x->made);
    mem_free(x);
}

static void remove_name(void *arg, const char *name)
{
    struct restore *x = arg;
    char *with_slash = join(x->made, "/"), *path = join(with_slash, name);
    (void)x->env->ops->remove(x->env, path, NULL);
    mem_free(with_slash);
    mem_free(path);
}

/* What is in it is ours: it was empty. */
static void remove_made(struct restore *x)
{
    (void)x->env->ops->list_dir(x->env, x->made, remove_name, x, NULL);
    (void)x->env->ops->remove(x->env, x->made, NULL);
}

/* An empty directory becomes a node's; of one that does not nothing stays. */
static int open_made(struct restore *x, struct journal_recovery *rec, struct error *e)
{
    struct journal_options jo = { .fatal = on_fatal };
    int rc = journal_open(x->env, x->made, &jo, &x->journal, rec, e);
    if (rc != 0 && rc != ERR_CONFLICT) { /* another restore has it: its files */
        remove_made(x);
    }
    return rc;
}

int restore_write(struct env *env, const char *file, const char *dir, const char *address,
                  struct restore_result *result, struct restore **out, void (*closed)(void *arg),
                  void *arg, struct error *e)
{
    struct restore *x = restore_new(env, dir);
    struct journal_recovery rec;
    *out = NULL;
    int rc = check_empty(env, x->dir, e);
    rc = rc != 0 ? rc : check_empty(env, x->made, e);
    rc = rc != 0 ? rc : restore_verify(env, file, result, e); /* RS1 */
    rc = rc != 0 ? rc : open_made(x, &rec, e);
    if (rc != 0) {
        restore_free(x);
        return rc;
    }
    struct journal_identity id = rec.identity;
    journal_release_recovery(x->journal, &rec);
    rc = fill(x, file, address, &id, result, e);
    x->closed = closed;
    x->arg = arg;
    *out = x;
    journal_close(x->journal, on_closed, x);
    return rc;
}

/* The directory that holds the name; "." for a plain one. */
static int sync_parent(struct restore *x, struct error *e)
{
    char *slash = strrchr(x->dir, '/');
    char *parent = slash == NULL     ? mem_strndup(".", 1)
                   : slash == x->dir ? mem_strndup("/", 1)
                                     : mem_strndup(x->dir, (size_t)(slash - x->dir));
    int rc = parent == NULL ? error_set(e, ERR_NOMEM, "out of memory")
                            : x->env->ops->sync_dir(x->env, parent, e);
    mem_free(parent);
    return rc;
}

int restore_finish(struct restore *x, struct error *e)
{
    int rc = x->env->ops->rename(x->env, x->made, x->dir, e); /* RS2; an empty DIR is replaced */
    if (rc != 0) {
        restore_abandon(x);
        return rc;
    }
    rc = sync_parent(x, e);
    restore_free(x);
    return rc;
}

void restore_abandon(struct restore *x)
{
    remove_made(x);
    restore_free(x);
}
