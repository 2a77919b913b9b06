/* Shared by the files of the service; nobody else includes it.
 *
 * An *item* is one request on its way through this node. It is in exactly one container,
 * whose kind is its state; the container frees it. Answering only marks it, so that a
 * deadline, a lost connection and the real answer can come in any order.
 *
 *   QUEUED     in s->queue: undecided (leader busy, or no leader known)
 *   FLIGHT     in a group: evaluated, its answer waits for a commit or a round
 *   FORWARDED  in s->slots: with the leader
 *   READ       in s->reads: to be read in the next window
 *   PROVING    in a GROUP_READS: waits for the proof of leadership
 *   INDEX      with the cluster: --min-index has not been reached
 *   NODE       with the node_command hook
 *
 * A *group* is a set of items that are answered together (batch.c, read.c):
 *
 *   GROUP_ENTRY  one log entry: answered when it commits
 *   GROUP_ROUND  nothing was written: answered when leadership is proved and the entries
 *                that its decisions rest on have committed
 *   GROUP_READS  linearizable reads: evaluated when leadership is proved
 *
 * Invariants
 *   V1 an item is answered at most once, and freed only by its container
 *   V2 an answer of a GROUP_ENTRY leaves only after cluster_events.committed
 *   V3 a request whose outcome may be in a log is evaluated again only under a request id
 *   V4 between cluster_batch_open and propose/abandon no callback of a surface runs
 *   V5 a read is evaluated only between store_rewind and store_replay */
#ifndef USHER_SERVICE_SERVICE_IMPL_H
#define USHER_SERVICE_SERVICE_IMPL_H

#include "base/limits.h"
#include "service/service.h"

enum item_state {
    ITEM_FREE,
    ITEM_QUEUED,
    ITEM_FLIGHT,
    ITEM_FORWARDED,
    ITEM_READ,
    ITEM_PROVING,
    ITEM_INDEX,
    ITEM_NODE,
    ITEM_STATES
};

/* A frame of forwarded requests, kept while one of them is alive. */
struct block {
    unsigned refs;
    struct buf bytes;
    struct span *spans;
    const char **roles;
};

/* Another node that forwards to us. */
struct peer {
    struct peer *next;
    struct buf answers; /* to be sent at the end of the turn */
    char address[ADDRESS_BYTES_MAX + 1];
};

struct slab;     /* item.c */
struct node_run; /* a node command in progress (service.c) */

struct item {
    struct item *next;                /* in its container's list */
    struct item *all_next, *all_prev; /* s->all, for deadlines */
    struct service *service;
    struct request *r;   /* from a surface here; NULL when from a peer, canceled or answered */
    struct peer *peer;   /* from a peer */
    struct block *block; /* keeps argv of a peer's request alive */
    const struct span *argv;
    size_t argc;
    struct policy_user user;
    uint64_t deadline_ms, resend_ms;
    uint64_t number;      /* FORWARDED: ours; from a peer: its own */
    uint64_t min_index;   /* INDEX */
    uint64_t flush;       /* FORWARDED: the flush that carried it */
    struct node_run *run; /* NODE */
    struct span id;       /* request id made here or by the follower; may be empty */
    uint32_t answer_at, json_len, message_len, hint_len, fields_len; /* in group->text */
    int code;
    uint8_t state, resends;
    bool answered;
    bool wrote;   /* FLIGHT: it is in the group's entry */
    bool maybe;   /* its outcome may already be in a log */
    bool is_read; /* a transaction command that never writes */
    bool proved;  /* a linearizable read whose leadership is proved */
    bool sent;    /* FORWARDED: a frame left with it */
    bool reached; /* --min-index has been waited for */
    char id_text[32];
};

struct items {
    struct item *head, *tail;
    size_t count;
};

enum group_kind { GROUP_ENTRY, GROUP_ROUND, GROUP_READS };

struct group {
    struct group *next;
    struct service *service;
    struct items items;
    struct buf text; /* answers */
    uint64_t index;  /* ENTRY: its log index; ROUND: the entry it rests on, 0 for none */
    enum group_kind kind;
    bool reading; /* a cluster_read will call back */
    bool proved;
    bool dead; /* its items were taken back; freed by the callback */
};

