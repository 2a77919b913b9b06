/* The console protocol (docs/protocol.md): Lua statements and scripts over a connection.
 *
 *   USHER.SESSION                 +OK: a session with its own globals begins
 *   USHER.LINE text [id [again]]  one console line; a command gets the request id
 *   USHER.RUN name text arg...    a whole script
 *   USHER.COMPLETE text           what may stand at the end of a line
 *   USHER.KILL                    no answer: ends what runs (its `done` follows)
 *   USHER.PROMPT                  what a prompt says of this node
 *   USHER.CALL word...            a command that may say what it does while it runs
 *   USHER.AGAIN word...           the same, sent before on a connection that broke
 *
 * LINE, RUN and COMPLETE answer with a stream of arrays, the last of them ["done", ...]. Statements
 * of one connection run one after the other; requests behind them wait for their answers'
 * turn as always. A script whose console does not read is paused (flow control); one whose
 * console goes away is killed with its session.
 *
 *   state of a statement: WAITING -> RUNNING -> DONE */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/resp/conn.h"

static size_t stream_bytes(const struct conn *c)
{
    return c->out.len + c->sending.len + (c->running != NULL ? c->running->answer.len : 0);
}

static void on_output(void *arg, const char *kind, struct span text, struct span columns)
{
    struct conn *c = arg;
    ASSERT(c->running != NULL);
    struct buf *b = slot_out(c->running);
    bool value = strcmp(kind, "value") == 0;
    put_array(b, value ? 3 : 2);
    put_text(b, kind);
    put_bulk(b, text);
    if (value) {
        put_bulk(b, columns);
    }
    if (!c->task_paused && stream_bytes(c) > STREAM_BYTES_SOFT) {
        c->task_paused = true;
        if (c->task != NULL) {
            scripts_pause(c->task, true);
        }
    }
    resp_conn_touch(c);
}

/* A connection and its session have seen the same. */
static void share_seen(struct conn *c)
{
    uint64_t *seen = scripts_session_seen(c->session);
    uint64_t newest = *seen > c->seen_index ? *seen : c->seen_index;
    *seen = c->seen_index = newest;
}

static void on_done(void *arg, int status, const struct error *e, struct span traceback)
{
    struct conn *c = arg;
    struct slot *x = c->running;
    char line[ERROR_MESSAGE_BYTES + ERROR_HINT_BYTES + 64] = "";
    ASSERT(x != NULL);
    struct buf *b = slot_out(x);
    if (e != NULL && e->code != 0) {
        (void)error_format(e, line, sizeof line);
    }
    put_array(b, 4);
    put_text(b, "done");
    put_int(b, status);
    put_text(b, line);
    put_bulk(b, traceback);
    c->running = NULL;
    c->task = NULL;
    c->task_paused = false;
    share_seen(c);
    slot_done(x);
    if (!c->starting) {
        session_pump(c);
    }
}

static const struct task_events events = { .output = on_output, .done = on_done };

static void start(struct conn *c, struct slot *x)
{
    struct task *t;
    c->running = x;
    c->starting = true;
    x->kind = SLOT_RUNNING;
    share_seen(c);
    if (text_ieq(x->argv[0], span_of("USHER.LINE"))) {
        t = scripts_statement(c->session, x->argv[1], x->argc > 2 ? x->argv[2] : span_of(""),
                              x->argc > 3, &events, c);
    } else if (text_ieq(x->argv[0], span_of("USHER.COMPLETE"))) {
        t = scripts_complete(c->session, x->argv[1], &events, c);
    } else {
        t = scripts_run(c->session, x->argv[1], x->argv[2], x->argv + 3, x->argc - 3, &events, c);
    }
    if (t == NULL) {
        struct error e;
        (void)error_set(&e, ERR_BUSY, "too many scripts are at work on this node");
        error_hint(&e, "try again in a moment; `ps` lists them, `kill ID` ends one");
        on_done(c, 1, &e, span_of(""));
    }
    c->starting = false;
    if (c->running == x) { /* it may have ended already */
        c->task = t;
        if (c->task_paused) {
            scripts_pause(t, true);
        }
    }
}

void session_pump(struct conn *c)
{
    if (c->task != NULL && c->task_paused && stream_bytes(c) <= STREAM_BYTES_SOFT / 2) {
        c->task_paused = false;
        scripts_pause(c->task, false);
    }
    struct slot *x = c->head;
    while (c->running == NULL && !c->starting && !c->closing && x != NULL) {
        if (x->kind == SLOT_WAITING) {
            start(c, x);
            x = c->head; /* it may have ended and been written */
        } else {
            x = x->next;
        }
    }
}

static void begin(struct conn *c, struct slot *x)
{
    struct error e;
    if (c->session == NULL) {
        c->session = scripts_session_new(c->server->o.scripts, &c->user, &e);
    }
    if (c->session != NULL) {
        verb_ok(x);
    } else {
        verb_error(x, &e);
    }
}

/* ---- Commands that say what they do
 * -------------------------------------------------------------- */

