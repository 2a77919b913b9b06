/* The streaming half of the client: console lines, scripts, node commands that tell what they
 * do, and what the prompt needs while nothing runs.
 *
 * Answers come in the order of the questions. Three kinds of them may be on their way: an
 * answer of USHER.PROMPT (c->prompts), streams that nobody waits for any more
 * (c->stale_streams), and the one that is waited for, which is always the last.
 *
 * Invariants
 *   S1 a statement is sent again only as `again` and with its first request id, so that the
 *      node repeats a command (one effect) and refuses Lua
 *   S2 a wait ends when the user has asked to stop three times, whatever the node does
 *   S3 a command of the cluster that is met with silence is asked of another node, as `again` */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "console/client_impl.h"

#define COMPLETE_MS 1500
#define SESSION_MS  10000
/* Longer than any answer takes while somebody leads, and than an election. */
#define SILENCE_MS  10000

/* ---- Writing and reading --------------------------------------------------------------------- */

static int broke(struct client *c, struct error *e)
{
    const char *why =
        c->redis != NULL && c->redis->errstr[0] != 0 ? c->redis->errstr : "it was closed";
    error_set(e, ERR_IO, "the connection to %s broke: %s", client_address(c), why);
    client_disconnect(c);
    return ERR_IO;
}

static int send_words(struct client *c, size_t argc, const char **argv, const size_t *lens,
                      struct error *e)
{
    int written = 0;
    (void)redisAppendCommandArgv(c->redis, (int)argc, argv, lens);
    while (written == 0) {
        if (redisBufferWrite(c->redis, &written) != REDIS_OK) {
            return broke(c, e);
        }
    }
    return 0;
}

static int send_word(struct client *c, const char *word, struct error *e)
{
    const size_t len = strlen(word);
    return send_words(c, 1, &word, &len, e);
}

static struct span element(const redisReply *r, size_t i)
{
    if (i >= r->elements || r->element[i]->str == NULL) {
        return span_make("", 0);
    }
    return span_make(r->element[i]->str, r->element[i]->len);
}

static int integer(const redisReply *r, size_t i)
{
    long long v = 1;
    if (i < r->elements) {
        const redisReply *item = r->element[i];
        v = item->type == REDIS_REPLY_INTEGER ? item->integer : 1;
        if (item->str != NULL && sscanf(item->str, "%lld", &v) != 1) {
            v = 1;
        }
    }
    return (int)v;
}

static bool is_done(const redisReply *r)
{
    return r->type == REDIS_REPLY_ERROR || span_is(element(r, 0), "done");
}

/* An answer that nobody here waits for: true when it was one. */
static bool set_aside(struct client *c, const redisReply *r)
{
    if (c->prompts > 0 && r->type == REDIS_REPLY_STRING) { /* streams have no such answers */
        c->prompts--;
        buf_clear(&c->prompt);
        buf_put(&c->prompt, r->str, r->len);
    } else if (c->stale_streams > 0) {
        c->stale_streams -= is_done(r);
    } else if (c->prompts > 0) {
        c->prompts--; /* an error: the old prompt stays */
    } else {
        return false;
    }
    return true;
}

/* A node command: it has waited as long as it wants to, what it says is final. */
#define NODE_COMMAND "node"

struct wait {
    const struct client_hooks *hooks; /* may be NULL */
    unsigned seen;                    /* interrupts dealt with */
    uint64_t deadline_ms;             /* 0: none */
    unsigned silence_ms;              /* 0: any; else the deadline moves with each byte */
};

/* Deals with what the user asked. False: the connection is given up (S2). */
static bool heed(struct client *c, struct wait *w, struct error *e)
{
    unsigned now =
        w->hooks != NULL && w->hooks->interrupts != NULL ? (unsigned)*w->hooks->interrupts : 0;
    while (w->seen < now) {
        w->seen++;
        if (w->hooks->leaves) {
            error_set(e, ERR_CANCELED, "interrupted");
            client_disconnect(c);
            return false;
        }
        if (w->seen == 1) {
            (void)send_word(c, "USHER.KILL", e);
            if (c->redis == NULL) {
                return false;
            }
        } else if (w->seen == 2) {
            w->hooks->impatient(w->hooks->arg, w->seen);
        } else {
            error_set(e, ERR_CANCELED, "given up waiting for %s; what was sent may still happen",
                      client_address(c));
            client_disconnect(c);
            client_next_address(c);
            return false;
        }
    }
    return true;
}

