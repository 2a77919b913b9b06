/* A simulated world for whole clusters in one thread: virtual clock, disks that
 * lose what was not synced, a network that delays, splits, stalls and resets, and
 * faults on request. Everything is drawn from one seed; the same seed and the same
 * calls give the same run, which sim_trace_hash() proves.
 *
 * A node is a `struct env` made by sim_env(). Its disk belongs to the address and
 * outlives it. Typical use:
 *
 *     struct sim *sim = sim_new(seed);
 *     struct env *a = sim_env(sim, "a:1");
 *     sim_listen(a, on_accept, node);
 *     ... start the node's code on `a` ...
 *     sim_run_until(sim, 5000, is_elected, node);
 *     sim_crash(a, SIM_POWER_LOSS);
 *     ... stop the dead node's code (frees its memory), see below ...
 *     a = sim_env(sim, "a:1");            // the next life on the same disk
 *
 * After sim_crash() the old env is a ghost: its code may wind down in the ordinary
 * way (timers and jobs run, callbacks come), so that tests can free memory, but
 * nothing of it reaches the world: file writes and syncs report success without
 * effect, opens and reads fail with ERR_IO, streams close, connects fail. Whoever
 * watches events must ignore those of a ghost (sim_is_ghost).
 *
 * Durability (what a power loss leaves):
 *  - bytes: everything before the file's last successful sync, plus of each later
 *    write nothing, all, or a part cut at any byte;
 *  - names: everything up to the directory's last sync_dir, plus a prefix of the later
 *    changes. make_dir is durable at once (it happens only at first start);
 *  - after a failed sync the unsynced bytes are never made durable by a later one, as
 *    Linux does it, though reads still show them.
 * A kill (SIM_KILL) loses nothing that was written.
 *
 * Network: order holds per direction; data comes in pieces. A blocked direction holds
 * bytes back and delivers them when it opens (as TCP retransmits); connecting through
 * it times out. A peer learns of a killed process at once (reset), of a power loss
 * only when it sends something after the machine is back. */
#ifndef USHER_TESTS_SIM_ENV_SIM_H
#define USHER_TESTS_SIM_ENV_SIM_H

#include "base/env.h"

struct sim;

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim *sim); /* and all that is left in it */

/* ---- Time ----------------------------------------------------------------- */

uint64_t sim_now(const struct sim *sim); /* virtual milliseconds since sim_new */
/* Dispatches the next event; false when there is none. */
bool sim_step(struct sim *sim);
/* Steps until pred(arg) holds (true; pred may be NULL: never) or `ms` virtual
 * milliseconds have passed (false; then the clock stands exactly there). */
bool sim_run_until(struct sim *sim, uint64_t ms, bool (*pred)(void *arg), void *arg);
void sim_run(struct sim *sim, uint64_t ms);

/* Folded over every event, write and byte delivered so far. SIM_TRACE=1 in the
 * environment prints the trace to stderr. */
uint64_t sim_trace_hash(const struct sim *sim);
/* For a test's own choices: from the world's stream, 0 <= result < n. */
uint64_t sim_rand(struct sim *sim, uint64_t n);

/* ---- Nodes ----------------------------------------------------------------- */

/* A new life at this address; the previous one must have crashed or been retired. */
struct env *sim_env(struct sim *sim, const char *address);
struct sim *sim_of(struct env *env);

enum sim_crash { SIM_KILL, SIM_POWER_LOSS };
void sim_crash(struct env *env, enum sim_crash how);
bool sim_is_ghost(const struct env *env);

/* SIGSTOP: nothing of this node runs until sim_resume; the clock goes on. */
void sim_pause(struct env *env);
void sim_resume(struct env *env);

/* Added to the wall clock of this address, kept over lives. */
void sim_set_wall_offset(struct env *env, int64_t ms);

/* ---- Disk ------------------------------------------------------------------- */

enum sim_op { SIM_WRITE = 1, SIM_SYNC = 2, SIM_SYNC_DIR = 4, SIM_RENAME = 8, SIM_OPEN = 16 };
#define SIM_ANY_OP (SIM_WRITE | SIM_SYNC | SIM_SYNC_DIR | SIM_RENAME | SIM_OPEN)
enum sim_fault { SIM_FAIL_IO, SIM_FAIL_NOSPACE, SIM_FAIL_KILL, SIM_FAIL_POWER };
/* The n-th operation from now (1 = next) of the kinds in `ops` fails so, once. A
 * crash comes before that operation takes effect, or, for a write that is cut by
 * power loss, in the middle of it. Replaces an earlier request; n 0 cancels it. */
void sim_fail_at(struct env *env, unsigned ops, uint64_t n, enum sim_fault fault);
uint64_t sim_op_count(const struct env *env, unsigned ops); /* of this address so far */
/* Capacity of the disk; growing a file past it fails with ERR_NOSPACE after what fits. */
void sim_set_disk_bytes(struct env *env, uint64_t bytes);
/* Latency of one job: run() after min..max, done() the same again. */
void sim_set_job_latency(struct sim *sim, uint64_t min_us, uint64_t max_us);
/* Damages a file as rot would, in the cache and on the platter; false when absent. */
bool sim_flip_bit(struct env *env, const char *path, uint64_t byte, unsigned bit);

/* ---- Network ------------------------------------------------------------------ */

typedef void (*sim_accept_cb)(void *arg, struct env_stream *stream);
void sim_listen(struct env *env, sim_accept_cb cb, void *arg); /* cb NULL: stop */

struct sim_network {
    uint64_t delay_min_us, delay_max_us; /* one way */
    unsigned reset_ppm;                  /* connection resets per million writes */
    unsigned split_percent;              /* pieces that are split further */
};
void sim_set_network(struct sim *sim, const struct sim_network *n);
/* One direction between two addresses; "*" stands for every address. */
void sim_block(struct sim *sim, const char *from, const char *to, bool blocked);
void sim_cut(struct sim *sim, const char *a, const char *b); /* both directions */
void sim_isolate(struct sim *sim, const char *address);      /* from everybody */
void sim_heal(struct sim *sim);                              /* all directions open */
/* Resets every connection between the two now. */
void sim_reset(struct sim *sim, const char *a, const char *b);

#endif
