/* The simulated disk of one address.
 *
 * Each file has a cache (what reads see) and a durable content (what the platter
 * holds); writes go to the cache and into a list of pending writes, which a sync
 * applies to the durable content. Names work alike: changes of the directory are
 * pending until sync_dir. A power loss applies a seeded choice of what is pending,
 * then makes the cache equal to the platter.
 *
 * Invariants
 *   D1 what was synced successfully is never lost, unless a test flips a bit
 *   D2 a write cut by power loss is a prefix of it, cut at any byte
 *   D3 a failed sync empties the pending list: no later sync makes those bytes durable */
#include "env_sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

/* ---- Names -------------------------------------------------------------------- */

char *path_clean(const char *path)
{
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') {
        len--;
    }
    char *copy = sim_alloc(len + 1);
    memcpy(copy, path, len);
    return copy;
}

size_t path_parent_len(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? 0 : (size_t)(slash - path);
}

bool path_parent_is(const char *path, const char *dir)
{
    size_t len = path_parent_len(path);
    if (len == 0) {
        return strcmp(dir, path[0] == '/' ? "/" : ".") == 0;
    }
    return strlen(dir) == len && memcmp(path, dir, len) == 0;
}

/* Takes the path. */
struct name *name_get(struct disk *d, char *path)
{
    for (size_t i = 0; i < d->names_count; i++) {
        if (strcmp(d->names[i]->path, path) == 0) {
            free(path);
            return d->names[i];
        }
    }
    d->names = realloc(d->names, (d->names_count + 1) * sizeof *d->names);
    ASSERT(d->names != NULL);
    struct name *n = sim_alloc(sizeof *n);
    n->path = path;
    return d->names[d->names_count++] = n;
}

bool dir_exists(struct disk *d, const char *path, size_t len)
{
    if (len == 0 || (len == 1 && path[0] == '.')) {
        return true;
    }
    for (size_t i = 0; i < d->names_count; i++) {
        const struct name *n = d->names[i];
        if (n->cache != NULL && n->cache->dir && strlen(n->path) == len &&
            memcmp(n->path, path, len) == 0) {
            return true;
        }
    }
    return false;
}

struct inode *inode_new(struct disk *d, bool dir)
{
    struct inode *i = sim_alloc(sizeof *i);
    i->tail = &i->pending;
    i->dir = dir;
    i->next = d->inodes;
    d->inodes = i;
    return i;
}

static void pending_free(struct inode *i)
{
    while (i->pending != NULL) {
        struct pending *p = i->pending;
        i->pending = p->next;
        free(p->data);
        free(p);
    }
    i->tail = &i->pending;
}

void change_add(struct disk *d, struct name *a, struct inode *ai, struct name *b, struct inode *bi)
{
    struct change *c = sim_alloc(sizeof *c);
    c->names[0] = a;
    c->inodes[0] = ai;
    c->names[1] = b;
    c->inodes[1] = bi;
    *d->tail = c;
    d->tail = &c->next;
    a->cache = ai;
    if (b != NULL) {
        b->cache = bi;
    }
}

void change_apply(const struct change *c)
{
    for (int i = 0; i < 2 && c->names[i] != NULL; i++) {
        c->names[i]->durable = c->inodes[i];
    }
}

/* Frees the contents of files that no name, change or handle can reach any more. */
void disk_collect(struct disk *d, const struct node *nodes)
{
    for (struct inode **at = &d->inodes; *at != NULL;) {
        struct inode *i = *at;
        bool used = false;
        for (size_t n = 0; n < d->names_count && !used; n++) {
            used = d->names[n]->cache == i || d->names[n]->durable == i;
        }
        for (const struct change *c = d->changes; c != NULL && !used; c = c->next) {
            used = c->inodes[0] == i || c->inodes[1] == i;
        }
        for (const struct node *n = nodes; n != NULL && !used; n = n->next) {
            for (const struct env_file *f = n->files; f != NULL && !used; f = f->next) {
                used = f->inode == i;
            }
        }
        if (used) {
            at = &i->next;
            continue;
        }
        *at = i->next;
        d->used -= i->cache.size;
        pending_free(i);
        bytes_free(&i->cache);
        bytes_free(&i->durable);
        free(i);
    }
}

