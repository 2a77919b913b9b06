/* What the files of this module share. Reading order: driver.c (the loop around
 * raft_step), receive.c, propose.c, apply.c, then the rest in any order.
 *
 * Where things run: every callback of the env (journal, transport, timers, jobs) ends
 * with cluster_pump(), which applies, answers and tells the user. Functions of the public
 * API never call the user: they only cluster_kick(), so that the pump runs at the end of
 * the loop turn. */
#ifndef USHER_CLUSTER_INTERNAL_H
#define USHER_CLUSTER_INTERNAL_H

#include <raft.h>

#include "base/env.h"
#include "base/limits.h"
#include "base/log.h"
#include "cluster/cluster.h"
#include "cluster/feature.h"
#include "cluster/log_cache.h"
#include "cluster/wire.h"
#include "raftio/journal.h"
#include "raftio/transport.h"

#define DIGEST_RING 4096
/* Askers of all nodes that a leader remembers; ASKS_MAX of one node. */
#define PROBES_KEPT 256

/* Everybody we talk to: members, listed addresses while founding, strangers that ask. */
struct peer {
    struct peer *next;
    char address[ADDRESS_BYTES_MAX + 1];
    uint64_t node_id; /* 0 until known */
    bool up;          /* our link to it */
    bool listed, member;
    uint64_t heard_ms;                 /* mono: last frame of it; 0 never */
    uint32_t feature_level;            /* shown by our link to it */
    char refusal[ERROR_MESSAGE_BYTES]; /* why its link is down, "" when not refused */

    /* clock.c */
    int64_t clock_base_ms; /* its wall clock minus our monotonic one */
    uint64_t clock_ms;     /* mono time of the sample; 0 none */
    /* reads.c */
    uint64_t echoed; /* highest round echoed in the current term */
    /* quarantine.c */
    uint64_t claim_index, claim_digest; /* what it says its digest was before claim_index */
    /* founding.c */
    bool hello, hello_same, promised;
    uint8_t hello_state;
    uint64_t hello_cluster, hello_founder;
    /* snapshot_send.c */
    struct snap_send *send;
    uint64_t install_index; /* of the snapshot the core waits for it to have; 0 none (R7) */
    uint64_t send_again_ms, send_pause_ms; /* after a failure; 0 none (SS3) */
    struct log_limit refused_log;
    /* member_probe.c */
    uint64_t wanted_ms; /* somebody wants to add it: mono time of the last asking */
    uint64_t hello_ms;  /* mono time of its last hello */
    uint64_t asked_ms;  /* of our last hello to it as a candidate */
    int down_code;      /* why its link is down, with the text; 0 while it is not known */
    char down[ERROR_MESSAGE_BYTES];
    uint64_t other_id, other_cluster; /* who proved itself there and was refused; id 0: nobody */
    char other_address[ADDRESS_BYTES_MAX + 1];
    uint32_t version;
    uint64_t link_id; /* who our link to the address has reached */
    /* member_told.c */
    uint64_t told_ms;
    /* vitals.c */
    uint64_t rtt_us;
    unsigned unheard;   /* pings since the last answer, the link is up, the term began */
    uint64_t vitals_ms; /* mono time; 0 none */
    struct cluster_vitals vitals;
};

/* One append on its way to disk. */
struct append {
    struct append *next;
    struct cluster *c;
    uint64_t index;
    size_t n;     /* entries that still count: later truncations cut it */
    size_t total; /* entries handed to the journal */
    size_t bytes; /* of those */
    uint64_t since_ms;
    struct payload **refs;
    struct journal_entry entries[];
};

/* A frame that waits for term and vote (C2). */
struct outbound {
    struct outbound *next;
    uint64_t needs; /* votes_durable must reach this */
    struct buf frame;
    char address[ADDRESS_BYTES_MAX + 1];
};

struct reader_wait {
    struct reader_wait *next;
    cluster_read_cb cb;
    void *arg;
    uint64_t round;       /* proved by this round or a later one */
    uint64_t last_index;  /* or by a committed entry of the term above this one */
    uint64_t index;       /* commit index at arrival: must be applied */
    uint64_t deadline_ms; /* mono */
    uint64_t term;
    bool proved;
};

struct index_wait {
    cluster_read_cb cb;
    void *arg;
    uint64_t index, deadline_ms;
};
struct index_waits { /* a heap by index */
    struct index_wait *wait;
    size_t count, cap;
};

/* Answers that must not be given from inside a call. */
struct later {
    struct later *next;
    cluster_read_cb cb;
    void *arg;
    int status;
};

