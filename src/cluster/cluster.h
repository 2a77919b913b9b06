/* The cluster: the only user of <raft.h>.
 *
 * Drives libraft's raft_step() with the journal, the transport and the clock of an
 * env; owns founding, proposals, speculation, reads, readiness, time, snapshots and
 * quarantine (design.md 2 and 5, engine.md). It applies committed entries to the store
 * itself. Everything runs on the loop.
 *
 * Life: founding -> follower <-> candidate <-> leader(not ready) -> leader(ready);
 * from any: quarantined (digest minority), removed, stopped.
 *
 * Invariants
 *   C1 nothing is answered before its entry has committed in the term it was proposed in
 *   C2 no message leaves before the term and vote of its step are durable
 *   C3 a CHANGE is always the first entry of an AppendEntries given to the library
 *   C4 speculation exists only while leader in the term it was opened in
 *   C5 an entry is applied only if its digest matches the store's */
#ifndef USHER_CLUSTER_CLUSTER_H
#define USHER_CLUSTER_CLUSTER_H

#include "base/buf.h"
#include "base/env.h"
#include "base/error.h"
#include "raftio/transport.h"
#include "store/store.h"

struct cluster;

enum cluster_role {
    ROLE_FOUNDING,
    ROLE_FOLLOWER,
    ROLE_CANDIDATE,
    ROLE_LEADER,
    ROLE_QUARANTINED,
    ROLE_REMOVED
};
const char *cluster_role_name(int role); /* "leader"; founding shows as "founding" */

struct cluster_member_change {
    const char *address;
    const char *change; /* "learner", "voter" or "removed" */
    uint64_t node_id, index;
    unsigned voters; /* from now on */
};

#define DISK_FULL  1u /* what grows the state is refused (NOSPACE) */
#define DISK_HANGS 2u /* an append has been out for some election timeouts */

/* How a node fares with the active policy; none of them from a node of an older program. */
#define POLICY_KNOWN       1u /* it does tell */
#define POLICY_REFUSED     2u /* it does not load there */
#define POLICY_UNRULED     4u /* nor is another one active there: it sells nothing */
#define POLICY_FAILED      8u /* a request or an expiry ended in an error of the policy, of late */
#define POLICY_PLACE_WORDS 8

/* What each node tells all others about itself once a second (vitals.c). */
struct cluster_vitals {
    uint64_t role, term, commit, applied, last; /* role: enum cluster_role */
    uint64_t digest_index, digest;              /* the digest it had before that entry */
    uint64_t snapshot_index, log_bytes;
    uint64_t write_us, free_bytes; /* a batch until it is durable, of late, or the age of the
                                      append that is out; room on the disk */
    uint64_t uptime_ms, version, policy_version, policy_hash;
    uint64_t profile_hash, build_hash, files, files_max; /* 0: not known */
    uint64_t draining;                                   /* wants not to lead */
    uint64_t disk;                                       /* DISK_ bits; 0: it is well */
    uint64_t policy_state;                               /* POLICY_ bits */
    uint64_t policy_place[POLICY_PLACE_WORDS]; /* FILE:LINE of its error, 8 bytes a word, the
                                                  first one lowest; 0 behind its end */
};

