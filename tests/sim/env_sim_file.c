/* The file functions of the simulated env, and the faults that tests ask for: every
 * operation is counted, and may fail or crash its node instead of taking effect. What a
 * write or a sync means for durability is in env_sim_disk.c. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "env_sim_disk.h"

/* ---- Faults ------------------------------------------------------------------------ */

static struct node *node_of(struct env *env) { return (struct node *)env; }

static unsigned op_slot(unsigned op)
{
    unsigned slot = 0;
    while ((op >>= 1) != 0) {
        slot++;
    }
    return slot;
}

/* Counts the operation; true when it must fail now, with *fault saying how. */
static bool faulted(struct node *n, unsigned op, enum sim_fault *fault)
{
    struct host *h = n->host;
    h->op_counts[op_slot(op)]++;
    if (h->fault_in == 0 || (h->fault_ops & op) == 0 || --h->fault_in > 0) {
        return false;
    }
    *fault = h->fault;
    sim_trace(n->sim, n, "fault", op, h->fault);
    return true;
}

/* For operations that fail or crash as a whole. -1: go on. */
static int fault_whole(struct node *n, unsigned op, const char *path, struct error *e)
{
    enum sim_fault fault;
    if (!faulted(n, op, &fault)) {
        return -1;
    }
    switch (fault) {
    case SIM_FAIL_IO: return error_set(e, ERR_IO, "%s: simulated I/O error", path);
    case SIM_FAIL_NOSPACE: return error_set(e, ERR_NOSPACE, "%s: simulated full disk", path);
    case SIM_FAIL_KILL: sim_crash(&n->env, SIM_KILL); return 0;
    case SIM_FAIL_POWER: sim_crash(&n->env, SIM_POWER_LOSS); return 0;
    }
    return -1;
}

void sim_fail_at(struct env *env, unsigned op_mask, uint64_t n, enum sim_fault fault)
{
    struct host *h = node_of(env)->host;
    h->fault_ops = op_mask;
    h->fault_in = n;
    h->fault = fault;
}

uint64_t sim_op_count(const struct env *env, unsigned op_mask)
{
    const struct host *h = ((const struct node *)env)->host;
    uint64_t count = 0;
    for (unsigned slot = 0; slot < 5; slot++) {
        count += (op_mask & (1u << slot)) != 0 ? h->op_counts[slot] : 0;
    }
    return count;
}

void sim_set_disk_bytes(struct env *env, uint64_t bytes)
{
    node_of(env)->host->disk->capacity = bytes;
}

bool sim_flip_bit(struct env *env, const char *path, uint64_t byte, unsigned bit)
{
    struct disk *d = node_of(env)->host->disk;
    const struct name *name = name_get(d, path_clean(path));
    if (name->cache == NULL || byte >= name->cache->cache.size) {
        return false;
    }
    struct bytes *both[2] = { &name->cache->cache, &name->cache->durable };
    for (int i = 0; i < 2; i++) {
        uint8_t value = 0;
        if (bytes_read(both[i], byte, &value, 1) == 1) {
            value ^= (uint8_t)(1u << (bit & 7));
            bytes_write(both[i], byte, &value, 1);
        }
    }
    return true;
}

/* ---- The file functions of env_ops ---------------------------------------------- */

static int disk_open(struct env *env, const char *path, int flags, struct env_file **out,
                     struct error *e)
{
    struct node *n = node_of(env);
    struct disk *d = n->host->disk;
    *out = NULL;
    int rv = n->ghost ? error_set(e, ERR_IO, "%s: this node is dead", path)
                      : fault_whole(n, SIM_OPEN, path, e);
    if (rv >= 0) {
        return rv != 0 ? rv : error_set(e, ERR_IO, "%s: this node is dead", path);
    }
    struct name *name = name_get(d, path_clean(path));
    if (name->cache != NULL && (flags & ENV_EXCLUSIVE) != 0) {
        return error_set(e, ERR_CONFLICT, "%s: exists", path);
    }
    if (name->cache == NULL) {
        if ((flags & ENV_CREATE) == 0 || !dir_exists(d, name->path, path_parent_len(name->path))) {
            return error_set(e, ERR_NOTFOUND, "%s: not found", path);
        }
        change_add(d, name, inode_new(d, false), NULL, NULL);
    } else if (name->cache->dir) {
        return error_set(e, ERR_IO, "%s: is a directory", path);
    }
    struct env_file *f = sim_alloc(sizeof *f);
    f->node = n;
    f->inode = name->cache;
    f->flags = flags;
    f->path = path_clean(path);
    f->next = n->files;
    if (f->next != NULL) {
        f->next->prev = f;
    }
    n->files = f;
    if ((flags & ENV_TRUNCATE) != 0) {
        inode_change(f->inode, true, 0, NULL, 0);
    }
    *out = f;
    return 0;
}

static void file_unlock(struct env_file *f)
{
    if (f->inode != NULL && f->inode->locked_by == f) {
        f->inode->locked_by = NULL;
    }
    f->inode = NULL;
}

