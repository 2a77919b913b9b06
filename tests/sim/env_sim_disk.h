/* The simulated disk's inside, shared by env_sim_disk.c (names and durability) and
 * env_sim_file.c (the file functions, faults). */
#ifndef USHER_TESTS_SIM_ENV_SIM_DISK_H
#define USHER_TESTS_SIM_ENV_SIM_DISK_H

#include "env_sim_bytes.h"
#include "env_sim_internal.h"

struct pending {
    bool resize; /* to `at` bytes */
    uint64_t at, len;
    uint8_t *data; /* NULL: zeros */
    struct pending *next;
};

struct inode {
    struct bytes cache, durable;
    struct pending *pending, **tail;
    struct env_file *locked_by;
    bool dir, failed; /* failed: a sync did, so the cache may hold what the platter does not */
    /* Where the newest synced write of data began, and the newest write at all: damage in
     * front of the former is provable. */
    uint64_t proof_at, write_at;
    struct inode *next;
};

struct name {
    char *path;
    struct inode *cache, *durable;
};

/* A change of one directory entry, or of two at once (rename). */
struct change {
    struct name *names[2];
    struct inode *inodes[2];
    struct change *next;
};

struct disk {
    struct name **names;
    size_t names_count;
    struct inode *inodes;
    struct change *changes, **tail;
    uint64_t capacity;
    uint64_t used; /* sum of the cached sizes */
};

struct env_file {
    struct node *node;
    struct inode *inode; /* NULL after a crash */
    int flags;
    char *path;
    struct env_file *prev, *next;
};

char *path_clean(const char *path); /* a copy without trailing slashes */
size_t path_parent_len(const char *path);
bool path_parent_is(const char *path, const char *dir);
struct name *name_get(struct disk *d, char *path); /* takes the path; made when absent */
bool dir_exists(struct disk *d, const char *path, size_t len);
struct inode *inode_new(struct disk *d, bool dir);
/* A change of one name, or of two at once (b may be NULL); at once in the cache. */
void change_add(struct disk *d, struct name *a, struct inode *ai, struct name *b, struct inode *bi);
void change_apply(const struct change *c); /* makes it durable */
/* Frees files that no name, change or handle of these nodes can reach any more. */
void disk_collect(struct disk *d, const struct node *nodes);
/* A write (data NULL: zeros) or a resize to `at`: in the cache now, pending for the platter. */
void inode_change(struct disk *d, struct inode *i, bool resize, uint64_t at, const void *data,
                  uint64_t len);
void inode_sync(struct inode *i);
/* What is left of the pending writes when they fail or the power does. */
void inode_tear(struct inode *i, struct sim *sim);
uint64_t disk_used_bytes(const struct disk *d);
enum sim_file file_kind(const char *path);
uint64_t rot_limit(const struct inode *i, enum sim_file kind);
void flip_both(struct inode *i, uint64_t byte, unsigned bit);

#endif
