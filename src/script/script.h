/* Node scripts: admin scripts, console statements and node commands, in Lua.
 *
 * Every script is a coroutine in one sandboxed Lua state of the node. It runs in slices
 * (an instruction quantum, then back to the loop), has a total budget and a memory cap,
 * can be listed and killed, and changes state only through commands. Output streams to
 * its owner while it runs, bounded by flow control. */
#ifndef USHER_SCRIPT_SCRIPT_H
#define USHER_SCRIPT_SCRIPT_H

#include "base/env.h"
#include "base/error.h"
#include "cluster/cluster.h"
#include "policy/request.h"

struct scripts;
struct task;

struct scripts_options {
    struct env *env;
    struct registry *registry;
    const struct policy *policy; /* by which the node judges; may be NULL */
    const char *const *files;    /* the profile's `scripts`, NULL-ended, may be NULL */
    struct span config_json;     /* what `config` shows: profile without secrets */
    const char *profile;
    const char *version;
    const char *dir;           /* the node's data directory: append() writes into files/ there */
    uint64_t file_bytes_max;   /* append() begins a new file after it; 0: the default */
    size_t memory_max;         /* of one script; 0: the default */
    uint64_t instructions_max; /* of one script; 0: the default */
};
/* Whether a path of the profile's `scripts` that is not on disk is one of the program's own. */
bool script_is_shipped(const char *path);
int scripts_new(const struct scripts_options *o, struct scripts **out, struct error *e);
void scripts_free(struct scripts *s); /* once no job of its env is out */
/* The way to the service and the cluster, once both exist (before any task runs). */
void scripts_attach(struct scripts *s, const struct request_sink *sink, struct cluster *cluster);
/* What the service calls for node commands; arg is the struct scripts. */
void scripts_node_command(void *arg, struct request *r, const struct call *call);
/* The client of a node command is gone: it ends soon (and still answers). */
void scripts_node_cancel(void *arg, struct request *r);

/* ---- Hooks (lua.md 4). Payloads are JSON; all on the loop, cheap while nobody listens ---- */

/* A program that embeds the node hears what handlers hear, at once; commits that it was told
 * of before a restart are not told again. Set before scripts_begin; must outlive the scripts. */
struct script_tap {
    bool (*wants)(void *arg, const char *hook);
    void (*event)(void *arg, const char *hook, struct span json);
    void *arg;
};
void scripts_tap(struct scripts *s, const struct script_tap *tap);

/* `start`, once the node serves: after it commits and roles are told. */
void scripts_begin(struct scripts *s);
/* From service_events.committed, while store_changes() works. */
void scripts_committed(struct scripts *s, uint64_t index, uint64_t term, struct span entry,
                       bool mine);
void scripts_role(struct scripts *s, int role, const char *leader, uint64_t term);
void scripts_restored(struct scripts *s, const struct store *store);
void scripts_policy(struct scripts *s, uint32_t version);
/* Any other hook, e.g. "member": gives its handlers a payload. */
void scripts_event(struct scripts *s, const char *hook, struct span json);
/* `stop`: its handlers run, at most HOOK_STOP_MS, and what append() took is written; then cb,
 * maybe from inside. */
void scripts_stop(struct scripts *s, void (*cb)(void *arg), void *arg);
/* After it: every script and statement ends where it stands and no more begin; then cb, maybe
 * from inside, after which the cluster is not used any more. What a handler had not done is
 * told again at the next start. Jobs on workers may still come back. */
void scripts_halt(struct scripts *s, void (*cb)(void *arg), void *arg);

/* A task's output. kind: "out" (printed text), "value" (JSON of an echoed or returned
 * value, `columns` a JSON list or empty), "progress". done comes last, exactly once. */
struct task_events {
    void (*output)(void *arg, const char *kind, struct span text, struct span columns);
    /* status: what exit(n) said, 0, or 1 with e set (CODE, message with file:line, traceback) */
    void (*done)(void *arg, int status, const struct error *e, struct span traceback);
};

/* A console session: keeps globals and `_` of one client between statements. */
struct session;
/* NULL with e set: BUSY when SCRIPT_SESSIONS_MAX are open. */
struct session *scripts_session_new(struct scripts *s, const struct policy_user *user,
                                    struct error *e);
uint64_t *scripts_session_seen(struct session *x); /* request.h: its seen_index */
void scripts_session_free(struct session *x);      /* kills its tasks silently */

/* One console line (lua.md 4: command unless `= ( . [ : ,` follows; `=` forces Lua). An
 * incomplete Lua statement ends with done(status 2) and e->code 0: give more lines. */
struct task *scripts_line(struct session *x, struct span line, const struct task_events *on,
                          void *arg);
/* The same with the request id that a command gets unless it names one. `again`: it was sent
 * before under that id, and its connection broke: a command is repeated, anything else is
 * refused (UNKNOWN). */
struct task *scripts_statement(struct session *x, struct span line, struct span request, bool again,
                               const struct task_events *on, void *arg);
/* Completion of a console line up to its cursor: one value (docs/protocol.md), then done. */
struct task *scripts_complete(struct session *x, struct span line, const struct task_events *on,
                              void *arg);
/* {"node","role","profile","address"}: what a prompt says of this node. */
void scripts_prompt(struct scripts *s, struct buf *out);
/* A whole script with arguments (an @FILE argument arrives as its text). */
struct task *scripts_run(struct session *x, struct span name, struct span text,
                         const struct span *args, size_t args_count, const struct task_events *on,
                         void *arg);
void scripts_kill(struct task *t, const char *why); /* done() follows */
/* Flow control: while paused the task runs until its next output, then waits. */
void scripts_pause(struct task *t, bool paused);

#endif
