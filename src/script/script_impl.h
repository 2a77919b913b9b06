/* Inside the script module only.
 *
 * `struct scripts` is a node's; each `struct vm` in it is one sandboxed Lua state with a
 * memory cap of its own: the shipped node commands share one, every node script of the
 * profile and every session has its own. So memory is accounted exactly, a script's end
 * frees all of it at once, and a reload is a swap of states.
 *
 * A task is one coroutine of a vm. States and allowed moves:
 *
 *   READY    -> RUNNING                 its turn has come
 *   RUNNING  -> READY                   the slice is over
 *            -> CALLING                 waits for an answer (a command, the cluster, a file)
 *            -> SLEEPING                waits for its timer
 *            -> BLOCKED                 its reader is slow (scripts_pause), or a handler idles
 *            -> DONE                    ended, failed, exited, over budget
 *   CALLING, SLEEPING, BLOCKED -> READY what it waited for came
 *   any but RUNNING -> DONE             killed
 *
 * T1 only a READY task is in the run queue, and each once
 * T2 `await` is set in CALLING, and in SLEEPING between two tries of a call; its callback finds
 * task == NULL after a kill T3 done() is called exactly once, never from inside
 * scripts_line/scripts_run/scripts_kill T4 a vm is closed only between slices, when it is retired
 * and has no task left */
#ifndef USHER_SCRIPT_SCRIPT_IMPL_H
#define USHER_SCRIPT_SCRIPT_IMPL_H

#include <lauxlib.h>
#include <lua.h>

#include "base/limits.h"
#include "policy/command.h"
#include "policy/sandbox.h"
#include "script/script.h"

enum task_state { TASK_READY, TASK_RUNNING, TASK_CALLING, TASK_SLEEPING, TASK_BLOCKED, TASK_DONE };

struct embed_file;
struct handler;
struct vm;

/* Something asynchronous that a task waits for. */
struct await {
    struct task *task; /* NULL: killed meanwhile */
    struct request request;
    struct buf words; /* bytes of argv */
    struct span *argv;
    bool pending; /* the callback has not come */
    int code;
    struct error error;
    struct buf json;
    uint64_t deadline_ms; /* a call is tried again until then */
    bool raw;             /* the answer is wanted as text, too */
    bool again, maybe;    /* it may be; it may have been done already */
    struct error first;   /* maybe: why the outcome is not known */
    char id[40];          /* its request id */
};

struct task {
    struct vm *vm;
    struct session *session;  /* NULL: not a client's */
    struct task *next, *prev; /* of scripts->tasks */
    struct task *queue_next;  /* of the run queue */
    uint64_t id, started_ms;
    char name[64];
    enum task_state state;
    lua_State *co;
    int ref, args;           /* registry reference; values on co for the next resume */
    uint64_t budget;         /* instructions left */
    uint64_t used;           /* instructions so far, for `ps` */
    struct env_timer *timer; /* sleep */
    struct await *await;
    struct feed *feeds;      /* what it follows (feed.c) */
    struct handler *handler; /* what it runs for: a hook, a timer */
    bool paused, exited, ending, failed_early;
    int exit_status;
    struct error early; /* failed_early: why it never ran */
    char kill_why[80];
    const struct task_events *on;
    void *arg;
    struct policy_user user;
    uint64_t seen_index;          /* request.h; without a session a task is one */
    struct request *node_request; /* node commands: what to answer */
    const struct call *node_call;
};

/* A user whose name and roles are our own. */
struct kept_user {
    struct policy_user user; /* points into what follows */
    char *name, **roles;
};

struct session {
    struct vm *vm;
    struct kept_user user;
    int env;             /* registry reference: globals of this session */
    uint64_t seen_index; /* request.h: a session reads its own writes on any node */
};

enum vm_kind { VM_SHIPPED, VM_SCRIPT, VM_SESSION };

struct vm {
    struct sandbox sandbox; /* first: script_vm() */
    struct scripts *scripts;
    struct vm *next;
    enum vm_kind kind;
    char *name;                    /* of a script: its path */
    int runtime, commands, checks; /* registry references */
    size_t commands_count, checks_count;
    size_t tasks;              /* at work in it */
    struct handler *handlers;  /* of on() and every(), in the order they were made */
    struct command_def **defs; /* its commands; a reference is held on each */
    size_t defs_count;
    bool retired, loading;
    uint64_t errors, loaded_ms; /* wall clock */
    char last_error[ERROR_MESSAGE_BYTES];
    struct buf scratch; /* for C calls that may raise: kept, so it cannot leak */
};

