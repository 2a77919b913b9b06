/* The policy VM: runs transaction commands, written in Lua, over `tx`.
 *
 * One Lua state per node, sandboxed (engine.md's table), with an instruction
 * budget per transaction and a memory cap. Only text chunks, an allow-list of
 * globals, ordered pairs, seeded random. A transaction never yields to anybody:
 * it ends with an answer, a refusal or an error, and on anything but an answer
 * its effects are undone. */
#ifndef USHER_POLICY_POLICY_H
#define USHER_POLICY_POLICY_H

#include "base/buf.h"
#include "base/error.h"
#include "policy/command.h"
#include "store/store.h"

struct policy;

struct policy_options {
    uint64_t seed[2];          /* randomness of order ids and tx:random: unguessable */
    uint64_t instructions_max; /* per transaction; 0: default 10,000,000 */
    size_t memory_max;         /* bytes; 0: default 256 MiB */
    const char *lua_dir;       /* overrides of compiled-in files, NULL for none */
};

/* Builds the VM with the compiled-in commands and the default policy and adds
 * their definitions to `registry` (which must outlive it). */
int policy_new(const struct policy_options *o, struct registry *registry, struct policy **out,
               struct error *e);
void policy_free(struct policy *p);
/* Begins the VM's randomness anew: the same seed and calls give the same ids (tests). */
void policy_reseed(struct policy *p, const uint64_t seed[2]);

/* Compiles a bundle (policy_bundle_* below) beside the active one and swaps it in,
 * commands included; on error nothing changes and e says file and line. */
int policy_load(struct policy *p, uint32_t version, struct span bundle, struct error *e);
uint32_t policy_version(const struct policy *p); /* 0: the compiled-in default */
/* Its own name, "" without one; valid until the next policy_load. */
const char *policy_name(const struct policy *p);
/* Whether the active bundle has filled the VM's memory with what it keeps (a table that
 * grows with every request). Tells so once: load the bundle again, which gives it all up. */
bool policy_exhausted(struct policy *p);

struct policy_user {
    struct span name;         /* "" without authentication */
    int access;               /* enum access_level */
    const char *const *roles; /* NULL-ended, may be NULL */
};

/* Zeroed before its first use; may be used again for the next call, which keeps its memory.
 * Spans point into the VM and live until its next call. */
struct policy_answer {
    int code; /* 0, or the refusal/error (then `error` is set) */
    struct error error;
    struct buf fields; /* refusal: extra JSON members `"rule":"x","seat":"A1"` without braces */
    struct buf json;   /* code 0: the answer as JSON text */
    struct span order, order2; /* order ids of the answer, for the result; may be empty */
    bool wrote;                /* effects were recorded */
};
void policy_answer_free(struct policy_answer *a);

/* Evaluates one call against the store. Must run inside store_tx_begin(); leaves
 * the effects in the open transaction when code is 0 (and not dry_run), undoes
 * them otherwise. Never fails: every error becomes a code. For reads (def->read)
 * no transaction is needed and any effect is refused. */
void policy_evaluate(struct policy *p, struct store *s, const struct call *call,
                     const struct policy_user *user, uint64_t now_ms, uint64_t index,
                     struct policy_answer *out);
/* The answer of an earlier request rendered again from its result. */
void policy_answer_again(struct policy *p, struct store *s, const struct call *call,
                         const struct result *r, uint64_t index, struct policy_answer *out);
/* What a transaction of policy_expire() is called in the log. */
#define POLICY_EXPIRE "expire"
#define POLICY_SERVE  "serve-waiting"
typedef bool policy_expire_cb(void *arg, const char *command, struct span effects);

/* Expires every held order whose time has come (hook `expire`, then the effect), at
 * most `most`, and goes on with one waiting list that was too long for the transaction that
 * freed seats; returns how many transactions of the open group that made: the callback
 * gets the name and the effects of each to log and says whether there is time for another
 * one. Expiry always happens, whatever the hook does. None although something was due:
 * there is no memory, the caller tries again later. */
size_t policy_expire(struct policy *p, struct store *s, uint64_t now_ms, uint64_t index,
                     size_t most, policy_expire_cb *cb, void *arg);
/* The last that failed without an answer to tell it: an expire hook, what serves a waiting list.
 * False: nothing since this was asked last. */
bool policy_failed(struct policy *p, struct error *e);

/* A waiting list was too long for one transaction: policy_expire() goes on with it. */
bool policy_waiting_due(const struct store *s);

/* Bundles: a set of named Lua files as bytes: what EFFECT_POLICY_PUT carries. */
void policy_bundle_begin(struct buf *out);
void policy_bundle_add(struct buf *out, struct span name, struct span text);
int policy_bundle_next(struct reader *r, struct span *name,
                       struct span *text); /* 0, or -1 at the end */

#endif