static void disk_close(struct env_file *f)
{
    if (f == NULL) {
        return;
    }
    file_unlock(f);
    if (f->prev != NULL) {
        f->prev->next = f->next;
    } else {
        f->node->files = f->next;
    }
    if (f->next != NULL) {
        f->next->prev = f->prev;
    }
    disk_collect(f->node->host->disk, f->node->sim->nodes);
    free(f->path);
    free(f);
}

void disk_close_files(struct node *n)
{
    for (struct env_file *f = n->files; f != NULL; f = f->next) {
        file_unlock(f);
    }
}

void disk_free_files(struct node *n)
{
    while (n->files != NULL) {
        struct env_file *f = n->files;
        n->files = f->next;
        free(f->path);
        free(f);
    }
}

static int disk_read(struct env_file *f, uint64_t at, void *out, size_t len, size_t *got,
                     struct error *e)
{
    *got = 0;
    if (f->inode == NULL) {
        return error_set(e, ERR_IO, "%s: this node is dead", f->path);
    }
    ASSERT((f->flags & ENV_READ) != 0);
    *got = bytes_read(&f->inode->cache, at, out, len);
    return 0;
}

/* One change of a file's content with everything that may go wrong: `data` NULL for
 * zeros; `resize` sets the size to `at`. */
static int file_change(struct env_file *f, bool resize, uint64_t at, const void *data, uint64_t len,
                       struct error *e)
{
    if (f->inode == NULL) {
        return 0; /* a ghost writes into the void */
    }
    ASSERT((f->flags & ENV_WRITE) != 0);
    struct node *n = f->node;
    struct disk *d = n->host->disk;
    sim_trace(n->sim, n, resize ? "resize" : "write", at,
              data != NULL ? hash64(data, (size_t)len) : len);
    enum sim_fault fault;
    bool fails = faulted(n, SIM_WRITE, &fault);
    if (fails && fault != SIM_FAIL_POWER && !resize) {
        len = rand_below(&n->sim->random, len + 1); /* some of it got through */
    }
    uint64_t end = resize ? at : at + len;
    uint64_t size = f->inode->cache.size;
    uint64_t used = disk_used_bytes(d);
    bool full = end > size && used + (end - size) > d->capacity;
    if (full && !resize) {
        uint64_t room = d->capacity > used ? d->capacity - used : 0;
        len = size + room > at ? size + room - at : 0;
    }
    if ((!fails && !full) || !resize) {
        inode_change(f->inode, resize, at, data, len);
    }
    if (fails && (fault == SIM_FAIL_KILL || fault == SIM_FAIL_POWER)) {
        sim_crash(&n->env, fault == SIM_FAIL_KILL ? SIM_KILL : SIM_POWER_LOSS);
        return 0;
    }
    if (fails && fault == SIM_FAIL_IO) {
        return error_set(e, ERR_IO, "%s: simulated I/O error", f->path);
    }
    return fails || full ? error_set(e, ERR_NOSPACE, "%s: no space left on device", f->path) : 0;
}

static int disk_write(struct env_file *f, uint64_t at, const void *data, size_t len,
                      struct error *e)
{
    return len == 0 ? 0 : file_change(f, false, at, data, len, e);
}

static int disk_truncate(struct env_file *f, uint64_t bytes, struct error *e)
{
    return file_change(f, true, bytes, NULL, 0, e);
}

static int disk_allocate(struct env_file *f, uint64_t bytes, struct error *e)
{
    return bytes == 0 ? 0 : file_change(f, false, 0, NULL, bytes, e);
}

static int disk_sync(struct env_file *f, struct error *e)
{
    if (f->inode == NULL) {
        return 0;
    }
    struct node *n = f->node;
    sim_trace(n->sim, n, "sync", f->inode->cache.size, 0);
    int rv = fault_whole(n, SIM_SYNC, f->path, e);
    if (rv > 0) {
        inode_tear(f->inode, &n->sim->random);
        return rv;
    }
    if (rv < 0) {
        inode_sync(f->inode);
    }
    return 0;
}

static int disk_size(struct env_file *f, uint64_t *bytes, struct error *e)
{
    *bytes = 0;
    if (f->inode == NULL) {
        return error_set(e, ERR_IO, "%s: this node is dead", f->path);
    }
    *bytes = f->inode->cache.size;
    return 0;
}

static int disk_lock(struct env_file *f, struct error *e)
{
    if (f->inode == NULL) {
        return 0;
    }
    if (f->inode->locked_by != NULL && f->inode->locked_by != f) {
        return error_set(e, ERR_CONFLICT, "%s: locked by another process", f->path);
    }
    f->inode->locked_by = f;
    return 0;
}

