/* A client of a cluster: any of its nodes, over RESP (hiredis, blocking).
 *
 * Every command carries a request id made here, so that a broken connection or a leader
 * change is answered by sending it again, to the next address, until the deadline: it
 * takes effect once. Not for the loop thread: calls block. */
#ifndef USHER_CONSOLE_CLIENT_H
#define USHER_CONSOLE_CLIENT_H

#include <signal.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/error.h"

struct client;

struct client_options {
    const char *const *addresses; /* NULL-ended, tried in order */
    const char *user, *password;  /* NULL: none */
    unsigned timeout_ms;          /* for one command in all; 0: 30 s */
};

int client_open(const struct client_options *o, struct client **out, struct error *e);
void client_close(struct client *c);
const char *client_address(const struct client *c); /* the node it talks to */

/* Whether anything takes connections there; it need not answer. Blocks for 3 s at most. */
bool client_listens(const char *address);

/* Runs one command; on 0 `json` is the answer, owned by the caller. Errors of the cluster
 * come back with their code; ERR_UNREACHABLE: no connection could be had, so nothing was sent;
 * ERR_UNKNOWN: it was sent and nobody said what became of it. */
int client_call(struct client *c, size_t argc, const struct span *argv, struct buf *json,
                struct error *e);

/* ---- What streams (docs/protocol.md, "The console protocol") ------------------------------ */

struct client_hooks {
    /* What comes while something runs. kind: out, value, progress, live, change, columns. */
    void (*output)(void *arg, struct span kind, struct span text, struct span columns);
    /* The user asked to stop for the n-th time, n >= 2, and the end has not come. */
    void (*impatient)(void *arg, unsigned n);
    void *arg;
    /* How often the user asked to stop. The first time ends the statement on the node, the
     * third one gives the connection up. NULL: never. */
    const volatile sig_atomic_t *interrupts;
    bool leaves; /* the first one closes the connection, which ends what runs on it */
    int wake_fd; /* becomes readable when that changes; -1: none */
};

/* As client_call, but what a node command says while it runs comes through the hook. A node
 * command whose connection broke is not sent again: UNKNOWN. */
int client_stream(struct client *c, size_t argc, const struct span *argv,
                  const struct client_hooks *hooks, struct buf *json, struct error *e);

/* A console session on the node. Its globals are gone when the connection breaks:
 * client_sessions() then grows. */
int client_session(struct client *c, struct error *e);
unsigned client_sessions(const struct client *c);
/* One console line. Returns the status of `done`; traceback may be empty. A command whose
 * connection breaks is sent again to another node, under its request id; Lua is not: UNKNOWN.
 * -1 with e set: no node can be reached, or the user gave up. */
int client_line(struct client *c, struct span line, const struct client_hooks *hooks,
                struct error *e, struct buf *traceback);
/* A whole script; a broken connection ends it (-1). */
int client_run(struct client *c, struct span name, struct span text, size_t argc,
               const struct span *argv, const struct client_hooks *hooks, struct error *e,
               struct buf *traceback);

/* ---- While nothing runs -------------------------------------------------------------------- */

/* The connection's descriptor, -1 while there is none. */
int client_fd(const struct client *c);
/* One try to have a connection and a session; quick when nobody listens. */
bool client_reconnect(struct client *c, struct error *e);
/* Takes what came, notices a connection that broke, and with `ask` asks for the prompt anew.
 * Never blocks. Returns whether it is connected. */
bool client_idle(struct client *c, bool ask);
/* {"node","role","profile","address"} as last heard, "" if not yet. */
struct span client_prompt(const struct client *c);
/* Milliseconds that the node owes an answer to client_idle(.., true); 0: none. */
uint64_t client_silent_ms(const struct client *c);
/* One command of the node that is connected, soon or not at all (`commands`). */
int client_definitions(struct client *c, struct span word, struct buf *json, struct error *e);
/* Completion of a line up to its cursor: JSON as docs/protocol.md says. ERR_UNKNOWN when the
 * node does not answer soon. */
int client_complete(struct client *c, struct span line, struct buf *json, struct error *e);

/* "a:1,b:2" -> NULL-ended list, freed with client_addresses_free. */
char **client_addresses(const char *text);
void client_addresses_free(char **list);
/* `@FILE` -> the file's text, `@@x` -> "@x", anything else as it is. */
int client_argument(const char *arg, struct buf *out, struct error *e);

#endif