struct groups {
    struct group *head, *tail;
};

#define WATCH_BUCKETS 256

struct watch {
    struct watch *next, **at;
    struct service *service;
    watch_cb cb;  /* or */
    feed_cb feed; /* of a script */
    void *arg;
    bool dead; /* unwatched while watchers are being told */
    uint32_t id_len;
    char id[ID_BYTES_MAX];
};

struct service {
    struct env *env;
    struct cluster *cluster;
    struct policy *policy;
    struct registry *registry;
    service_node_cb node_command;
    void (*node_cancel)(void *arg, struct request *r);
    void *arg;
    struct recorder *recorder; /* rehearse_record.h; NULL: nothing is recorded */
    struct buf first_policy;
    char *first_policy_path;    /* where it was read, NULL: not told */
    uint32_t first_policy_told; /* version whose difference from it was told */
    bool policy_again;          /* load the active one anew: it has filled its memory */
    bool first_checked;         /* first_policy compiles (or was found not to, and dropped) */

    struct env_defer turn;
    struct env_timer *resume; /* a turn had too much to do: the next one soon */
    struct env_timer *tick;   /* deadlines, resends, no leader */
    struct env_timer *upkeep; /* expiry and dropping */
    bool ticking, in_turn, closing;

    int role;
    char leader[ADDRESS_BYTES_MAX + 1]; /* "" when unknown */
    uint64_t term;
    bool doubted; /* a proof of leadership failed: nothing is decided until `role` or the tick */
    uint64_t leaderless_ms; /* mono time since when no leader is known; 0: there is one */
    bool policy_stale;      /* the committed policy may be newer than the loaded one */
    bool upkeep_due, upkeep_failed;
    uint32_t upkeep_added;              /* scratch of upkeep_run */
    uint64_t upkeep_stop_ns;            /* of the expiries of a batch */
    uint32_t policy_refused;            /* a committed version that does not load here */
    uint32_t policy_told;               /* what the listeners know */
    uint64_t complain_ms;               /* mono time of the next complaint */
    uint64_t failed_ms;                 /* mono time of the active policy's last error; 0: none */
    char place[POLICY_PLACE_WORDS * 8]; /* FILE:LINE of that error, or why policy_refused is */

    struct item *free_items;
    struct slab *slabs;
    struct item *all;
    size_t count; /* live items */

    struct items queue, reads;
    struct groups flight;  /* ENTRY and ROUND, in order of evaluation */
    struct groups ready;   /* to be answered in this turn */
    struct group *spare;   /* empty groups, their memory warm */
    struct groups reading; /* GROUP_READS whose proof is under way */
    uint64_t last_open;    /* newest ENTRY in flight, 0: none */

    struct item **slots; /* forwarded items, by the low bits of their number */
    uint32_t slots_count, slots_hint, slots_used;
    uint64_t generation;
    struct buf out; /* requests to the leader, sent at the end of the turn */
    uint64_t flush; /* number of the frame that `out` becomes */
    struct peer *peers;

    uint64_t id_prefix, id_counter;

    struct call call;            /* scratch: one request at a time */
    struct policy_answer answer; /* scratch */
    struct buf entry, scratch;
    size_t entry_bytes; /* of the last entry */

    struct watch *watches[WATCH_BUCKETS], *watch_all;
    struct watch *monitors, *commits; /* feeds of requests and of committed indices */
    unsigned watch_count;
    bool telling, watch_dead;

    struct {
        const struct service_events *on;
        void *arg;
    } listeners[SERVICE_LISTENERS_MAX];
    unsigned listeners_count;
    struct service_counters counters;
};

/* item.c */
struct item *item_new(struct service *s); /* NULL: out of memory */
void item_free(struct item *it);
void item_move(struct item *it, enum item_state to);
void items_push(struct items *l, struct item *it);
void items_push_front(struct items *l, struct item *it);
struct item *items_pop(struct items *l);
/* Tells whoever asked; the container still has to free the item. */
void item_answer(struct item *it, int code, const struct error *e, struct span fields,
                 struct span json);