static int disk_rename(struct env *env, const char *from, const char *to, struct error *e)
{
    struct node *n = node_of(env);
    struct disk *d = n->host->disk;
    int rv = n->ghost ? 0 : fault_whole(n, SIM_RENAME, from, e);
    if (rv >= 0) {
        return rv;
    }
    struct name *a = name_get(d, path_clean(from));
    struct name *b = name_get(d, path_clean(to));
    if (a->cache == NULL || !dir_exists(d, b->path, path_parent_len(b->path))) {
        return error_set(e, ERR_NOTFOUND, "%s: not found", from);
    }
    sim_trace(n->sim, n, "rename", hash64(from, strlen(from)), hash64(to, strlen(to)));
    if (a != b) {
        change_add(d, a, NULL, b, a->cache);
    }
    return 0;
}

static int disk_remove(struct env *env, const char *path, struct error *e)
{
    struct node *n = node_of(env);
    struct disk *d = n->host->disk;
    if (n->ghost) {
        return 0;
    }
    struct name *name = name_get(d, path_clean(path));
    if (name->cache == NULL) {
        return error_set(e, ERR_NOTFOUND, "%s: not found", path);
    }
    for (size_t i = 0; name->cache->dir && i < d->names_count; i++) {
        if (d->names[i]->cache != NULL && path_parent_is(d->names[i]->path, name->path)) {
            return error_set(e, ERR_CONFLICT, "%s: not empty", path);
        }
    }
    sim_trace(n->sim, n, "remove", hash64(path, strlen(path)), 0);
    change_add(d, name, NULL, NULL, NULL);
    return 0;
}

static int disk_make_dir(struct env *env, const char *path, struct error *e)
{
    struct node *n = node_of(env);
    struct disk *d = n->host->disk;
    if (n->ghost) {
        return 0;
    }
    char *whole = path_clean(path);
    for (size_t len = 1; len <= strlen(whole); len++) {
        if ((whole[len] != '/' && whole[len] != 0) || dir_exists(d, whole, len)) {
            continue;
        }
        char *part = sim_alloc(len + 1);
        memcpy(part, whole, len);
        struct name *name = name_get(d, part);
        if (name->cache != NULL) {
            free(whole);
            return error_set(e, ERR_CONFLICT, "%s: is a file", name->path);
        }
        name->cache = name->durable = inode_new(d, true);
    }
    free(whole);
    return 0;
}

static int disk_sync_dir(struct env *env, const char *path, struct error *e)
{
    struct node *n = node_of(env);
    struct disk *d = n->host->disk;
    int rv = n->ghost ? 0 : fault_whole(n, SIM_SYNC_DIR, path, e);
    if (rv >= 0) {
        return rv;
    }
    char *dir = path_clean(path);
    sim_trace(n->sim, n, "sync dir", hash64(dir, strlen(dir)), 0);
    if (!dir_exists(d, dir, strlen(dir)) && strcmp(dir, "/") != 0) {
        free(dir);
        return error_set(e, ERR_NOTFOUND, "%s: not found", path);
    }
    for (struct change **at = &d->changes; *at != NULL;) {
        struct change *c = *at;
        if (path_parent_is(c->names[0]->path, dir) ||
            (c->names[1] != NULL && path_parent_is(c->names[1]->path, dir))) {
            change_apply(c);
            *at = c->next;
            free(c);
        } else {
            at = &c->next;
        }
    }
    d->tail = &d->changes;
    while (*d->tail != NULL) {
        d->tail = &(*d->tail)->next;
    }
    free(dir);
    disk_collect(d, n->sim->nodes);
    return 0;
}

static int disk_list(struct env *env, const char *path, env_names_cb cb, void *arg, struct error *e)
{
    struct node *n = node_of(env);
    struct disk *d = n->host->disk;
    char *dir = path_clean(path);
    int rv = 0;
    if (n->ghost) {
        rv = error_set(e, ERR_IO, "%s: this node is dead", path);
    } else if (!dir_exists(d, dir, strlen(dir)) && strcmp(dir, "/") != 0) {
        rv = error_set(e, ERR_NOTFOUND, "%s: not found", path);
    }
    for (size_t i = 0; rv == 0 && i < d->names_count; i++) {
        if (d->names[i]->cache != NULL && path_parent_is(d->names[i]->path, dir)) {
            const char *slash = strrchr(d->names[i]->path, '/');
            cb(arg, slash != NULL ? slash + 1 : d->names[i]->path);
        }
    }
    free(dir);
    return rv;
}

static int disk_free_bytes(struct env *env, const char *path, uint64_t *bytes, struct error *e)
{
    (void)path;
    (void)e;
    struct disk *d = node_of(env)->host->disk;
    uint64_t used = disk_used_bytes(d);
    *bytes = d->capacity > used ? d->capacity - used : 0;
    return 0;
}

const struct env_ops disk_ops = {
    .file_open = disk_open,
    .file_close = disk_close,
    .file_read = disk_read,
    .file_write = disk_write,
    .file_sync = disk_sync,
    .file_size = disk_size,
    .file_truncate = disk_truncate,
    .file_allocate = disk_allocate,
    .file_lock = disk_lock,
    .rename = disk_rename,
    .remove = disk_remove,
    .make_dir = disk_make_dir,
    .sync_dir = disk_sync_dir,
    .list_dir = disk_list,
    .free_bytes = disk_free_bytes,
};
