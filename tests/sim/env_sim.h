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
/* Called at the end of every event of a node; NULL: nobody. */
void sim_on_turn(struct sim *sim, void (*cb)(void *arg), void *arg);
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

/* ---- What was done to them ------------------------------------------------------- */

#define SIM_COUNT_MAP(X)                                                                           \
    X(SIM_N_KILL, "process killed")                                                                \
    X(SIM_N_POWER, "power lost")                                                                   \
    X(SIM_N_START, "process started")                                                              \
    X(SIM_N_LOST_WRITE, "unsynced write lost")                                                     \
    X(SIM_N_TORN_WRITE, "unsynced write torn")                                                     \
    X(SIM_N_REORDERED, "unsynced write kept, an earlier one not")                                  \
    X(SIM_N_LOST_NAME, "unsynced name lost")                                                       \
    X(SIM_N_OPEN_EIO, "open: I/O error")                                                           \
    X(SIM_N_READ_EIO, "read: I/O error")                                                           \
    X(SIM_N_READ_GARBLED, "read: flipped bit")                                                     \
    X(SIM_N_WRITE_EIO, "write: I/O error")                                                         \
    X(SIM_N_SYNC_EIO, "sync: I/O error")                                                           \
    X(SIM_N_ROT, "bit flipped on disk")                                                            \
    X(SIM_N_NOSPACE, "write met a full disk")                                                      \
    X(SIM_N_FULL, "disk made full")                                                                \
    X(SIM_N_RESET, "connection reset")                                                             \
    X(SIM_N_WIRE_FLIP, "bit flipped on the wire")                                                  \
    X(SIM_N_LOST, "message lost")                                                                  \
    X(SIM_N_REPLAYED, "message replayed")                                                          \
    X(SIM_N_DELAYED, "message delayed past later ones")                                            \
    X(SIM_N_ISOLATE, "partition: one from all, both ways")                                         \
    X(SIM_N_HALVES, "partition: halves")                                                           \
    X(SIM_N_ONE_WAY, "partition: one way")                                                         \
    X(SIM_N_BRIDGE, "partition: bridge")                                                           \
    X(SIM_N_FLAP, "partition: flapping link")                                                      \
    X(SIM_N_SLOW, "network slowed")                                                                \
    X(SIM_N_PAUSE, "process paused")                                                               \
    X(SIM_N_CLOCK_NEAR, "wall clock moved by seconds")                                             \
    X(SIM_N_CLOCK_HOUR, "wall clock moved by an hour")                                             \
    X(SIM_N_TRANSFER, "leadership moved")                                                          \
    X(SIM_N_SNAPSHOT, "snapshot asked for")                                                        \
    X(SIM_N_INSTALL, "snapshot installed from a peer")                                             \
    X(SIM_N_MEMBER, "membership change asked for")                                                 \
    X(SIM_N_MEMBER_DONE, "membership change done")

enum sim_count {
#define X(id, text) id,
    SIM_COUNT_MAP(X)
#undef X
        SIM_COUNTS
};
const char *sim_count_text(enum sim_count what);
void sim_count(struct sim *sim, enum sim_count what);
uint64_t sim_counted(const struct sim *sim, enum sim_count what);

/* ---- Crash points: before, in the middle of, or after an operation on a kind of file;
 * before or after a kind of message is sent or received. ------------------------------ */

enum sim_file {
    FILE_LOCK,
    FILE_IDENTITY,
    FILE_VOTE,
    FILE_MARK,
    FILE_LOG,
    FILE_SNAPSHOT,
    SIM_FILES
};
enum sim_act {
    ACT_CREATE,
    ACT_ALLOCATE,
    ACT_WRITE,
    ACT_SYNC,
    ACT_SYNC_NAME,
    ACT_TRUNCATE,
    ACT_RENAME,
    ACT_REMOVE,
    SIM_ACTS
};
enum sim_phase { PHASE_BEFORE, PHASE_TORN, PHASE_AFTER, SIM_PHASES };
#define SIM_FILE_POINTS  (SIM_FILES * SIM_ACTS * SIM_PHASES)
/* Messages: kinds are numbered by who taps them (sim_frames.c). */
#define SIM_MESSAGES_MAX 48
#define SIM_POINTS       (SIM_FILE_POINTS + SIM_MESSAGES_MAX * 4)