void item_refuse(struct item *it, const struct error *e);
/* The outcome is not known: UNKNOWN with what to do. */
void item_unknown(struct item *it, const char *why);
/* Gives the item a request id of this node's making unless it has one. */
void item_make_id(struct item *it);
struct block *block_new(const uint8_t *data, size_t len, size_t spans, size_t roles);
void block_unref(struct block *b);

/* group.c */
struct group *group_new(struct service *s, enum group_kind kind);
void group_free(struct group *g);
void groups_push(struct groups *l, struct group *g);
struct group *groups_pop(struct groups *l);
void groups_remove(struct groups *l, struct group *g);
/* Keeps s->answer as the item's answer until the group is answered. */
void group_keep(struct group *g, struct item *it, const struct policy_answer *a);
void group_keep_error(struct group *g, struct item *it, const struct error *e);
/* Answers every item and frees the group. */
void group_answer(struct group *g);

/* service.c */
void service_wake(struct service *s);   /* a turn at the end of this loop turn */
void service_resume(struct service *s); /* a turn after other events had their chance */
bool service_leads(const struct service *s);
/* Parses the item's tokens into s->call. */
int service_parse(struct service *s, const struct item *it, struct error *e);
int service_allowed(const struct command_def *def, const struct policy_user *user, struct error *e);
/* Puts an item that must be decided (again) where it belongs. */
void service_route(struct item *it);
void service_error_no_leader(struct service *s, struct error *e);
uint64_t service_now(const struct service *s);

/* turn.c */
void service_turn(void *arg);
void service_tick(void *arg);
void service_tick_start(struct service *s);

/* batch.c */
void batch_run(struct service *s);
void batch_committed(struct service *s, uint64_t index);
void batch_undone(struct service *s, uint64_t first);
void batch_proved(struct group *g, int status);

/* read.c */
void service_reads_run(struct service *s);
/* Tells whoever waits for an index (ITEM_INDEX) that it has not come. */
void read_refuse_ahead(struct item *it);
void service_reads_proved(struct group *g, int status);

/* forward.c */
void forward_send(struct item *it);        /* puts it into s->slots and the next frame */
void forward_take_back(struct service *s); /* all forwarded items: the leader changed */
void forward_tick(struct service *s, uint64_t now);
void forward_flush(struct service *s);
void forward_frame(struct service *s, const struct transport_peer *peer, const uint8_t *data,
                   size_t len);
/* An item of a peer is answered, or given back undecided. */
void forward_answer(struct item *it, int code, const struct error *e, struct span fields,
                    struct span json);
void forward_bounce(struct item *it);
void forward_drop(struct item *it); /* out of s->slots; the caller frees it */
void forward_free(struct service *s);
void items_free_all(struct service *s);

/* upkeep.c */
bool upkeep_wanted(struct service *s, uint64_t now_ms);
/* Inside an open batch; returns the number of transactions added to s->entry. */
uint32_t upkeep_run(struct service *s, uint64_t index, uint64_t time_ms);
void upkeep_schedule(struct service *s);
/* complain.c: says in the log that the policy fails, now and then, and where. */
void service_complain(struct service *s, const struct error *e);
/* Remembers the FILE:LINE of an error of the policy for service_vitals(). */
void service_note_place(struct service *s, const struct error *e);
void upkeep_policy(struct service *s); /* loads the committed policy when it is another */
/* The cluster has a policy and this node none: it does not load here (after an upgrade, say), and
 * what is compiled in has no rules. Then only policies are dealt with. */
bool upkeep_unruled(const struct service *s);
bool upkeep_policy_waits(const struct service *s);

/* watch.c */
struct watch *watch_add(struct service *s, struct watch **list /* NULL: by event */,
                        struct span event);
void watch_tell(struct service *s, uint64_t index);
void feed_tell(struct service *s, struct watch *list, uint64_t index, struct span json);
void watch_lost(struct service *s); /* the state was replaced: changes were not seen */
void watch_free_all(struct service *s);

/* feed.c */
struct watch *feed_open(void *service, int kind, struct span event, feed_cb cb, void *cb_arg);
void feed_close(void *service, struct watch *w);
void monitor_tell(struct service *s, const struct request *r);

#endif