static int wait_readable(struct client *c, struct wait *w, struct error *e)
{
    while (true) {
        struct pollfd p[2] = { { c->redis->fd, POLLIN, 0 },
                               { w->hooks != NULL ? w->hooks->wake_fd : -1, POLLIN, 0 } };
        int n = poll(p, 2, 100);
        if (n < 0 && errno != EINTR) {
            return error_set(e, ERR_IO, "%s: %s", client_address(c), strerror(errno));
        }
        if (n > 0 && p[1].revents != 0) {
            char drain[64];
            (void)!read(p[1].fd, drain, sizeof drain);
        }
        if (!heed(c, w, e)) {
            return ERR_IO;
        }
        if (n > 0 && p[0].revents != 0) {
            return 0;
        }
        if (w->deadline_ms != 0 && client_now_ms() > w->deadline_ms) {
            return error_set(e, ERR_UNKNOWN, "%s does not answer", client_address(c));
        }
    }
}

/* The next answer that is waited for, or NULL with e set (and the connection gone unless the
 * deadline passed). */
static redisReply *next_reply(struct client *c, struct wait *w, struct error *e)
{
    while (true) {
        void *reply = NULL;
        if (redisGetReplyFromReader(c->redis, &reply) != REDIS_OK) {
            (void)broke(c, e);
            return NULL;
        }
        if (reply == NULL) {
            if (wait_readable(c, w, e) != 0) {
                return NULL;
            }
            if (redisBufferRead(c->redis) != REDIS_OK) {
                (void)broke(c, e);
                return NULL;
            }
            if (w->silence_ms != 0) {
                w->deadline_ms = client_now_ms() + w->silence_ms;
            }
        } else if (set_aside(c, reply)) {
            freeReplyObject(reply);
        } else {
            return reply;
        }
    }
}

/* ---- Sessions and statements --------------------------------------------------------------------
 */

/* A node that takes connections but does not answer is left for the next address. */
static int open_session(struct client *c, uint64_t patience_ms, struct error *e)
{
    (void)client_idle(c, false);
    int code = c->redis != NULL ? 0 : client_connect_any(c, e);
    if (code != 0 || c->session) {
        return code;
    }
    struct wait w = { .deadline_ms = client_now_ms() + patience_ms };
    code = send_word(c, "USHER.SESSION", e);
    redisReply *r = code == 0 ? next_reply(c, &w, e) : NULL;
    if (r == NULL) {
        client_disconnect(c);
        client_next_address(c);
        return e->code != 0 ? e->code : ERR_IO;
    }
    code = r->type == REDIS_REPLY_ERROR ? client_take_error(r->str, r->len, e) : 0;
    freeReplyObject(r);
    c->session = code == 0;
    c->sessions += code == 0;
    return code;
}

int client_session(struct client *c, struct error *e) { return open_session(c, SESSION_MS, e); }

unsigned client_sessions(const struct client *c) { return c->sessions; }

/* Frames of what runs until `done`; -1: the connection broke or was given up. */
static int read_stream(struct client *c, const struct client_hooks *hooks, struct error *e,
                       struct buf *traceback)
{
    struct wait w = { .hooks = hooks };
    while (true) {
        redisReply *r = next_reply(c, &w, e);
        int status = -2;
        if (r == NULL) {
            return -1;
        }
        if (r->type == REDIS_REPLY_ERROR) {
            client_take_error(r->str, r->len, e);
            status = 1;
        } else if (span_is(element(r, 0), "done")) {
            struct span line = element(r, 2), trace = element(r, 3);
            status = integer(r, 1);
            if (line.len > 0) {
                client_take_error(line.data, line.len, e);
            }
            buf_put(traceback, trace.data, trace.len);
        } else if (r->elements > 1) {
            hooks->output(hooks->arg, element(r, 0), element(r, 1), element(r, 2));
        }
        freeReplyObject(r);
        if (status != -2) {
            return status;
        }
    }
}

static bool given_up(const struct client_hooks *hooks)
{
    return hooks->interrupts != NULL && *hooks->interrupts > 0;
}

static void say_again(const struct client *c, const struct client_hooks *hooks,
                      const struct error *e)
{
    char text[ERROR_MESSAGE_BYTES + 128];
    (void)snprintf(text, sizeof text, "%s; asking %s", e->message, client_address(c));
    hooks->output(hooks->arg, span_of("progress"), span_of(text), span_make("", 0));
}