struct disk *disk_new(void)
{
    struct disk *d = sim_alloc(sizeof *d);
    d->tail = &d->changes;
    d->capacity = UINT64_C(1) << 40;
    return d;
}

static void changes_drop(struct disk *d)
{
    while (d->changes != NULL) {
        struct change *c = d->changes;
        d->changes = c->next;
        free(c);
    }
    d->tail = &d->changes;
}

void disk_free(struct disk *d)
{
    changes_drop(d);
    for (size_t i = 0; i < d->names_count; i++) {
        free(d->names[i]->path);
        free(d->names[i]);
    }
    free(d->names);
    d->names = NULL;
    d->names_count = 0;
    disk_collect(d, NULL);
    free(d);
}

/* ---- Durability ------------------------------------------------------------------ */

/* Applies a pending write to the durable content: all of it, or the first `len` bytes. */
static void pending_apply(struct inode *i, const struct pending *p, uint64_t len)
{
    if (p->resize) {
        bytes_resize(&i->durable, p->at);
    } else {
        bytes_write(&i->durable, p->at, p->data, len);
    }
}

void inode_sync(struct inode *i)
{
    for (const struct pending *p = i->pending; p != NULL; p = p->next) {
        pending_apply(i, p, p->len);
    }
    pending_free(i);
    i->proof_at = i->write_at;
}

void inode_tear(struct inode *i, struct sim *sim)
{
    bool lost = false;
    for (const struct pending *p = i->pending; p != NULL; p = p->next) {
        uint64_t fate = rand_below(&sim->random, 10);
        if (fate >= 7 && !p->resize) {
            pending_apply(i, p, rand_below(&sim->random, p->len + 1));
            sim_count(sim, SIM_N_TORN_WRITE);
        } else if (fate >= 4) {
            pending_apply(i, p, p->len);
            if (lost) {
                sim_count(sim, SIM_N_REORDERED);
            }
        } else {
            sim_count(sim, SIM_N_LOST_WRITE);
            lost = true;
        }
    }
    pending_free(i);
}

void disk_power_loss(struct disk *d, struct sim *sim)
{
    size_t n = 0, kept;
    for (const struct change *c = d->changes; c != NULL; c = c->next) {
        n++;
    }
    kept = (size_t)rand_below(&sim->random, n + 1);
    for (const struct change *c = d->changes; c != NULL; c = c->next, n--) {
        if (kept > 0) {
            change_apply(c);
            kept--;
        } else {
            sim_count(sim, SIM_N_LOST_NAME);
        }
    }
    changes_drop(d);
    for (size_t i = 0; i < d->names_count; i++) {
        d->names[i]->cache = d->names[i]->durable;
    }
    d->used = 0;
    for (struct inode *i = d->inodes; i != NULL; i = i->next) {
        if (i->pending != NULL) { /* else cache and platter are equal, D1 */
            inode_tear(i, sim);
            bytes_copy(&i->cache, &i->durable);
        } else if (i->failed) {
            bytes_copy(&i->cache, &i->durable);
        }
        i->failed = false;
        d->used += i->cache.size;
    }
}

/* Whether anything but zeros is written: cut tails are overwritten with zeros, and those
 * are no evidence of anything. */
static bool is_data(const uint8_t *data, uint64_t len)
{
    for (uint64_t i = 0; data != NULL && i < len; i++) {
        if (data[i] != 0) {
            return true;
        }
    }
    return false;
}

void inode_change(struct disk *d, struct inode *i, bool resize, uint64_t at, const void *data,
                  uint64_t len)
{
    struct pending *p = sim_alloc(sizeof *p);
    p->resize = resize;
    p->at = at;
    p->len = len;
    if (data != NULL && len > 0) {
        p->data = sim_alloc((size_t)len);
        memcpy(p->data, data, (size_t)len);
    }
    *i->tail = p;
    i->tail = &p->next;
    d->used -= i->cache.size;
    if (resize) {
        bytes_resize(&i->cache, at);
    } else {
        bytes_write(&i->cache, at, data, len);
        if (is_data(data, len)) {
            i->write_at = at;
        }
    }
    d->used += i->cache.size;
}

uint64_t disk_used_bytes(const struct disk *d) { return d->used; }