struct own_group {
    uint64_t index, term;
    bool internal; /* the cluster's own, not the user's */
};

/* The membership operation as it stands in the store's record (member_record.c). */
#define MEMBER_TEXT_BYTES   200
#define MEMBER_RESULTS_KEPT 8

enum member_step {
    MEMBER_IDLE,    /* no operation; the results of the last ones */
    MEMBER_RUNNING, /* towards the goal */
    MEMBER_UNDOING  /* the new node is dropped again */
};

struct member_result {
    uint64_t id;
    uint8_t failed; /* 0: done; else an enum member_failure */
    char text[MEMBER_TEXT_BYTES];
};
enum member_failure {
    MEMBER_DONE,
    MEMBER_LATE, /* nothing was changed */
    MEMBER_CANCELED,
    MEMBER_HALF, /* late, and one of two changes is done: the text says how to go on */
};

struct member_op {
    uint8_t kind, step;       /* enum change_kind, enum member_step */
    uint64_t id, deadline_ms; /* cluster time */
    uint64_t node_id, old_id; /* ADD, REPLACE: the new one; REMOVE, REPLACE: the one to go */
    char address[ADDRESS_BYTES_MAX + 1], old[ADDRESS_BYTES_MAX + 1];
    struct member_result now;                          /* UNDOING: what it will have ended with */
    struct member_result results[MEMBER_RESULTS_KEPT]; /* newest first; id 0: none */
};

enum founding_state {
    FOUNDING_WAIT,     /* empty, waits for the founder or a cluster */
    FOUNDING_GATHER,   /* founder: waits for the listed addresses */
    FOUNDING_ASK,      /* founder: has a cluster id, waits for promises */
    FOUNDING_PROMISED, /* promised to a founder, waits for the configuration */
    FOUNDING_STRANGER, /* a cluster is there and does not know us */
    FOUNDING_WRITING,  /* the first configuration is on its way to disk */
    FOUNDING_DONE,
    FOUNDING_STATES
};

struct cluster {
    struct env *env;
    struct cluster_options o; /* strings copied, below */
    char *dir, *address, **nodes, *secret;
    size_t nodes_count;
    unsigned election_ms, heartbeat_ms;
    unsigned tick_ms; /* between looks at deadlines */
    unsigned tell_ms; /* between the clocks and vitals that go to every peer */

    struct journal *journal;
    struct journal_identity identity;
    struct transport *transport;
    struct store *store;
    struct peer *peers;

    /* driver.c */
    struct raft raft;
    bool raft_open; /* raft_init done */
    bool raft_on;   /* RAFT_START done, events are delivered */
    bool dead;      /* fatal error or stopping: nothing goes in or out any more */
    bool quarantined, removed;
    /* member_told.c: the last that told this node that it is no member; index 0: nobody */
    uint64_t told_index, told_term, led_ms;
    char told_by[ADDRESS_BYTES_MAX + 1];
    struct log_cache log;
    uint64_t commit, applied;
    struct append *appends, *appends_tail;
    uint64_t unstored_bytes; /* of those: not durable here */
    uint64_t votes_asked, votes_durable;
    struct outbound *outbox, *outbox_tail;
    struct payload *submitting; /* payload of the entry in a RAFT_SUBMIT */
    bool step_rejected;         /* the last step answered with a rejection */
    struct env_timer *raft_timer, *tick_timer, *more_timer;
    uint64_t raft_timer_at;
    uint64_t leader_timeout_ms; /* the core's last RAFT_TIMEOUT as leader, 0: none */
    struct env_defer kick;
    unsigned state_seen; /* raft.state at the last look */
    uint64_t term_seen;

    /* commit.c */
    struct env_timer *commit_timer;
    bool commit_timer_on;
    uint64_t commit_told; /* newest commit index that a message has carried */

    /* cluster.c: what the user has been told */
    bool pumping, again, apply_waits;
    int role_told;
    uint64_t term_told;
    char leader_told[ADDRESS_BYTES_MAX + 1];
    bool undone_pending;
    uint64_t undone_first;
    bool fatal_pending, fatal_stop, fatal_seen;
    struct error fatal;
    struct later *later, *later_tail;
    bool stopping, handing_over, journal_closing;
    uint64_t stop_deadline_ms;
    void (*stop_cb)(void *arg);
    void *stop_arg;
    /* What still points at us: env jobs, and a snapshot writer's callbacks. Appends, votes and
     * restarts are not counted: what waits for space only a closing journal answers. */
    unsigned jobs;
    struct cluster_member *members;
    struct buf waiting; /* text for status */