int client_line(struct client *c, struct span line, const struct client_hooks *hooks,
                struct error *e, struct buf *traceback)
{
    char id[CLIENT_ID_BYTES];
    uint64_t deadline = client_now_ms() + c->timeout_ms;
    bool sent = false;
    client_make_id(id);
    while (true) {
        error_clear(e);
        if (client_session(c, e) == 0) {
            const char *argv[] = { "USHER.LINE", line.data, id, "again" };
            const size_t lens[] = { strlen("USHER.LINE"), line.len, strlen(id), strlen("again") };
            int status = send_words(c, sent ? 4 : 3, argv, lens, e) == 0
                             ? read_stream(c, hooks, e, traceback)
                             : -1;
            if (status != -1) {
                return status;
            }
            sent = true;
            if (!client_is_cut(e->code) || given_up(hooks)) {
                return -1;
            }
            client_next_address(c);
            say_again(c, hooks, e);
        } else if (!sent || !client_is_cut(e->code) || given_up(hooks)) {
            return -1;
        }
        if (client_now_ms() + CLIENT_RETRY_MS >= deadline) {
            (void)client_not_known(e);
            error_hint(e, "look before you run it again");
            return -1;
        }
        client_pause_ms(CLIENT_RETRY_MS);
    }
}

int client_run(struct client *c, struct span name, struct span text, size_t argc,
               const struct span *argv, const struct client_hooks *hooks, struct error *e,
               struct buf *traceback)
{
    error_clear(e);
    if (client_session(c, e) != 0) {
        return -1;
    }
    const char **texts = mem_must_alloc((argc + 3) * sizeof *texts);
    size_t *lens = mem_must_alloc((argc + 3) * sizeof *lens);
    texts[0] = "USHER.RUN", lens[0] = strlen("USHER.RUN");
    texts[1] = name.data, lens[1] = name.len;
    texts[2] = text.data, lens[2] = text.len;
    for (size_t i = 0; i < argc; i++) {
        texts[3 + i] = argv[i].data;
        lens[3 + i] = argv[i].len;
    }
    int status =
        send_words(c, argc + 3, texts, lens, e) == 0 ? read_stream(c, hooks, e, traceback) : -1;
    mem_free(texts);
    mem_free(lens);
    return status;
}

/* ---- One command that may say what it does -----------------------------------------------------
 */

/* Reads frames until the answer itself. ERR_IO: the connection broke. */
static int read_answer(struct client *c, const struct client_hooks *hooks, bool *final,
                       struct buf *json, struct error *e)
{
    struct wait w = { .hooks = hooks, .silence_ms = SILENCE_MS };
    w.deadline_ms = client_now_ms() + SILENCE_MS;
    while (true) {
        redisReply *r = next_reply(c, &w, e);
        if (r == NULL) {
            *final = false;
            if (e->code == ERR_UNKNOWN) { /* S3 */
                e->code = ERR_IO;
                client_disconnect(c);
            }
            return e->code;
        }
        int code = -1;
        if (r->type == REDIS_REPLY_ERROR) {
            code = client_take_error(r->str, r->len, e);
        } else if (r->type == REDIS_REPLY_ARRAY) {
            *final = *final || span_is(element(r, 0), NODE_COMMAND);
            if (*final) { /* it takes its time */
                w.silence_ms = 0;
                w.deadline_ms = 0;
            }
            hooks->output(hooks->arg, element(r, 0), element(r, 1), element(r, 2));
        } else {
            buf_put(json, r->str, r->str != NULL ? r->len : 0);
            code = 0;
        }
        freeReplyObject(r);
        if (code >= 0) {
            return code;
        }
    }
}

