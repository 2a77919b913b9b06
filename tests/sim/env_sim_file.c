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
    h->disk_faults++;
    sim_trace(n->sim, n, "fault", op, h->fault);
    return true;
}

/* By chance, at the rates that were set for this address. */
static bool unlucky(struct node *n, unsigned ppm, enum sim_count what)
{
    if (ppm == 0 || rand_below(&n->sim->random, 1000000) >= ppm) {
        return false;
    }
    n->host->disk_faults++;
    sim_count(n->sim, what);
    sim_trace(n->sim, n, "unlucky", what, 0);
    return true;
}

static int no_luck(const char *path, struct error *e)
{
    return error_set(e, ERR_IO, "%s: simulated I/O error", path);
}

static bool passes(struct node *n, enum sim_file file, enum sim_act act, enum sim_phase phase)
{
    return sim_point(&n->env, sim_file_point(file, act, phase));
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

uint64_t sim_disk_used(struct env *env) { return disk_used_bytes(node_of(env)->host->disk); }

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
    flip_both(name->cache, byte, bit);
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
    if (unlucky(n, n->host->rates.open_ppm, SIM_N_OPEN_EIO)) {
        return no_luck(path, e);
    }
    struct name *name = name_get(d, path_clean(path));
    bool creates = name->cache == NULL && (flags & ENV_CREATE) != 0;
    if (creates && passes(n, file_kind(path), ACT_CREATE, PHASE_BEFORE)) {
        return error_set(e, ERR_IO, "%s: this node is dead", path);
    }
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
        inode_change(d, f->inode, true, 0, NULL, 0);
    }
    *out = f;
    if (creates) {
        (void)passes(n, file_kind(path), ACT_CREATE, PHASE_AFTER);
    }
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
    struct node *n = f->node;
    if (unlucky(n, n->host->rates.read_ppm, SIM_N_READ_EIO)) {
        return no_luck(f->path, e);
    }
    *got = bytes_read(&f->inode->cache, at, out, len);
    uint64_t limit = rot_limit(f->inode, file_kind(f->path));
    uint64_t end = at + *got < limit ? at + *got : limit;
    if (end > at && unlucky(n, n->host->rates.garble_ppm, SIM_N_READ_GARBLED)) {
        uint64_t byte = rand_below(&n->sim->random, end - at);
        ((uint8_t *)out)[byte] ^= (uint8_t)(1u << rand_below(&n->sim->random, 8));
    }
    return 0;
}

/* What of a growing write still fits on the disk. */
static bool fits(struct node *n, const struct env_file *f, bool resize, uint64_t at, uint64_t *len)
{
    struct disk *d = n->host->disk;
    uint64_t end = resize ? at : at + *len;
    uint64_t size = f->inode->cache.size;
    uint64_t used = disk_used_bytes(d);
    if (end <= size || used + (end - size) <= d->capacity) {
        return true;
    }
    uint64_t room = d->capacity > used ? d->capacity - used : 0;
    *len = resize ? 0 : size + room > at ? size + room - at : 0;
    n->host->disk_faults++;
    sim_count(n->sim, SIM_N_NOSPACE);
    return false;
}

/* The kernel keeps nothing of such a file: to write a part of a block it reads the rest, and
 * what it reads may be wrong this once and is written back. */
static void garble_around(struct env_file *f, uint64_t at)
{
    uint64_t from = at - at % ENV_BLOCK_BYTES, limit = rot_limit(f->inode, file_kind(f->path));
    uint64_t end = at < limit ? at : limit;
    if (from < end && unlucky(f->node, f->node->host->rates.garble_ppm, SIM_N_READ_GARBLED)) {
        flip_both(f->inode, from + rand_below(&f->node->sim->random, end - from),
                  (unsigned)rand_below(&f->node->sim->random, 8));
    }
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
    enum sim_file kind = file_kind(f->path);
    enum sim_act act = resize ? ACT_TRUNCATE : data == NULL ? ACT_ALLOCATE : ACT_WRITE;
    sim_trace(n->sim, n, resize ? "resize" : "write", at,
              data != NULL ? hash64(data, (size_t)len) : len);
    if (passes(n, kind, act, PHASE_BEFORE)) {
        return 0;
    }
    struct inode *inode = f->inode;
    uint64_t part = rand_below(&n->sim->random, len + 1);
    if (!resize && passes(n, kind, act, PHASE_TORN)) {
        /* The crash has closed the file; the kernel takes the part all the same. */
        inode_change(n->host->disk, inode, false, at, data, part);
        inode_sync(inode);
        return 0;
    }
    enum sim_fault fault = SIM_FAIL_IO;
    bool fails =
        faulted(n, SIM_WRITE, &fault) || unlucky(n, n->host->rates.write_ppm, SIM_N_WRITE_EIO);
    if (fails && fault != SIM_FAIL_POWER && !resize) {
        len = part; /* some of it got through */
    }
    if (!resize && (f->flags & ENV_DIRECT) != 0) {
        garble_around(f, at);
    }
    bool full = !fits(n, f, resize, at, &len);
    if ((!fails && !full) || !resize) {
        inode_change(n->host->disk, inode, resize, at, data, len);
    }
    if (fails && (fault == SIM_FAIL_KILL || fault == SIM_FAIL_POWER)) {
        sim_crash(&n->env, fault == SIM_FAIL_KILL ? SIM_KILL : SIM_POWER_LOSS);
        return 0;
    }
    if (fails && fault == SIM_FAIL_IO) {
        return no_luck(f->path, e);
    }
    if (fails || full) {
        return error_set(e, ERR_NOSPACE, "%s: no space left on device", f->path);
    }
    (void)passes(n, kind, act, PHASE_AFTER);
    return 0;
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
    enum sim_file kind = file_kind(f->path);
    if (passes(n, kind, ACT_SYNC, PHASE_BEFORE)) {
        return 0;
    }
    int rv = fault_whole(n, SIM_SYNC, f->path, e);
    if (rv < 0 && unlucky(n, n->host->rates.sync_ppm, SIM_N_SYNC_EIO)) {
        rv = no_luck(f->path, e);
    }
    if (rv > 0) {
        f->inode->failed = true;
        inode_tear(f->inode, n->sim);
        return rv;
    }
    if (rv < 0) {
        inode_sync(f->inode);
        (void)passes(n, kind, ACT_SYNC, PHASE_AFTER);
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
    if (a != b && !passes(n, file_kind(to), ACT_RENAME, PHASE_BEFORE)) {
        change_add(d, a, NULL, b, a->cache);
        (void)passes(n, file_kind(to), ACT_RENAME, PHASE_AFTER);
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
    if (!passes(n, file_kind(path), ACT_REMOVE, PHASE_BEFORE)) {
        change_add(d, name, NULL, NULL, NULL);
        (void)passes(n, file_kind(path), ACT_REMOVE, PHASE_AFTER);
    }
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
    if (unlucky(n, n->host->rates.sync_ppm, SIM_N_SYNC_EIO)) {
        return no_luck(path, e);
    }
    /* Of the newest change: that is why it is synced. */
    enum sim_file kind = FILE_LOCK;
    for (const struct change *c = d->changes; c != NULL; c = c->next) {
        kind = file_kind(c->names[c->names[1] != NULL ? 1 : 0]->path);
    }
    if (passes(n, kind, ACT_SYNC_NAME, PHASE_BEFORE)) {
        return 0;
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
    (void)passes(n, kind, ACT_SYNC_NAME, PHASE_AFTER);
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
