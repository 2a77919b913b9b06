/* config.lua: profiles of clusters, read by nodes and by clients.
 *
 * The file is Lua and runs in a state of its own, with a budget: it can compute its
 * profiles and read the environment (`env`), and nothing else. Checking is Lua too
 * (lua/usher/config.lua); this file carries the result into C. */
#ifndef USHER_SCRIPT_CONFIG_H
#define USHER_SCRIPT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/error.h"

struct config_user {
    char *name, *password;
    int access;   /* enum access_level */
    char **roles; /* NULL-ended */
};

struct config {
    char *file;    /* path that was read */
    char *profile; /* name */
    char **nodes;  /* addresses, NULL-ended, at least one */
    size_t nodes_count;
    char *data, *policy, *lua, *secret; /* NULL when not given */
    char **scripts;                     /* NULL-ended */
    struct config_user *users;
    size_t users_count;
    unsigned election_timeout_ms; /* 0: the default */
    uint64_t snapshot_bytes;      /* 0: the default */
    uint64_t script_memory_bytes; /* of one script; 0: the default */
    uint64_t script_instructions; /* of one script; 0: the default */
    uint64_t script_file_bytes;   /* append() rotates after it; 0: the default */
    struct buf json;              /* the profile in long form, without secrets */
    uint64_t alike_hash;          /* of what has to be the same on every node */
};

/* Reads `file` (NULL: ./config.lua, then the installed one) and takes `profile` (NULL:
 * "default"). ERR_NOTFOUND, ERR_IO or ERR_BADARG with the file, the full path of the key,
 * what is wrong and the nearest valid name. */
int config_load(const char *file, const char *profile, struct config *out, struct error *e);
void config_free(struct config *c);
/* True unless both users and a secret protect the node: it talks to loopback only. */
bool config_loopback_only(const struct config *c);

#endif