int client_stream(struct client *c, size_t argc, const struct span *argv,
                  const struct client_hooks *hooks, struct buf *json, struct error *e)
{
    char id[CLIENT_ID_BYTES];
    const char **texts;
    size_t *lens;
    client_make_id(id);
    size_t total = client_words(argc, argv, id, &texts, &lens);
    memmove(texts + 1, texts, total * sizeof *texts);
    memmove(lens + 1, lens, total * sizeof *lens);
    bool sent = false, final = false;
    uint64_t begun = client_now_ms(), deadline = begun + c->timeout_ms;
    int code;
    while (true) {
        error_clear(e);
        (void)client_idle(c, false);
        code = c->redis != NULL ? 0 : client_connect_any(c, e);
        if (code == 0) {
            texts[0] = sent ? "USHER.AGAIN" : "USHER.CALL";
            lens[0] = strlen(texts[0]);
            code = send_words(c, total + 1, texts, lens, e);
            code = code != 0 ? code : read_answer(c, hooks, &final, json, e);
            sent = sent || code == ERR_IO;
        }
        bool again = client_is_cut(code) || (!final && client_worth_retrying(code, begun));
        if (code == 0 || !again || given_up(hooks) ||
            client_now_ms() + CLIENT_RETRY_MS >= deadline) {
            break;
        }
        if (client_is_cut(code)) {
            client_next_address(c);
        }
        client_pause_ms(CLIENT_RETRY_MS);
    }
    if (sent && client_is_cut(code)) {
        code = client_not_known(e);
        if (final) {
            error_hint(e, "look before you run it again");
        } else {
            client_hint_again(e, total + 1, texts, lens);
        }
    }
    mem_free(texts);
    mem_free(lens);
    return code;
}

/* ---- While nothing runs
 * -------------------------------------------------------------------------- */

int client_fd(const struct client *c) { return c->redis != NULL ? c->redis->fd : -1; }

bool client_reconnect(struct client *c, struct error *e)
{
    error_clear(e);
    return open_session(c, COMPLETE_MS, e) == 0;
}

bool client_idle(struct client *c, bool ask)
{
    struct error e;
    while (c->redis != NULL) {
        void *reply = NULL;
        if (redisGetReplyFromReader(c->redis, &reply) != REDIS_OK) {
            (void)broke(c, &e);
        } else if (reply != NULL) {
            (void)set_aside(c, reply);
            freeReplyObject(reply);
        } else {
            struct pollfd p = { c->redis->fd, POLLIN, 0 };
            if (poll(&p, 1, 0) <= 0) {
                break;
            }
            if (redisBufferRead(c->redis) != REDIS_OK) {
                (void)broke(c, &e);
            }
        }
    }
    if (c->redis != NULL && ask && c->prompts == 0 && c->stale_streams == 0) {
        c->prompt_ms = client_now_ms();
        c->prompts = send_word(c, "USHER.PROMPT", &e) == 0;
    }
    return c->redis != NULL;
}

struct span client_prompt(const struct client *c)
{
    return span_make(c->prompt.data != NULL ? (const char *)c->prompt.data : "", c->prompt.len);
}

uint64_t client_silent_ms(const struct client *c)
{
    return c->prompts > 0 ? client_now_ms() - c->prompt_ms : 0;
}

int client_complete(struct client *c, struct span line, struct buf *json, struct error *e)
{
    const char *argv[] = { "USHER.COMPLETE", line.data };
    const size_t lens[] = { strlen("USHER.COMPLETE"), line.len };
    struct wait w = { .deadline_ms = client_now_ms() + COMPLETE_MS };
    error_clear(e);
    if (!client_idle(c, false) || !c->session) {
        return error_set(e, ERR_IO, "not connected");
    }
    int code = send_words(c, 2, argv, lens, e);
    while (code == 0) {
        redisReply *r = next_reply(c, &w, e);
        if (r == NULL) {
            if (c->redis != NULL) {
                c->stale_streams++;
                (void)send_word(c, "USHER.KILL", &(struct error){ 0 });
            }
            return e->code;
        }
        bool done = is_done(r);
        if (r->type == REDIS_REPLY_ERROR) {
            code = client_take_error(r->str, r->len, e);
        } else if (span_is(element(r, 0), "value")) {
            buf_clear(json);
            buf_put(json, element(r, 1).data, element(r, 1).len);
        }
        freeReplyObject(r);
        if (done) {
            break;
        }
    }
    return code;
}

int client_definitions(struct client *c, struct span word, struct buf *json, struct error *e)
{
    struct wait w = { .deadline_ms = client_now_ms() + COMPLETE_MS };
    error_clear(e);
    if (!client_idle(c, false)) {
        return error_set(e, ERR_IO, "not connected");
    }
    redisReply *r = send_words(c, 1, &word.data, &word.len, e) == 0 ? next_reply(c, &w, e) : NULL;
    if (r == NULL) {
        client_disconnect(c); /* its answer would be taken for another's */
        return e->code;
    }
    int code = 0;
    if (r->type == REDIS_REPLY_STRING) {
        buf_put(json, r->str, r->len);
    } else {
        code = error_set(e, ERR_INTERNAL, "no definitions");
    }
    freeReplyObject(r);
    return code;
}