struct cluster_options {
    const char *dir;          /* data directory of this node */
    const char *address;      /* own advertised address, one of `nodes` or a joiner's */
    const char *const *nodes; /* the profile's list, NULL-ended */
    struct span secret;
    unsigned election_timeout_ms;          /* 0: 500; heartbeat is a tenth */
    bool found;                            /* --found: a majority of the list is enough */
    uint32_t version;                      /* program version number */
    uint32_t feature_level;                /* 0: this program's (feature.h) */
    uint64_t snapshot_bytes;               /* log bytes that trigger a snapshot; 0: 64 MiB or the
                                              size of the last snapshot, whichever is more */
    uint64_t segment_bytes, reserve_bytes; /* journal_options; 0: theirs */
    /* Once a second: profile_hash, build_hash, files, files_max, policy_state, policy_place. May
     * be NULL. */
    void (*machine)(void *arg, struct cluster_vitals *v);
    void *machine_arg;
    /* All on the loop, never from inside a call into the cluster. */
    struct cluster_events {
        /* Role, leader or term changed. leader may be "". */
        void (*role)(void *arg, int role, const char *leader, uint64_t term);
        /* A batch may be opened now (leader, ready, a place in the pipeline free). */
        void (*ready)(void *arg);
        /* A group committed and is in the store: the leader's own (mine: its answers may
         * leave) or applied here. Before the undo records are dropped, so that
         * store_changes() works inside. entry may be NULL for barriers. */
        void (*committed)(void *arg, uint64_t index, uint64_t term, struct span entry, bool mine);
        /* Speculation was undone: groups with index >= first are gone; their outcome is
         * unknown (they may still commit elsewhere). */
        void (*undone)(void *arg, uint64_t first);
        /* The store was replaced by a received snapshot: re-read everything. */
        void (*restored)(void *arg, struct store *store);
        /* A committed configuration was applied that differs from the one before (on every
         * node; again when the log is replayed after a restart). One call per difference. */
        void (*member)(void *arg, const struct cluster_member_change *m);
        /* A frame of CHANNEL_SERVICE. */
        void (*frame)(void *arg, const struct transport_peer *peer, const uint8_t *data,
                      size_t len);
        /* The node can no longer go on (disk error, removed, quarantine, ...). */
        void (*fatal)(void *arg, const struct error *e, bool stop_process);
    } on;
    void *arg;
};

/* Opens the journal, restores the store from snapshot and log (blocking), and starts
 * founding or raft. Errors name what to do (locked directory, other cluster's or
 * other address's data, damaged files). */
int cluster_start(struct env *env, const struct cluster_options *o, struct cluster **out,
                  struct error *e);
/* Hands over leadership if leader (bounded time), stops, frees, then cb. */
void cluster_stop(struct cluster *c, void (*cb)(void *arg), void *arg);
void cluster_accept(struct cluster *c, struct env_stream *stream); /* a sniffed peer connection */

struct store *cluster_store(struct cluster *c);

/* ---- Proposing (leader) ------------------------------------------------- */

/* Opens the next group in the store: 0 with its index and fixed time, or
 * ERR_NOTLEADER, ERR_NOTREADY (barrier not applied, clock disagreement), ERR_BUSY
 * (pipeline full, or UNSTORED_BYTES_MAX wait for the disk), ERR_NOSPACE. After 0 the
 * caller evaluates transactions and ends with exactly one of propose or abandon, before
 * returning to the loop. */
int cluster_batch_open(struct cluster *c, uint64_t *index, uint64_t *time_ms, struct error *e);
/* The digest_before for entry_begin() of the open batch: the store's, before the group
 * began (beginning sets the time, which is part of the digest). */
uint64_t cluster_batch_digest(const struct cluster *c);
/* Seals the group and submits the entry; takes entry's bytes. On error (leadership
 * just lost) the group is undone and the requests may be retried elsewhere. */
int cluster_batch_propose(struct cluster *c, struct buf *entry, struct error *e);
void cluster_batch_abandon(struct cluster *c);

/* ---- Reading ------------------------------------------------------------ */

/* Linearizable: calls cb on the loop once leadership is proved by a round (or an entry
 * of this term) that began after this call, and everything committed at arrival is in
 * the store; or with ERR_NOTLEADER (forward it), ERR_NOQUORUM, ERR_CANCELED. */
typedef void (*cluster_read_cb)(void *arg, int status);
void cluster_read(struct cluster *c, cluster_read_cb cb, void *arg);
/* The leader is heard here, but has not answered this node for some seconds. */
bool cluster_leader_deaf(struct cluster *c);
/* 0 when local reads may be answered here (a commit index learned from a leader in this
 * run has been applied), else ERR_NOTREADY / quarantined text. */
int cluster_local_ready(const struct cluster *c, struct error *e);
/* cb once the store holds index (for --min-index); ERR_UNKNOWN after timeout_ms. */
void cluster_wait_index(struct cluster *c, uint64_t index, uint64_t timeout_ms, cluster_read_cb cb,
                        void *arg);

/* ---- Everything else ----------------------------------------------------- */

