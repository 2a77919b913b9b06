/* Users of the profile: who may do what (lua.md 2, "Access").
 *
 * A password is given as plain text in config.lua (from the environment, usually) or as
 * `pbkdf2-sha256$ITERATIONS$SALT_HEX$HASH_HEX`. Plain text is not kept: at load it becomes
 * an HMAC under a key of this process, so checking it costs a microsecond and a flood of
 * AUTH cannot stop the loop. The slow hash is checked on a worker, one at a time, and its
 * password is remembered in the same way once it was right.
 *
 * Without users everybody is admin (on loopback only: listener_options.loopback_only).
 * With users, nobody who has not authenticated may do more than `public`. */
#ifndef USHER_NET_ACCESS_H
#define USHER_NET_ACCESS_H

#include "base/buf.h"
#include "base/error.h"
#include "policy/policy.h"

struct access;

/* `usher config password` makes hashes with so many rounds: about a quarter of a second. */
#define ACCESS_ITERATIONS 600000
#define ACCESS_HASH_BYTES 160

/* The hash of a password for config.lua, with a fresh salt. 0, or ERR_BADARG (empty, or more
 * than PASSWORD_BYTES_MAX) or ERR_INTERNAL. */
int access_hash(struct span password, unsigned iterations, char out[ACCESS_HASH_BYTES],
                struct error *e);

struct access *access_new(void); /* NULL: out of memory */
void access_free(struct access *a);
/* Copies everything. roles: NULL-ended, may be NULL. ERR_BADARG: a hash that does not
 * parse, an empty password, a name twice. */
int access_add(struct access *a, const char *name, const char *password, int level,
               const char *const *roles, struct error *e);
size_t access_count(const struct access *a); /* 0 for NULL */

/* What a connection is before it says who it is. */
struct policy_user access_anonymous(const struct access *a);

enum access_verdict { ACCESS_WRONG, ACCESS_RIGHT, ACCESS_SLOW };
/* name may be empty: then "default". RIGHT fills user (it points into `a`). SLOW: call
 * access_check_slow on a worker thread and, if it was right, access_learn on the loop. */
enum access_verdict access_check(const struct access *a, struct span name, struct span password,
                                 struct policy_user *user);
bool access_check_slow(const struct access *a, struct span name, struct span password);
void access_learn(struct access *a, struct span name, struct span password,
                  struct policy_user *user);

#endif