/* A node script as the profile names it; its vm is NULL while it could not be loaded. */
struct script_file {
    char *path;
    const struct embed_file *embedded; /* compiled in, else NULL: on disk */
    struct vm *vm;
    char error[ERROR_MESSAGE_BYTES];
};

struct file_queue;
struct reload;

struct scripts {
    struct env *env;
    struct registry *registry;
    const struct policy *rules; /* by which the node judges; may be NULL */
    struct request_sink sink;
    struct cluster *cluster; /* NULL until attached */
    struct vm *vms, *shipped;
    struct script_file *files;
    size_t files_count;
    struct task *tasks, *running, *queue_head, *queue_tail;
    struct env_timer *turn; /* runs the queue */
    struct env_timer *tick; /* once a second: snapshots seen, place kept, stop's deadline */
    uint64_t next_id, started_ms;
    size_t sessions, memory_max;
    uint64_t instructions_max;
    bool sweep; /* some vm may be closed */
    char *profile, *version, *config_json, *dir;
    struct policy_user user; /* as whom node scripts run */

    /* hooks */
    struct script_tap tap; /* zero: nobody */
    int role;
    uint64_t term, told_term, snapshot_seen;
    char leader[ADDRESS_BYTES_MAX + 1], told_leader[ADDRESS_BYTES_MAX + 1];
    bool started, told_self;
    uint64_t place, place_kept; /* commits up to here are done with, here and on disk */
    uint64_t seen;              /* newest commit told or let go */
    unsigned ticks;
    uint32_t policy;        /* version last told */
    struct file_queue *out; /* files written off the loop */
    struct reload *reload;
    void (*stopped)(void *arg);
    void *stopped_arg;
    uint64_t stop_deadline_ms;
    bool halting;
    void (*halted)(void *arg); /* NULL: called, or not halting */
    void *halted_arg;
};

/* vm.c */
struct vm *vm_new(struct scripts *s, enum vm_kind kind, const char *name, struct error *e);
void vm_retire(struct vm *vm); /* closed once nothing runs in it */
void vm_sweep(struct scripts *s, bool all);
struct vm *script_vm(lua_State *L);
/* Calls f(arg) protected. 0 or ERR_BADARG with the message. */
int vm_protected(struct vm *vm, lua_CFunction f, void *arg, struct error *e);
/* Before a slice: what this vm may use of the memory that is left to all. */
void vm_memory(struct vm *vm);
size_t vm_memory_all(const struct scripts *s);
/* [-0, +1] A function of the runtime. MAY_RAISE */
void push_runtime(lua_State *L, const char *name);

/* user.c */
void user_keep(struct kept_user *kept, const struct policy_user *user);
void user_drop(struct kept_user *kept);

/* commands.c */
/* [(definition on top), -1] Keeps one command{...} of a script that is being loaded. */
void command_keep(lua_State *L, const char *file);
/* Puts the commands of every live vm into the registry; on error nothing has changed. */
int commands_publish(struct scripts *s, struct error *e);
struct vm *command_vm(const struct scripts *s, const struct command_def *def);
/* [-0, +1] ctx: who asks. MAY_RAISE */
void push_context(lua_State *L, const struct policy_user *user);

/* files.c */
int files_load(struct scripts *s, const char *const *paths, struct error *e);
void files_free(struct scripts *s);
/* The functions of node.scripts / node.reload. */
int node_scripts(lua_State *L);
int node_reload(lua_State *L);
int node_rehearse(lua_State *L);     /* node_rehearse.c */
void reload_free(struct scripts *s); /* no job of it is out */

/* session.c: [-0, +1] a table of globals that falls back to the shared ones. MAY_RAISE */
void push_script_globals(lua_State *L);

/* task.c */
struct task *task_new(struct vm *vm, struct session *session, const char *name,
                      const struct policy_user *user);