    /* propose.c */
    struct own_group own[PIPELINE_ENTRIES_MAX + 1];
    unsigned own_count;
    bool batch; /* between open and propose */
    uint64_t batch_index, batch_digest;
    bool ready, ready_wanted, barrier_sent;
    struct log_limit clock_log;

    /* apply.c */
    bool learned; /* a leader told a commit index of its own term in this run */
    uint64_t learned_index;
    uint64_t told_commit, told_commit_term; /* the newest that any leader told */
    struct buf conf;                        /* encoded configuration as of `applied` */
    uint64_t conf_index;
    uint64_t bytes_since_snapshot;
    bool in_apply;

    /* quarantine.c */
    struct digest_mark {
        uint64_t index, digest;
    } ring[DIGEST_RING];
    uint64_t suspect_index; /* apply stands before this entry; 0: none */
    uint64_t suspect_digest, suspect_asked_ms;
    bool suspect_right; /* the majority agrees with us: salvage it */
    char quarantine_text[ERROR_MESSAGE_BYTES];

    /* reads.c */
    struct reader_wait *reads, *reads_tail;
    uint64_t round; /* newest issued */
    uint64_t round_sent_ms;
    bool round_open;
    struct index_waits waits;

    /* feature.c */
    struct log_limit feature_log;

    /* read_index.c */
    struct index_ask *index_asks;
    uint64_t index_serial;

    /* transfer */
    cluster_read_cb transfer_cb;
    void *transfer_arg;
    bool transferring;
    uint64_t transfer_target, transfer_deadline_ms, transfer_term;

    /* disk.c */
    uint64_t full_since_ms; /* leader: since when without space; 0: it has some */
    uint64_t disk_tried_ms; /* the last handing over for the disk's sake; 0 none */

    /* snapshot.c */
    struct snap_own *own_snapshot;
    uint64_t snapshot_size; /* of the last one */
    struct later *snapshot_waiters;
    uint64_t bad_snapshot; /* its file cannot be read; counts while it is the newest (SN4) */
    uint64_t bad_retry_ms; /* not written anew before */
    uint64_t own_retry_ms; /* none is begun of itself before: the last one failed */
    /* snapshot_receive.c */
    struct snap_recv *recv;
    bool installing;
    struct raft_snapshot_metadata install_meta;
    struct store *install_store;
    uint64_t transfers;      /* serial of outgoing ones */
    uint64_t installs_asked; /* by the core; more than transfers: asked again meanwhile */
    struct log_limit send_log, recv_log;

    /* founding.c */
    enum founding_state founding;
    uint64_t founding_since_ms, hello_sent_ms;
    uint64_t founder_id;
    struct buf founding_config;
    struct log_limit founding_log, said_log;
    struct log_limit refused_log; /* receive.c */
    char founding_said[ERROR_MESSAGE_BYTES];

    /* clock.c */
    uint64_t clock_sent_ms;

    /* vitals.c */
    uint64_t vitals_sent_ms, started_ms, newest_digest; /* index of the newest digest known */
    struct cluster_vitals vitals;

    /* probe.c */
    struct probe {
        uint64_t id, index, began_ns, took_us; /* id 0: free; took_us 0: not committed yet */
        uint64_t polled_ms;
        bool told; /* the asker has its answer */
    } probes[PROBES_KEPT];
    unsigned probe_next;

    /* member_*.c */
    bool draining;
    struct member_ask *asks;
    uint64_t member_index;                              /* our newest record, until it is applied */
    uint64_t member_timed_id, member_timed_deadline_ms; /* the operation that is timed here */
    uint64_t member_late_ms;                            /* mono: when it is late at the latest */
    uint64_t member_last_id;                /* operation that the round below belongs to */
    uint64_t member_round, member_round_ms; /* catch-up round: its goal and begin */
    bool member_due;                        /* something may have changed for member_run() */
    bool member_hands_off;                  /* tests: leave learners and records alone */
};

static inline uint64_t now_ms(const struct cluster *c) { return c->env->ops->mono_ms(c->env); }

