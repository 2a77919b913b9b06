/* Shared by the parts of the simulated env; nobody else includes this. */
#ifndef USHER_TESTS_SIM_ENV_SIM_INTERNAL_H
#define USHER_TESTS_SIM_ENV_SIM_INTERNAL_H

#include "env_sim.h"

#define NODES_MAX  64
#define MS_NS      UINT64_C(1000000)
#define US_NS      UINT64_C(1000)
#define WALL_START UINT64_C(1767225600000) /* 2026-01-01 */

struct node;
struct event;

/* What outlives a node: kept per address. */
struct host {
    struct sim *sim;
    char *address;
    unsigned index;
    struct node *node; /* the living one, or NULL */
    struct disk *disk;
    int64_t wall_offset_ms;
    unsigned lives;
    bool powered; /* the machine's kernel answers (refuses, resets) */
    unsigned fault_ops;
    uint64_t fault_in; /* 0: none */
    enum sim_fault fault;
    uint64_t op_counts[5];
    uint64_t point_in; /* crash point asked for; 0: none */
    unsigned point;
    enum sim_crash point_how;
    struct sim_disk_rates rates;
    uint64_t disk_faults;
};

struct node {
    struct env env; /* first: struct env * and struct node * are the same pointer */
    struct host *host;
    struct sim *sim;
    bool ghost, paused;
    struct event *deferred, **deferred_tail; /* while paused */
    struct env_defer *defer, **defer_tail;
    uint64_t random;
    sim_accept_cb accept;
    void *accept_arg;
    struct env_timer *timers;
    struct env_file *files;
    struct env_stream *streams;
    struct node *next;
};

typedef void (*event_cb)(struct node *node, void *a, uint64_t b);

struct event {
    uint64_t at_ns, sequence;
    const char *what;
    struct node *node; /* runs there: deferred while it is paused; NULL: the world's */
    event_cb cb;
    void *a;
    uint64_t b;
    bool canceled;
    struct event *next; /* in node->deferred */
};

struct sim {
    uint64_t seed, random, now_ns, sequence, hash;
    bool print;
    struct event **heap;
    size_t heap_len, heap_cap;
    struct host *hosts[NODES_MAX];
    unsigned hosts_count;
    struct node *nodes; /* newest first, ghosts included */
    struct node *turn;  /* whose event is being dispatched */
    bool blocked[NODES_MAX][NODES_MAX];
    struct sim_network network;
    struct sim_messages messages;
    uint64_t job_min_us, job_max_us;
    struct connect *connects;
    struct event *free_events;
    void (*turn_cb)(void *arg);
    void *turn_arg;
    uint64_t counts[SIM_COUNTS];
    bool points_off;
    uint64_t points_passed[SIM_POINTS], points_crashed[SIM_POINTS];
};

void *sim_alloc(size_t bytes); /* zeroed, never NULL; plain malloc, so that a test's
                                  injected allocation failures hit only real code */
uint64_t rand_next(uint64_t *state);
uint64_t rand_below(uint64_t *state, uint64_t n);
uint64_t rand_between(uint64_t *state, uint64_t lo, uint64_t hi);

struct event *sim_post(struct sim *sim, struct node *node, uint64_t after_ns, const char *what,
                       event_cb cb, void *a, uint64_t b);
void sim_trace(struct sim *sim, const struct node *node, const char *what, uint64_t a, uint64_t b);
struct host *sim_host(struct sim *sim, const char *address); /* made when absent */

/* env_sim_disk.c */
struct disk *disk_new(void);
void disk_free(struct disk *d);
void disk_power_loss(struct disk *d, struct sim *sim);
void disk_close_files(struct node *n); /* crash: handles go dead, locks are released */
void disk_free_files(struct node *n);
extern const struct env_ops disk_ops; /* only the file functions are filled */

/* env_sim_net.c */
void net_connect(struct env *env, const char *address, env_connect_cb cb, void *arg);
void net_start(struct env_stream *s, const struct env_stream_events *events, void *arg);
void net_write(struct env_stream *s, struct buf *b);
size_t net_queued(struct env_stream *s);
void net_close(struct env_stream *s);
void net_crashed(struct node *n, enum sim_crash how);
void net_free_streams(struct node *n);

#endif
