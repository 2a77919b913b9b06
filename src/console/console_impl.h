/* Inside the console only: console.c (statements), terminal.c (a person types). */
#ifndef USHER_CONSOLE_CONSOLE_IMPL_H
#define USHER_CONSOLE_CONSOLE_IMPL_H

#include "console/client.h"
#include "console/console.h"
#include "console/render.h"

struct console {
    const struct console_options *o;
    struct client *client;
    struct render *render;
    struct client_hooks hooks;
    struct buf statement; /* lines of an unfinished statement */
    struct span running;  /* what the node is at, for an impatient user */
    unsigned sessions;    /* of the client, when the last statement began */
    bool failed;          /* some statement failed */
    bool leave;
    bool exited; /* by exit(n) of a statement, with this status */
    int exit_status;
};

/* Adds a line to the statement and runs it; an incomplete one waits for more
 * (c->statement.len > 0 then). */
void console_feed(struct console *c, struct span line);
bool console_is_blank(struct span line);

/* Reads and runs what is typed until the user leaves or the node stops. */
void terminal_run(struct console *c);

#endif
