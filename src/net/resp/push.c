/* SUBSCRIBE event:ID: committed changes of an event's seats as they commit (design.md 4.4).
 *
 * RESP2: the arrays of Redis' SUBSCRIBE; RESP3: pushes, between any two answers. A push that
 * would land in the middle of an answer that is being streamed (a console statement) is a
 * separate value all the same: values are written whole. A subscriber that does not read is
 * cut off at PUSH_BYTES_MAX: it must come back and read `seats` anew. So is everybody whose
 * node took over a snapshot, for then changes went by that nobody here has seen. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/text.h"
#include "net/resp/conn.h"

#define PREFIX "event:"

static void on_change(void *arg, struct span event, uint64_t index, struct span json)
{
    struct subscription *s = arg;
    struct conn *c = s->conn;
    char channel[sizeof PREFIX + ID_BYTES_MAX];
    ASSERT(event.len <= ID_BYTES_MAX);
    if (c->closing) {
        return;
    }
    if (index == 0) { /* a snapshot replaced the state: it missed changes and begins anew */
        resp_conn_kill(c);
        return;
    }
    (void)snprintf(channel, sizeof channel, "%s%.*s", PREFIX, (int)event.len, event.data);
    size_t before = c->out.len;
    put_push(&c->out, c->resp3, 3);
    put_text(&c->out, "message");
    put_bulk(&c->out, span_of(channel));
    put_bulk(&c->out, json);
    c->pushed_out += c->out.len - before;
    if (c->pushed_out + c->pushed_sending > PUSH_BYTES_MAX) {
        resp_conn_kill(c);
    } else {
        resp_conn_touch(c);
    }
}

static struct subscription **find(struct conn *c, struct span event)
{
    struct subscription **at = &c->subs;
    while (*at != NULL && !span_is(event, (*at)->event)) {
        at = &(*at)->next;
    }
    return at;
}

static void drop(struct conn *c, struct subscription **at)
{
    struct subscription *s = *at;
    *at = s->next;
    service_unwatch(s->watch);
    mem_free(s);
    c->subs_count--;
}

void push_free(struct conn *c)
{
    while (c->subs != NULL) {
        drop(c, &c->subs);
    }
}

static bool event_of(struct span channel, struct span *event)
{
    size_t n = strlen(PREFIX);
    if (channel.len <= n || memcmp(channel.data, PREFIX, n) != 0) {
        return false;
    }
    *event = span_make(channel.data + n, channel.len - n);
    return text_is_id(*event);
}

static void confirm(struct conn *c, struct slot *x, const char *what, struct span channel)
{
    struct buf *b = slot_out(x);
    put_push(b, c->resp3, 3);
    put_text(b, what);
    if (channel.data != NULL) {
        put_bulk(b, channel);
    } else {
        put_null(b, c->resp3);
    }
    put_int(b, (int64_t)c->subs_count);
}

static bool subscribe_one(struct conn *c, struct span event)
{
    if (*find(c, event) != NULL) {
        return true;
    }
    struct subscription *s = mem_zalloc(sizeof *s);
    if (s == NULL) {
        return false;
    }
    s->conn = c;
    memcpy(s->event, event.data, event.len);
    s->watch = service_watch(c->server->o.service, event, on_change, s);
    if (s->watch == NULL) {
        mem_free(s);
        return false;
    }
    s->next = c->subs;
    c->subs = s;
    c->subs_count++;
    return true;
}

void push_subscribe(struct conn *c, struct slot *x)
{
    struct span event;
    if (x->argc < 2) {
        verb_fail(x, ERR_BADARG, "usage: SUBSCRIBE event:ID...", "SUBSCRIBE needs a channel");
        return;
    }
    if (c->subs_count + x->argc - 1 > SUBSCRIPTIONS_MAX) {
        verb_fail(x, ERR_LIMIT, "use another connection", "at most %d subscriptions",
                  SUBSCRIPTIONS_MAX);
        return;
    }
    for (size_t i = 1; i < x->argc; i++) {
        if (!event_of(x->argv[i], &event)) {
            verb_fail(x, ERR_BADARG, "channels are called event:ID", "there is no such channel");
            return;
        }
    }
    for (size_t i = 1; i < x->argc; i++) {
        (void)event_of(x->argv[i], &event);
        if (!subscribe_one(c, event)) {
            verb_fail(x, ERR_NOMEM, "try again", "out of memory");
            return;
        }
        confirm(c, x, "subscribe", x->argv[i]);
    }
    slot_done(x);
}

void push_unsubscribe(struct conn *c, struct slot *x)
{
    struct span event;
    if (x->argc == 1) {
        bool any = c->subs != NULL;
        while (c->subs != NULL) {
            char channel[sizeof PREFIX + ID_BYTES_MAX];
            (void)snprintf(channel, sizeof channel, "%s%s", PREFIX, c->subs->event);
            drop(c, &c->subs);
            confirm(c, x, "unsubscribe", span_of(channel));
        }
        if (!any) {
            confirm(c, x, "unsubscribe", (struct span){ NULL, 0 });
        }
    }
    for (size_t i = 1; i < x->argc; i++) {
        struct subscription **at = event_of(x->argv[i], &event) ? find(c, event) : NULL;
        if (at != NULL && *at != NULL) {
            drop(c, at);
        }
        confirm(c, x, "unsubscribe", x->argv[i]);
    }
    slot_done(x);
}
