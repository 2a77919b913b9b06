/* Inside the script module only.
 *
 * A task is one coroutine. States and allowed moves:
 *
 *   READY    -> RUNNING                 its turn has come
 *   RUNNING  -> READY                   the slice is over
 *            -> CALLING                 waits for the answer of a command or of the cluster
 *            -> SLEEPING                waits for its timer
 *            -> BLOCKED                 its reader is slow (scripts_pause)
 *            -> DONE                    ended, failed, exited, over budget
 *   CALLING, SLEEPING, BLOCKED -> READY what it waited for came
 *   any but RUNNING -> DONE             killed
 *
 * T1 only a READY task is in the run queue, and each once
 * T2 `await` is set exactly in CALLING; its callback finds task == NULL after a kill
 * T3 done() is called exactly once, never from inside scripts_line/scripts_run/scripts_kill */
#ifndef USHER_SCRIPT_SCRIPT_IMPL_H
#define USHER_SCRIPT_SCRIPT_IMPL_H

#include <lauxlib.h>
#include <lua.h>

#include "policy/sandbox.h"
#include "script/script.h"

enum task_state { TASK_READY, TASK_RUNNING, TASK_CALLING, TASK_SLEEPING, TASK_BLOCKED, TASK_DONE };

/* Something asynchronous that a task waits for. */
struct await {
    struct task *task; /* NULL: killed meanwhile */
    struct scripts *vm;
    struct request request;
    struct buf words; /* bytes of argv */
    struct span *argv;
    bool pending; /* the callback has not come */
    int code;
    struct error error;
    struct buf json;
};

struct task {
    struct scripts *vm;
    struct session *session;  /* NULL: a node command */
    struct task *next, *prev; /* of vm->tasks */
    struct task *queue_next;  /* of the run queue */
    uint64_t id, started_ms;
    char name[64];
    enum task_state state;
    lua_State *co;
    int ref, args;           /* registry reference; values on co for the next resume */
    uint64_t budget;         /* instructions left */
    struct env_timer *timer; /* sleep */
    struct await *await;
    bool paused, exited, ending, failed_early;
    int exit_status;
    struct error early; /* failed_early: why it never ran */
    char kill_why[80];
    const struct task_events *on;
    void *arg;
    struct policy_user user;
    struct request *node_request; /* node commands: what to answer */
    const struct call *node_call;
};

struct session {
    struct scripts *vm;
    struct policy_user user;
    char *user_name;
    char **roles;
    int env;             /* registry reference: globals of this session */
    uint64_t seen_index; /* newest log index an answer was true for: local reads wait for it,
                            so that a session reads its own writes on any node */
};

struct scripts {
    struct sandbox sandbox;
    struct env *env;
    struct registry *registry;
    struct request_sink sink;
    struct cluster *cluster; /* NULL until attached */
    struct task *tasks, *running, *queue_head, *queue_tail;
    struct env_timer *turn; /* runs the queue */
    uint64_t next_id, started_ms;
    int runtime, commands; /* registry references: script_runtime.lua, name -> run */
    struct buf scratch;    /* for C calls that may raise: kept, so it cannot leak */
    char *profile, *version, *config_json;
};

/* task.c */
struct task *task_new(struct scripts *vm, struct session *session, const char *name,
                      const struct policy_user *user);
void task_start(struct task *t); /* the function and its t->args values are on t->co */
void task_wake(struct task *t);  /* CALLING, SLEEPING or BLOCKED -> READY */
void task_fail(struct task *t, int status, const struct error *e); /* ends it before it ran */
void task_kill(struct task *t, const char *why);
void task_drop(struct task *t);          /* frees without done() */
struct task *task_current(lua_State *L); /* of a running C function */
const char *task_state_name(int state);
struct env_timer *script_turn_timer(struct scripts *vm);

/* lib.c: [-0, +1] the `host` table. MAY_RAISE */
int script_push_host(lua_State *L);
/* node_lib.c: [-0, +1] the `node` table given to node command files. MAY_RAISE */
int script_push_node(lua_State *L);
struct scripts *script_vm(lua_State *L);
/* [-0, +1] A command's definition as a table. MAY_RAISE */
void script_push_definition(lua_State *L, const struct command_def *def);
/* MAY_RAISE. Waits for a.pending to become false; then `k` continues. */
int await_yield(lua_State *L, struct await *a, lua_KFunction k);
struct await *await_new(struct task *t);
void await_free(struct await *a);

/* words.c: splits a command line into words as a shell would: blanks separate, '...' and
 * "..." quote, \ escapes, and a word that starts with { or [ goes to its matching end
 * (JSON). Appends NUL-ended words to `out`; returns how many, or -1 with e set. */
int words_split(struct span line, struct buf *out, struct error *e);

#endif