unsigned sim_file_point(enum sim_file file, enum sim_act act, enum sim_phase phase);
/* The other way, for points below SIM_FILE_POINTS. */
enum sim_file sim_point_file(unsigned point);
enum sim_act sim_point_act(unsigned point);
unsigned sim_message_point(unsigned message, bool receive, bool after);
const char *sim_file_point_name(unsigned point, char out[64]);
/* The n-th time from now that this node comes by the point it crashes there; n 0: never. */
void sim_crash_at(struct env *env, unsigned point, uint64_t n, enum sim_crash how);
/* Whether one is still to come. */
bool sim_crash_armed(const struct env *env);
/* What the world itself does to a disk is no point of the code. */
void sim_points_off(struct sim *sim, bool off);
/* The node comes by: true when it has crashed. */
bool sim_point(struct env *env, unsigned point);
uint64_t sim_point_passed(const struct sim *sim, unsigned point);
uint64_t sim_point_crashed(const struct sim *sim, unsigned point);

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
uint64_t sim_disk_used(struct env *env); /* of this address, in bytes */
/* Latency of one job: run() after min..max, done() the same again. */
void sim_set_job_latency(struct sim *sim, uint64_t min_us, uint64_t max_us);
/* Damages a file as rot would, in the cache and on the platter; false when absent. */
bool sim_flip_bit(struct env *env, const char *path, uint64_t byte, unsigned bit);
/* A random bit of a random file of this kind, where the journal owes to notice it: in a
 * log only in front of its last synced write (docs/formats.md, "Torn or damaged"). */
struct sim_rot {
    char path[160];
    uint64_t byte;
    unsigned bit;
    uint8_t flipped; /* the byte as it was left */
};
bool sim_rot(struct env *env, enum sim_file kind, struct sim_rot *out);
/* The damage as long as nothing has written over it: flips the bit back. */
void sim_unrot(struct sim *sim, const char *address, const struct sim_rot *rot);
/* Chances per million that an operation of this address fails from now on. */
struct sim_disk_rates {
    unsigned open_ppm, read_ppm, write_ppm, sync_ppm;
    unsigned garble_ppm; /* a read returns one flipped bit, where the journal owes to notice */
};
void sim_set_disk_rates(struct env *env, const struct sim_disk_rates *r);
/* Disk faults that this address has met in all its lives: a node that met none since it
 * was started has no reason to give up. */
uint64_t sim_disk_faults(const struct env *env);

/* ---- Network ------------------------------------------------------------------ */

typedef void (*sim_accept_cb)(void *arg, struct env_stream *stream);
void sim_listen(struct env *env, sim_accept_cb cb, void *arg); /* cb NULL: stop */

struct sim_network {
    uint64_t delay_min_us, delay_max_us; /* one way */
    unsigned reset_ppm;                  /* connection resets per million writes */
    unsigned split_percent;              /* pieces that are split further */
};
void sim_set_network(struct sim *sim, const struct sim_network *n);
/* What happens to bytes and, where somebody taps the links (sim_frames.c), to messages. */
struct sim_messages {
    unsigned flip_ppm; /* writes of which one bit is flipped on the way */
    unsigned loss_percent, replay_percent, delay_percent;
    uint64_t delay_max_ms; /* of replayed and delayed messages */
};
void sim_set_messages(struct sim *sim, const struct sim_messages *m);
/* One direction between two addresses; "*" stands for every address. */
void sim_block(struct sim *sim, const char *from, const char *to, bool blocked);
void sim_cut(struct sim *sim, const char *a, const char *b); /* both directions */
void sim_isolate(struct sim *sim, const char *address);      /* from everybody */
void sim_heal(struct sim *sim);                              /* all directions open */
/* Resets every connection between the two now. */
void sim_reset(struct sim *sim, const char *a, const char *b);

#endif