static void on_frame(struct request *r, const char *kind, struct span text)
{
    struct slot *x = r->arg;
    struct buf *b = slot_out(x);
    put_array(b, 2);
    put_text(b, kind);
    put_bulk(b, text);
    resp_conn_touch(x->conn);
}

static bool has_room(struct request *r)
{
    const struct slot *x = r->arg;
    return stream_bytes(x->conn) + x->answer.len <= STREAM_BYTES_SOFT;
}

/* The command itself, its output as arrays in front of its answer. */
static void call(struct conn *c, struct slot *x, bool again)
{
    const struct command_def *def =
        x->argc > 1 ? registry_find(service_registry(c->server->o.service), x->argv[1]) : NULL;
    if (x->argc < 2) {
        verb_fail(x, ERR_BADARG, "USHER.CALL COMMAND WORD...", "no command");
        return;
    }
    bool streams = def != NULL && def->kind == COMMAND_NODE;
    if (streams && again) {
        verb_fail(x, ERR_UNKNOWN, "look before you run it again",
                  "the connection broke while `%s` ran: it may have happened", def->name);
        return;
    }
    verb_submit(c, x, 1);
    if (streams) {
        on_frame(&x->request, "node", span_of("")); /* it is one: what it answers is final */
        x->request.output = on_frame;
        x->request.room = has_room;
    }
    service_submit(c->server->o.service, &x->request);
}

static void prompt(struct conn *c, struct slot *x)
{
    struct buf json = BUF_INIT;
    scripts_prompt(c->server->o.scripts, &json);
    put_bulk(slot_out(x), span_make((const char *)json.data, json.len));
    buf_free(&json);
    slot_done(x);
}

bool session_verb(struct conn *c, struct slot *x)
{
    struct span name = x->argv[0];
    if (name.len < 6 || !text_ieq(span_make(name.data, 6), span_of("USHER."))) {
        return false;
    }
    bool line = text_ieq(name, span_of("USHER.LINE"));
    bool run = text_ieq(name, span_of("USHER.RUN"));
    bool complete = text_ieq(name, span_of("USHER.COMPLETE"));
    bool again = text_ieq(name, span_of("USHER.AGAIN"));
    if (again || text_ieq(name, span_of("USHER.CALL"))) { /* each command has its own level */
        call(c, x, again);
        return true;
    }
    if (c->server->o.scripts == NULL) {
        verb_fail(x, ERR_NOTREADY, "ask another node", "this node runs no scripts");
    } else if (c->user.access < ACCESS_OPERATOR) {
        verb_fail(x, c->user.name.len == 0 ? ERR_NOAUTH : ERR_NOPERM,
                  "AUTH as a user with this access", "the console needs access `operator`");
    } else if (text_ieq(name, span_of("USHER.SESSION"))) {
        begin(c, x);
    } else if (text_ieq(name, span_of("USHER.PROMPT"))) {
        prompt(c, x);
    } else if (text_ieq(name, span_of("USHER.KILL"))) {
        x->kind = SLOT_DONE; /* no answer: an answer would land behind the statement's */
        if (c->task != NULL) {
            scripts_kill(c->task, "interrupted");
        }
        slot_done(x);
    } else if (c->session == NULL) {
        verb_fail(x, ERR_BADARG, "send USHER.SESSION first", "no console session");
    } else if ((line && x->argc >= 2 && x->argc <= 4) || (complete && x->argc == 2) ||
               (run && x->argc >= 3)) {
        x->kind = SLOT_WAITING;
        session_pump(c);
    } else {
        verb_fail(x, ERR_BADARG,
                  "USHER.SESSION | LINE TEXT [ID] | RUN NAME TEXT ARG... | COMPLETE TEXT | KILL | "
                  "PROMPT | CALL WORD...",
                  "this is not the console protocol");
    }
    return true;
}

bool session_streams(const struct conn *c)
{
    for (const struct slot *x = c->head; x != NULL; x = x->next) {
        if (x->kind == SLOT_RUNNING || x->kind == SLOT_WAITING ||
            (x->kind == SLOT_REQUEST && x->request.output != NULL)) {
            return true;
        }
    }
    return false;
}

/* Statements that had not ended get no answer: the connection dies or is reset. */
void session_free(struct conn *c)
{
    if (c->session == NULL) {
        return;
    }
    scripts_session_free(c->session);
    c->session = NULL;
    c->task = NULL;
    c->task_paused = false;
    if (c->running != NULL && !c->closing) {
        struct slot *x = c->running;
        c->running = NULL;
        verb_fail(x, ERR_CANCELED, "", "the session has ended");
    }
    c->running = NULL;
    for (struct slot *x = c->head; x != NULL && !c->closing;) {
        if (x->kind == SLOT_WAITING) {
            verb_fail(x, ERR_CANCELED, "", "the session has ended");
            x = c->head; /* it is written and free, and so may those behind it be */
        } else {
            x = x->next;
        }
    }
}