/* Sends on CHANNEL_SERVICE to a member; false when the link is down. */
bool cluster_send(struct cluster *c, const char *address, struct buf *b);

struct cluster_member {
    const char *address;
    uint64_t node_id;
    bool voter, leader, reachable, self;
    bool deaf;         /* reachable, but some pings in a row were not answered */
    uint64_t match;    /* leader only, else 0 */
    uint64_t rtt_us;   /* round trip from here, of the last second; 0 unknown */
    uint64_t heard_ms; /* since its last frame; UINT64_MAX never, 0 self */
    int64_t clock_ms;  /* its wall clock minus ours */
    bool clock_known;
    char why[160];      /* not reachable: why, as far as it is known */
    uint64_t vitals_ms; /* age of the vitals; UINT64_MAX: none */
    struct cluster_vitals vitals;
    int digest_agrees; /* 1 its digest equals ours at that index, -1 it differs, 0 unknown */
};
struct cluster_status {
    const char *address, *leader; /* leader "" when unknown */
    uint64_t node_id, cluster_id, term, commit, applied, last, digest, snapshot_index;
    int role;
    bool ready;
    const char *waiting;                  /* founding: whom it waits for, else "" */
    const struct cluster_member *members; /* valid until the next call */
    size_t members_count;
    uint64_t log_bytes, entries_in_flight;
};
void cluster_status(struct cluster *c, struct cluster_status *out);
/* A committed entry that is still in memory; false when there is none at that index. `data` is
 * valid until the next turn of the loop. */
struct cluster_entry {
    uint64_t term;
    bool command, change; /* neither: a barrier */
    struct span data;
};
bool cluster_entry(const struct cluster *c, uint64_t index, struct cluster_entry *out);
uint64_t cluster_first(const struct cluster *c); /* the oldest index that may be asked for */
/* Starts a snapshot now; cb with 0 or an error. */
void cluster_snapshot(struct cluster *c, cluster_read_cb cb, void *arg);
/* ---- Membership (member_*.c) ---------------------------------------------- */

enum change_kind {
    CHANGE_NONE,
    CHANGE_ADD,
    CHANGE_REMOVE,
    CHANGE_REPLACE,
    CHANGE_TRANSFER,
    CHANGE_PROBE
};
struct cluster_change {
    uint64_t id; /* drawn by the asker; the same id is the same change, on every node */
    int kind;
    const char *address; /* REPLACE: the old one; TRANSFER: "" for the most caught-up voter;
                            PROBE (commits an empty entry): "" */
    const char *other;   /* REPLACE: the new one, else "" */
    uint64_t timeout_ms;
    bool force; /* REMOVE, REPLACE: even if too few reachable voters remain */
};
enum change_stage {
    STAGE_ASKING,   /* the leader has not answered yet */
    STAGE_REACHING, /* the address is tried */
    STAGE_WAITING,  /* for another change to end */
    STAGE_LOGGING,  /* the operation is on its way into the log */
    STAGE_LEARNING, /* the new node catches up: match of last, snapshot sent of total */
    STAGE_PROMOTING,
    STAGE_HANDING, /* leadership is handed over */
    STAGE_REMOVING,
    STAGE_UNDOING,
    STAGE_DONE
};
const char *change_stage_name(int stage);
struct cluster_change_state {
    int stage, code; /* DONE: 0 or what went wrong, with text and hint */
    char text[ERROR_MESSAGE_BYTES], hint[ERROR_HINT_BYTES];
    uint64_t match, last, sent, total;
};
/* Asks for a change, or how far it is; to be called some ten times a second on any node
 * until DONE. The leader carries it out; a new leader goes on with it. Whoever stops asking
 * for some seconds has canceled it: then a node that is not a voter yet is dropped again. */
void cluster_change_poll(struct cluster *c, const struct cluster_change *change,
                         struct cluster_change_state *out);

/* Before a restart: leadership is handed over and not taken again while another voter can
 * lead. Forgotten by a restart. */
void cluster_drain(struct cluster *c, bool on);
bool cluster_draining(const struct cluster *c);

/* Moves leadership to a voter ("" : the most caught-up one). */
void cluster_transfer(struct cluster *c, const char *address, cluster_read_cb cb, void *arg);

#endif
