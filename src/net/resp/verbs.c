/* One request of a connection: the verbs of Redis that clients expect, the console's verbs,
 * and everything else to the service. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/text.h"
#include "net/resp/conn.h"

typedef void (*verb_fn)(struct conn *c, struct slot *x);

void verb_error(struct slot *x, const struct error *e)
{
    put_error(slot_out(x), e);
    slot_done(x);
}

void verb_fail(struct slot *x, int code, const char *hint, const char *fmt, ...)
{
    struct error e;
    va_list args;
    va_start(args, fmt);
    (void)error_vset(&e, code, fmt, args);
    va_end(args);
    error_hint(&e, "%s", hint);
    verb_error(x, &e);
}

void verb_ok(struct slot *x)
{
    put_simple(slot_out(x), "OK");
    slot_done(x);
}

static void verb_ping(struct conn *c, struct slot *x)
{
    struct buf *b = slot_out(x);
    if (c->subs_count > 0 && !c->resp3) {
        put_array(b, 2);
        put_text(b, "pong");
        put_bulk(b, x->argc > 1 ? x->argv[1] : span_of(""));
    } else if (x->argc > 1) {
        put_bulk(b, x->argv[1]);
    } else {
        put_simple(b, "PONG");
    }
    slot_done(x);
}

static void verb_echo(struct conn *c, struct slot *x)
{
    (void)c;
    if (x->argc != 2) {
        verb_fail(x, ERR_BADARG, "usage: ECHO TEXT", "ECHO takes one argument");
        return;
    }
    put_bulk(slot_out(x), x->argv[1]);
    slot_done(x);
}

static void verb_select(struct conn *c, struct slot *x)
{
    (void)c;
    if (x->argc == 2 && span_is(x->argv[1], "0")) {
        verb_ok(x);
    } else {
        verb_fail(x, ERR_BADARG, "use SELECT 0, or none at all", "there is one database, 0");
    }
}

/* Client libraries wrap a pipeline in MULTI and EXEC unless told not to. Each of our commands is a
 * transaction of its own: the block is refused as a whole, or its commands would be done and yet
 * look as if they were not. */
#define MULTI_HINT "send the commands without MULTI (redis-py: pipeline(transaction=False))"

static void verb_multi(struct conn *c, struct slot *x)
{
    c->multi = true;
    verb_fail(x, ERR_BADARG, MULTI_HINT,
              "there is no MULTI: every command is a transaction; nothing up to EXEC is done");
}

static void verb_exec(struct conn *c, struct slot *x)
{
    if (c->multi) {
        c->multi = false; /* the word that clients look for */
        buf_put_str(slot_out(x),
                    "-EXECABORT BADARG nothing of this MULTI was done; " MULTI_HINT "\r\n");
        slot_done(x);
    } else {
        verb_fail(x, ERR_BADARG, MULTI_HINT, "EXEC without MULTI");
    }
}

static void verb_discard(struct conn *c, struct slot *x)
{
    c->multi = false;
    verb_ok(x);
}

static void verb_reset(struct conn *c, struct slot *x)
{
    c->multi = false;
    auth_reset(c);
    c->seen_index = 0;
    push_free(c);
    session_free(c);
    backup_free(c);
    c->resp3 = false;
    buf_clear(&c->name);
    put_simple(slot_out(x), "RESET");
    slot_done(x);
}

static void verb_quit(struct conn *c, struct slot *x)
{
    verb_ok(x);
    resp_conn_end(c);
}

static const struct {
    const char *name;
    verb_fn fn;
    bool subscribed; /* allowed in RESP2 while subscribed */
} verbs[] = {
    { "PING", verb_ping, true },           { "ECHO", verb_echo, false },
    { "HELLO", auth_hello, false },        { "AUTH", auth_verb, false },
    { "CLIENT", admin_client, false },     { "COMMAND", admin_command, false },
    { "INFO", admin_info, false },         { "SELECT", verb_select, false },
    { "RESET", verb_reset, true },         { "QUIT", verb_quit, true },
    { "SUBSCRIBE", push_subscribe, true }, { "UNSUBSCRIBE", push_unsubscribe, true },
    { "MULTI", verb_multi, false },        { "EXEC", verb_exec, false },
    { "DISCARD", verb_discard, false },
};

const char *const verb_names[] = { "ping",      "echo",        "hello",  "auth",  "client",
                                   "command",   "info",        "select", "reset", "quit",
                                   "subscribe", "unsubscribe", NULL };

static void on_answer(struct request *r, int code, const struct error *e, struct span fields,
                      struct span json)
{
    struct slot *x = r->arg;
    struct buf *b = slot_out(x);
    (void)fields; /* RESP has one line for an error: code, message, hint */
    if (code == 0) {
        put_bulk(b, json);
    } else {
        put_error(b, e);
    }
    slot_done(x);
}

void verb_submit(struct conn *c, struct slot *x, size_t skip)
{
    x->request = (struct request){
        .argv = x->argv + skip,
        .argc = x->argc - skip,
        .user = c->user,
        .cb = on_answer,
        .arg = x,
        .client = c->id,
        .seen_index = &c->seen_index,
    };
}

static bool ends_multi(verb_fn fn)
{
    return fn == verb_exec || fn == verb_discard || fn == verb_reset || fn == verb_quit;
}

void verb_dispatch(struct conn *c, struct slot *x)
{
    struct span name = x->argv[0];
    bool only_subscribed = c->subs_count > 0 && !c->resp3;
    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        /* The first letter decides nearly always: this runs for every booking. */
        if (name.len > 0 && (name.data[0] & 0x5f) == verbs[i].name[0] &&
            text_ieq(name, span_of(verbs[i].name))) {
            if (only_subscribed && !verbs[i].subscribed) {
                break;
            }
            if (c->multi && !ends_multi(verbs[i].fn)) {
                break;
            }
            verbs[i].fn(c, x);
            return;
        }
    }
    if (c->multi) {
        verb_fail(x, ERR_BADARG, MULTI_HINT, "not done: it stands in a MULTI, which was refused");
    } else if (only_subscribed) {
        verb_fail(x, ERR_BADARG, "UNSUBSCRIBE first, or use RESP3 (HELLO 3)",
                  "this connection is subscribed: only (UN)SUBSCRIBE, PING, RESET, QUIT");
    } else if (!backup_verb(c, x) && !session_verb(c, x)) {
        verb_submit(c, x, 0);
        service_submit(c->server->o.service, &x->request);
    }
}
