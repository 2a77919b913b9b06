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

/* Runs one command; on 0 `json` is the answer, owned by the caller. Errors of the cluster
 * come back with their code; a connection that cannot be had is ERR_IO. */
int client_call(struct client *c, size_t argc, const struct span *argv, struct buf *json,
                struct error *e);

/* A console session on the same node (docs/protocol.md). Output arrives through the
 * callback while the statement runs. `interrupted` is polled; once true the statement is
 * killed on the node. Returns the status of `done`; traceback may be empty. A broken
 * connection returns -1 with e set. */
typedef void (*client_output_cb)(void *arg, struct span kind, struct span text,
                                 struct span columns);
int client_session(struct client *c, struct error *e);
int client_line(struct client *c, struct span line, client_output_cb cb, void *arg,
                const volatile sig_atomic_t *interrupted, struct error *e, struct buf *traceback);
int client_run(struct client *c, struct span name, struct span text, size_t argc,
               const struct span *argv, client_output_cb cb, void *arg,
               const volatile sig_atomic_t *interrupted, struct error *e, struct buf *traceback);

/* "a:1,b:2" -> NULL-ended list, freed with client_addresses_free. */
char **client_addresses(const char *text);
void client_addresses_free(char **list);
/* `@FILE` -> the file's text, `@@x` -> "@x", anything else as it is. */
int client_argument(const char *arg, struct buf *out, struct error *e);

#endif