void task_start(struct task *t); /* the function and its t->args values are on t->co */
void task_wake(struct task *t);  /* CALLING, SLEEPING or BLOCKED -> READY */
void task_fail(struct task *t, int status, const struct error *e); /* ends it before it ran */
void task_kill(struct task *t, const char *why);
void task_drop(struct task *t);          /* frees without done() */
struct task *task_current(lua_State *L); /* of a running C function */
const char *task_state_name(int state);
struct env_timer *script_turn_timer(struct scripts *s);
void script_turn_soon(struct scripts *s);
void tasks_kill_all(struct scripts *s); /* then s->halted, once there is none */
/* Starts runtime function `name` as a task of vm, with the rights of `user` (valid until done):
 * its arguments are the function at registry reference `fn`, `text` and the context of the user.
 * NULL: out of memory. */
struct task *task_call(struct vm *vm, const char *task_name, const char *name, int fn,
                       struct span text, const struct policy_user *user,
                       const struct task_events *on, void *arg);

/* hooks.c */
void hooks_tick(struct scripts *s);
void hooks_free_vm(struct vm *vm);
void hooks_activate(struct vm *vm); /* its timers begin */
/* A reload: what old handlers have not done yet goes to the new ones. */
void hooks_move(struct vm *old, struct vm *new_vm);
/* [-0, +n] on, every, and the functions handlers are written over. MAY_RAISE */
int host_on(lua_State *L);
int host_every(lua_State *L);
int host_next(lua_State *L);
int host_guard(lua_State *L);
int host_failed(lua_State *L);
int host_zone(lua_State *L); /* zone.c */
/* [-0, +1] Rows for `scripts` and on(name); hook NULL: all of this vm. MAY_RAISE */
void push_handlers(lua_State *L, const struct vm *vm, const char *hook);

/* append.c */
struct file_queue *file_queue_new(struct scripts *s, const char *dir, uint64_t rotate_bytes);
void file_queue_free(struct file_queue *q); /* idle */
bool file_queue_idle(const struct file_queue *q);
/* Replaces a file of the data directory; cb may be NULL. */
void file_queue_replace(struct file_queue *q, const char *name, struct span text);
int host_append(lua_State *L);

/* lib.c: [-0, +1] the `host` table. MAY_RAISE */
int script_push_host(lua_State *L);
/* feed.c: adds `feed` to the node table on top; what a task follows ends with it. */
void feed_open_lib(lua_State *L);
void feeds_end(struct task *t);
/* log_view.c: adds `entry` and `log_range`. */
void log_open_lib(lua_State *L);
/* node_lib.c: [-0, +1] the `node` table given to shipped command files. MAY_RAISE */
int script_push_node(lua_State *L);
/* node_member.c: [-0, +0] its functions into the table on top. MAY_RAISE */
void script_add_node_member(lua_State *L);
/* checks.c: doctor checks and completion, which run in the script's own vm. */
int host_check(lua_State *L);
/* node_backup.c */
int node_backup(lua_State *L);
int node_snapshot(lua_State *L);
int node_snapshot_bytes(lua_State *L);
int node_checks(lua_State *L);
int node_complete(lua_State *L);
/* [-0, +1] A command's definition as a table. MAY_RAISE */
void script_push_definition(lua_State *L, const struct command_def *def);
/* MAY_RAISE. Waits for a.pending to become false; then `k` continues. */
int await_yield(lua_State *L, struct await *a, lua_KFunction k);
struct await *await_new(struct task *t);
void await_free(struct await *a);
/* What it waited for has come. */
void await_ready(struct await *a);
/* For continuations: [-all, +0] takes the wait that has ended from its task. The three below
 * free it and return how many values they left (MAY_RAISE, after they have freed it). */
struct await *await_end(lua_State *L);
int await_error(lua_State *L, struct await *a); /* nil, message, code[, hint] */
int await_true(lua_State *L, struct await *a);  /* true, or as await_error */
/* The text, and on top of it what it decodes to (one value is returned), or as await_error.
 * `none` stands for an answer without text. */
int await_json(lua_State *L, struct await *a, const char *none);

/* words.c: splits a command line into words as a shell would: blanks separate, '...' and
 * "..." quote, \ escapes, and a word that starts with { or [ goes to its matching end
 * (JSON). Appends NUL-ended words to `out`; returns how many, or -1 with e set. */
int words_split(struct span line, struct buf *out, struct error *e);

#endif