/* ---- cluster.c: life, peers, pump ------------------------------------------ */
void cluster_pump(struct cluster *c);
void cluster_kick(struct cluster *c); /* pump at the end of this turn */
void cluster_more(struct cluster *c); /* pump again in the next turn */
void cluster_fail(struct cluster *c, bool stop_process, int code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void cluster_later(struct cluster *c, cluster_read_cb cb, void *arg, int status);
struct peer *peer_get(struct cluster *c, const char *address); /* finds or makes */
struct peer *peer_find(struct cluster *c, const char *address);
void peers_sync(struct cluster *c); /* after every change of the configuration */
bool peer_send(struct cluster *c, const struct peer *p, struct buf *b); /* CHANNEL_CLUSTER */
unsigned voters_count(const struct cluster *c);
bool is_voter(const struct cluster *c, uint64_t node_id);
bool cluster_leads(const struct cluster *c);
void cluster_finish_stop(struct cluster *c); /* goes on when the last job has ended */

int cluster_open_loop(struct cluster *c); /* timers and the deferred pump */
void cluster_run_loop(struct cluster *c);
void cluster_on_journal_fatal(void *arg, const struct error *e);

/* ---- peers.c --------------------------------------------------------------------- */
int peers_open_transport(struct cluster *c, struct error *e);
void peers_forget_strangers(struct cluster *c);

/* ---- driver.c --------------------------------------------------------------- */
int driver_open(struct cluster *c, struct error *e);
/* Starts the core with what is in log, conf and the vote. */
int driver_start(struct cluster *c, uint64_t term, uint64_t vote, struct error *e);
/* One event through raft_step() and all its updates. Returns the core's error. */
int driver_step(struct cluster *c, struct raft_event *event);
void driver_stepped(struct cluster *c, int rv, const char *what); /* nonzero rv is fatal */
void driver_close(struct cluster *c);
void driver_on_timer(void *arg);
bool driver_sole_voter(const struct cluster *c);

/* ---- receive.c --------------------------------------------------------------- */
void learn_again(struct cluster *c);
void receive_raft(struct cluster *c, const struct transport_peer *from, const uint8_t *data,
                  size_t len);

/* ---- propose.c ---------------------------------------------------------------- */
void propose_undo(struct cluster *c);
void propose_state_changed(struct cluster *c); /* term or state moved: C4 */
void propose_run(struct cluster *c);           /* readiness and the ready event */
bool propose_own(const struct cluster *c, uint64_t index);
void propose_own_done(struct cluster *c);
void transfer_run(struct cluster *c);
uint64_t transfer_choose(const struct cluster *c); /* the best voter to lead next; 0: none */

/* One entry into the core. 0: the core has it and payload is taken; else the core's error. */
int propose_submit(struct cluster *c, uint8_t type, struct payload *payload, const void *data,
                   size_t len);

/* ---- member_record.c: the operation in the store ----------------------------------- */
/* What the store holds, own speculation included; an idle operation when there is none. */
void member_load(const struct cluster *c, struct member_op *op);
/* Proposes it as the new record. ERR_BUSY and others as cluster_batch_open: try again. */
int member_save(struct cluster *c, const struct member_op *op);
const struct member_result *member_result_of(const struct member_op *op, uint64_t id);

/* ---- member_conf.c: configurations --------------------------------------------------- */
const struct raft_server *conf_by_id(const struct cluster *c, uint64_t node_id);
const struct raft_server *conf_by_address(const struct cluster *c, const char *address);
unsigned conf_reachable(const struct cluster *c, uint64_t without_id); /* voters, self counted */
/* Submits the configuration with node_id in this role; role -1 leaves it out. False: not now. */
bool conf_submit(struct cluster *c, uint64_t node_id, const char *address, int role);
void conf_tell(struct cluster *c, uint64_t index, struct span before, struct span after);

/* ---- member_probe.c: who answers at an address ------------------------------------------ */
/* 0: *node_id is usable as a new member; ERR_NOTREADY: not yet, st->text says why; other
 * errors are final. */
int probe_new(struct cluster *c, const char *address, uint64_t *node_id,
              struct cluster_change_state *st);
int probe_replaced(struct cluster *c, const struct raft_server *old, uint64_t *node_id,
                   struct cluster_change_state *st);

/* ---- member_judge.c: the leader's answer to an asking ------------------------------------ */
void member_judge(struct cluster *c, const struct wire_change *a, struct cluster_change_state *st);
void change_fail(struct cluster_change_state *st, int code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- member_run.c: the leader carries the operation out ---------------------------------- */
void member_run(struct cluster *c);
/* How far the operation in the record is. */
void member_progress(struct cluster *c, const struct member_op *op,
                     struct cluster_change_state *st);
bool member_is_late(struct cluster *c, const struct member_op *op);
uint64_t member_time(const struct cluster *c); /* cluster time, ms */

/* ---- member_ask.c: the asking side -------------------------------------------------------- */
void member_on_ask(struct cluster *c, struct peer *p, const struct wire_change *a);
void member_on_state(struct cluster *c, struct peer *p, const struct wire_change_state *s);
void member_tick(struct cluster *c);
void member_free(struct cluster *c);

/* ---- member_told.c: the removed are told --------------------------------------------------- */
void told_check(struct cluster *c, struct peer *p, uint64_t node_id);
void told_removed(struct cluster *c, struct peer *p, uint64_t conf_index, uint64_t term);
void told_tick(struct cluster *c);
void told_led(struct cluster *c); /* a leader sends entries or lets it join: in, or in again */
void member_removed(struct cluster *c, const char *by); /* by "": its own log says so */

/* ---- apply.c ------------------------------------------------------------------- */
void apply_run(struct cluster *c);
/* Before leadership ends: own groups that are committed are committed in the store. */
void apply_own_committed(struct cluster *c);
void apply_set_conf(struct cluster *c, uint64_t index, const void *data, size_t len);

/* ---- commit.c */
int commit_open(struct cluster *c);
void commit_advanced(struct cluster *c);
void commit_on_told(struct cluster *c, struct peer *p, uint64_t term, uint64_t index);

/* ---- quarantine.c ----------------------------------------------------------------- */
void digest_record(struct cluster *c, uint64_t index, uint64_t digest);
void digest_forget(struct cluster *c, uint64_t index);
void suspect_begin(struct cluster *c, uint64_t index);
void suspect_tick(struct cluster *c);
void quarantine_enter(struct cluster *c, const char *why);
void quarantine_on_ask(struct cluster *c, struct peer *p, uint64_t index, uint64_t digest);
void quarantine_on_digest(struct cluster *c, struct peer *p, uint64_t index, uint64_t digest);

/* ---- vitals.c ------------------------------------------------------------------------ */
void vitals_tick(struct cluster *c);
void vitals_new_term(struct cluster *c); /* what was not answered before it counts no more */
#define UNHEARD_MAX 3                    /* pings without an answer: two to three times tell_ms */
void vitals_on_ping(struct cluster *c, struct peer *p, uint64_t stamp);
void vitals_on_pong(struct cluster *c, struct peer *p, uint64_t stamp);
/* Commits an empty entry: what answers CHANGE_PROBE on the leader. */
void probe_judge(struct cluster *c, uint64_t id, struct cluster_change_state *st);
void probe_applied(struct cluster *c, uint64_t index);
void vitals_on_frame(struct cluster *c, struct peer *p, struct reader *r);
bool digest_known(const struct cluster *c, uint64_t index, uint64_t *digest); /* quarantine.c */

/* ---- disk.c: a leader whose disk fails it ---------------------------------------------- */
uint64_t disk_state(const struct cluster *c);          /* DISK_ bits, for the others */
uint64_t disk_append_age_ms(const struct cluster *c);  /* of the oldest that is out; 0 none */
bool disk_majority_has_space(const struct cluster *c); /* as far as the others have told */
void disk_run(struct cluster *c);                      /* hands over when it must */

/* ---- reads.c ------------------------------------------------------------------------ */
void reads_run(struct cluster *c);
void reads_tick(struct cluster *c);
void reads_fail(struct cluster *c, int status);
void reads_cancel(struct cluster *c);

/* ---- index_wait.c -------------------------------------------------------------------- */
void index_waits_run(struct cluster *c);
void index_waits_expire(struct cluster *c, uint64_t now);
void index_waits_cancel(struct cluster *c); /* and frees */
void reads_on_round(struct cluster *c, struct peer *p, uint64_t term, uint64_t round);
void reads_on_echo(struct cluster *c, struct peer *p, uint64_t term, uint64_t round);

/* ---- feature.c, record.c ----------------------------------------------------------------- */
uint32_t feature_own(const struct cluster *c); /* what this program knows */
uint32_t feature_of_store(const struct store *s);
/* ERR_CONFLICT, with what to do, for what only a newer program reads. */
int feature_check_store(const struct cluster *c, const struct store *s, struct error *e);
int feature_check_entry(const struct cluster *c, uint64_t index, const void *data, size_t len,
                        struct error *e);
int feature_admit(const struct cluster *c, const struct transport_peer *peer, struct error *e);
void feature_run(struct cluster *c);
/* Proposes an entry that sets a cluster record; errors as cluster_batch_open. */
int record_save(struct cluster *c, const char *name, struct span bytes,
                uint64_t *index /* may be NULL */, struct error *e);

/* ---- read_index.c ------------------------------------------------------------------------ */
void read_index_tick(struct cluster *c);
void read_index_cancel(struct cluster *c);
void read_index_on_ask(struct cluster *c, struct peer *p, uint64_t serial);
void read_index_on_answer(struct cluster *c, struct peer *p, uint64_t serial, uint64_t index);

/* ---- snapshot.c: own snapshots --------------------------------------------------------- */
void snapshot_meta_put(struct buf *b, uint64_t conf_index, const void *conf, size_t len);
int snapshot_meta_get(struct span meta, uint64_t *conf_index, struct span *conf, struct error *e);
void snapshot_run(struct cluster *c); /* starts one when it is time */
void snapshot_abandon(struct cluster *c);
/* Reading the file of our snapshot of this entry failed with status. True: it is damaged, and
 * written anew if it is the newest; false: the next try may work (memory, descriptors). */
bool snapshot_unreadable(struct cluster *c, uint64_t index, int status, const struct error *e);
/* The newest one's file cannot be read; snapshot_run sees to another. */
bool snapshot_is_bad(const struct cluster *c);
/* Start-up, blocking: the newest snapshot into c->store, c->conf. */
int snapshot_restore(struct cluster *c, uint64_t index, uint64_t term, struct error *e);

/* ---- snapshot_send.c ----------------------------------------------------------------------- */
void snapshot_send_start(struct cluster *c, const struct raft_message *m);
void snapshot_send_ack(struct cluster *c, struct peer *p, uint64_t transfer, uint64_t offset,
                       uint64_t state);
void snapshot_send_tick(struct cluster *c);
void snapshot_send_at_once(struct peer *p); /* what failed before says nothing any more */
void snapshot_send_abort(struct cluster *c, struct peer *p, const char *why);
bool snapshot_send_active(const struct cluster *c);
void snapshot_send_progress(const struct peer *p, uint64_t *sent, uint64_t *total);

/* ---- snapshot_receive.c ---------------------------------------------------------------------- */
void snapshot_receive_begin(struct cluster *c, struct peer *p, const struct wire_snapshot *s);
void snapshot_receive_chunk(struct cluster *c, struct peer *p, struct reader *r);
void snapshot_receive_tick(struct cluster *c);
void snapshot_receive_abort(struct cluster *c);
/* The core asks for it (RAFT_UPDATE_SNAPSHOT); takes the configuration. */
void snapshot_install(struct cluster *c, struct raft_snapshot_metadata *meta);

/* ---- status.c */
int status_role(const struct cluster *c);     /* enum cluster_role */
const char *status_leader(struct cluster *c); /* "" when unknown */

/* ---- founding.c --------------------------------------------------------------------------------
 */
void founding_begin(struct cluster *c, uint64_t term, uint64_t vote);
void founding_tick(struct cluster *c);
void founding_link(struct cluster *c, struct peer *p);
void founding_greet(struct cluster *c, struct peer *p, bool answer); /* sends a hello */
void founding_on_hello(struct cluster *c, struct peer *p, const struct wire_hello *h);
void founding_on_ask(struct cluster *c, struct peer *p, uint64_t cluster_id);
void founding_on_promise(struct cluster *c, struct peer *p, uint64_t cluster_id);
void founding_on_config(struct cluster *c, struct peer *p, struct reader *r);
/* founding_say.c */
bool founding_is_founder(const struct cluster *c);
bool founding_usable(const struct cluster *c, const struct peer *p);
void founding_lists_differ(struct cluster *c, struct peer *p, const struct wire_hello *h);
void founding_say(struct cluster *c);
void founding_waiting(struct cluster *c, struct buf *out); /* text: whom we wait for */

/* ---- clock.c
 * --------------------------------------------------------------------------------------- */
void clock_tick(struct cluster *c);
void clock_send(struct cluster *c, struct peer *p);
void clock_on_sample(struct cluster *c, struct peer *p, uint64_t wall_ms);
/* Its wall clock minus ours, now; only with a sample. */
int64_t clock_offset(const struct cluster *c, const struct peer *p);
/* 0, or ERR_NOTREADY: no majority of samples (*apart false), or this node's clock is
 * more than CLOCK_APART_MS from the majority's median (*apart true). */
int clock_agrees(const struct cluster *c, bool *apart, int64_t *median_ms);
uint64_t clock_best_successor(const struct cluster *c);

#endif
