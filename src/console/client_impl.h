/* Inside the client only (client.c, client_stream.c, and what speaks RESP beside them). */
#ifndef USHER_CONSOLE_CLIENT_IMPL_H
#define USHER_CONSOLE_CLIENT_IMPL_H

#include <hiredis/hiredis.h>

#include "console/client.h"

/* Without a quorum nothing is decided; an election is over sooner than this. */
#define CLIENT_QUORUM_MS 3000
/* Pause between two rounds over all addresses. */
#define CLIENT_RETRY_MS  50
/* What an id made by client_make_id() takes, with its NUL. */
#define CLIENT_ID_BYTES  33

struct client {
    char **addresses;
    size_t at, count; /* address in use, how many */
    char *user, *password;
    unsigned timeout_ms;
    redisContext *redis; /* NULL while not connected */
    bool session;        /* USHER.SESSION was sent on this connection */
    unsigned sessions;   /* begun so far */

    struct buf prompt;      /* the last answer of USHER.PROMPT */
    unsigned prompts;       /* answers of it that are still to come */
    uint64_t prompt_ms;     /* when the oldest of them was asked for */
    unsigned stale_streams; /* streams nobody waits for any more */
};

uint64_t client_now_ms(void);
void client_pause_ms(unsigned ms);
void client_make_id(char out[CLIENT_ID_BYTES]);
void client_disconnect(struct client *c);
void client_next_address(struct client *c);
/* A connection that is logged in (password NULL: not needed). On 0 the caller frees it;
 * ERR_BADARG: no address, ERR_UNREACHABLE, or what the node says to the password. */
int client_dial(const char *address, const char *user, const char *password, redisContext **out,
                struct error *e);
/* Tries every address once, beginning with the one in use. */
int client_connect_any(struct client *c, struct error *e);
/* Moves an error line "CODE message; hint" into e; returns the code. */
int client_take_error(const char *line, size_t len, struct error *e);
/* No connection could be had, or it broke: what was sent may have happened. */
static inline bool client_is_cut(int code) { return code == ERR_IO || code == ERR_UNREACHABLE; }
/* The last word on what was sent and never answered: UNKNOWN; the caller adds what to do. */
int client_not_known(struct error *e);
/* Whether a command that began at begun_ms is tried again after this error. */
bool client_worth_retrying(int code, uint64_t begun_ms);
/* The words with `--request id` in second place (unless they hold one): freed by the caller,
 * both arrays. */
size_t client_words(size_t argc, const struct span *argv, const char *id, const char ***texts,
                    size_t **lens);
/* As hint: send these words again under their request id. */
void client_hint_again(struct error *e, size_t argc, const char **texts, const size_t *lens);

#endif
