/* The asking side: a change wanted on this node, wherever the leader is.
 *
 * cluster_change_poll() is called again and again with the same id. On the leader it is
 * judged at once; elsewhere a frame goes to the leader now and then, and its last answer is
 * what the caller sees. The leader may change meanwhile: the id tells the next one whether it
 * has begun, is done, or was never heard of.
 *
 *   no leader for LEADERLESS_MS, or one that does not answer, and nothing logged: NOQUORUM
 *   the caller's time is up, nothing logged:  says why; nothing was changed
 *   logged: the leader's own deadline ends it; GRACE_MS beyond it UNKNOWN
 *   the caller is silent for GONE_MS: canceled */
#define LOG_MODULE "member"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "cluster/internal.h"

#define SEND_EVERY_MS    100
#define GONE_MS          2000
#define GRACE_MS         10000
#define LEADER_SILENT_MS 3000 /* a leader that does not answer */
#define ASKS_MAX         64   /* on one node at a time: people, not programs, ask for this */

struct member_ask {
    struct member_ask *next;
    struct wire_change change;
    char address[ADDRESS_BYTES_MAX + 1], other[ADDRESS_BYTES_MAX + 1];
    char led[ADDRESS_BYTES_MAX + 1]; /* TRANSFER: who has said that it hands over */
    uint64_t touched_ms, sent_ms, deadline_ms;
    uint64_t answered_ms; /* the leader's last word; at first when the asking began */
    bool logged;          /* the operation may be in the log */
    struct cluster_change_state state;
};

static struct member_ask *find(struct cluster *c, uint64_t id)
{
    struct member_ask *a = c->asks;
    while (a != NULL && a->change.id != id) {
        a = a->next;
    }
    return a;
}

static struct member_ask *find_or_make(struct cluster *c, const struct cluster_change *change)
{
    struct member_ask *a = find(c, change->id);
    unsigned n = 0;
    for (const struct member_ask *other = c->asks; other != NULL; other = other->next) {
        n++;
    }
    if (a != NULL || n >= ASKS_MAX || (a = mem_zalloc(sizeof *a)) == NULL) {
        return a;
    }
    uint64_t now = now_ms(c);
    (void)snprintf(a->address, sizeof a->address, "%s", change->address);
    (void)snprintf(a->other, sizeof a->other, "%s", change->other);
    a->change = (struct wire_change){ .id = change->id,
                                      .kind = (uint8_t)change->kind,
                                      .force = change->force,
                                      .address = span_of(a->address),
                                      .other = span_of(a->other) };
    a->deadline_ms = now + change->timeout_ms;
    a->answered_ms = now;
    a->next = c->asks;
    c->asks = a;
    return a;
}

/* While it hands over a leader does not call itself one: who says so is remembered. */
static void note_handing(struct member_ask *a, int stage, const char *by)
{
    if (stage == STAGE_HANDING && a->led[0] == '\0') {
        (void)snprintf(a->led, sizeof a->led, "%s", by);
    }
}

static void take_state(struct cluster *c, struct member_ask *a,
                       const struct cluster_change_state *st)
{
    if (a->state.stage == STAGE_DONE) {
        return;
    }
    if (st->stage != STAGE_ASKING) { /* else the leader is still taking over */
        a->answered_ms = now_ms(c);
    }
    a->logged = a->logged || (st->stage >= STAGE_LOGGING && a->change.kind < CHANGE_TRANSFER);
    a->state = *st;
}

static void send_to_leader(struct cluster *c, struct member_ask *a, bool cancel)
{
    struct peer *p = peer_find(c, status_leader(c));
    uint64_t now = now_ms(c);
    if (p == NULL || (!cancel && a->sent_ms != 0 && now - a->sent_ms < SEND_EVERY_MS)) {
        return;
    }
    a->sent_ms = now;
    a->change.timeout_ms = a->deadline_ms > now ? a->deadline_ms - now : 0;
    a->change.cancel = cancel;
    struct buf b = BUF_INIT;
    wire_put_change(&b, &a->change);
    peer_send(c, p, &b);
}

static void judge_here(struct cluster *c, struct member_ask *a, bool cancel)
{
    struct cluster_change_state st;
    uint64_t now = now_ms(c);
    a->change.timeout_ms = a->deadline_ms > now ? a->deadline_ms - now : 0;
    a->change.cancel = cancel;
    member_judge(c, &a->change, &st);
    note_handing(a, st.stage, c->address);
    take_state(c, a, &st);
}

/* ---- Ends -------------------------------------------------------------------------------- */

static void end_silent(struct member_ask *a)
{
    if (a->logged) {
        change_fail(&a->state, ERR_NOQUORUM,
                    "it goes on or is undone by itself when a majority answers; `nodes` shows how "
                    "it ended",
                    "no majority of the voters answers any more, and the change had begun");
    } else {
        change_fail(&a->state, ERR_NOQUORUM,
                    "start the nodes that `nodes` shows as unreachable, then repeat it",
                    "no leader: no majority of the voters answers; nothing was changed");
    }
}

static void end_late(struct member_ask *a)
{
    char why[ERROR_MESSAGE_BYTES];
    (void)snprintf(why, sizeof why, "%s", a->state.text);
    if (a->logged) {
        change_fail(&a->state, ERR_UNKNOWN, "`nodes` shows how it ended",
                    "the leader has not said in time how the change ended");
    } else if (a->change.kind == CHANGE_TRANSFER) {
        change_fail(&a->state, ERR_LIMIT, "`nodes` shows who is behind; then repeat it",
                    "leadership was not handed over in time");
    } else if (a->state.stage == STAGE_REACHING) {
        change_fail(&a->state, ERR_NOTFOUND,
                    "check the address, start the node there (usher node --id N), and repeat this",
                    "%s was not reached in time (%s); nothing was changed",
                    a->change.kind == CHANGE_REPLACE ? a->other : a->address, why);
    } else if (a->state.stage == STAGE_WAITING) {
        change_fail(&a->state, ERR_CONFLICT, "wait for it to end, then repeat this",
                    "%s; nothing was changed", why);
    } else {
        end_silent(a);
    }
}

/* What this node sees by itself: leadership has moved, or it is out, as was asked. */
static bool done_here(struct cluster *c, struct member_ask *a)
{
    const char *leader = status_leader(c);
    bool moved = a->address[0] == '\0'
                     ? leader[0] != '\0' && a->led[0] != '\0' && strcmp(leader, a->led) != 0
                     : strcmp(leader, a->address) == 0;
    bool out = c->removed && a->logged && a->change.kind != CHANGE_ADD &&
               strcmp(a->address, c->address) == 0;
    if (a->state.stage != STAGE_DONE && (a->change.kind == CHANGE_TRANSFER ? moved : out)) {
        memset(&a->state, 0, sizeof a->state);
        a->state.stage = STAGE_DONE;
    }
    return a->state.stage == STAGE_DONE;
}

static void look_at_clock(struct cluster *c, struct member_ask *a)
{
    uint64_t now = now_ms(c);
    bool led = status_leader(c)[0] != '\0';
    uint64_t silent = now - a->answered_ms;
    if (now >= a->deadline_ms + (a->logged ? GRACE_MS : 0)) {
        end_late(a);
    } else if (silent >= (led ? LEADER_SILENT_MS : LEADERLESS_MS) &&
               (!a->logged || now >= a->deadline_ms)) {
        end_silent(a);
    }
}

static bool refuse_here(struct cluster *c, struct cluster_change_state *st)
{
    struct error e = { 0 };
    if (c->raft_on && !c->dead && !c->quarantined && !c->removed) {
        return false;
    }
    (void)cluster_local_ready(c, &e);
    change_fail(st, ERR_NOTREADY, "ask another node", "%s; nothing was changed",
                e.message[0] != '\0' ? e.message : "this node is not ready");
    return true;
}

void cluster_change_poll(struct cluster *c, const struct cluster_change *change,
                         struct cluster_change_state *out)
{
    memset(out, 0, sizeof *out);
    cluster_kick(c);
    struct member_ask *a = find(c, change->id);
    if (a != NULL && done_here(c, a)) {
        a->touched_ms = now_ms(c);
        *out = a->state;
        return;
    }
    if (refuse_here(c, out)) {
        return;
    }
    a = find_or_make(c, change);
    if (a == NULL) {
        change_fail(out, ERR_BUSY, "wait for them to end", "too many changes are asked for");
        return;
    }
    a->touched_ms = now_ms(c);
    if (a->state.stage != STAGE_DONE) {
        if (cluster_leads(c)) {
            judge_here(c, a, false);
        } else {
            send_to_leader(c, a, false);
        }
    }
    if (a->state.stage != STAGE_DONE) {
        look_at_clock(c, a);
    }
    *out = a->state;
}

/* ---- Frames, time ---------------------------------------------------------------------------- */

void member_on_ask(struct cluster *c, struct peer *p, const struct wire_change *a)
{
    struct cluster_change_state st;
    if (!c->raft_on || c->dead || !p->member) {
        return;
    }
    member_judge(c, a, &st);
    if (st.stage == STAGE_ASKING) {
        return; /* not the leader, or not yet */
    }
    struct wire_change_state w = { .id = a->id,
                                   .match = st.match,
                                   .last = st.last,
                                   .sent = st.sent,
                                   .total = st.total,
                                   .stage = (uint8_t)st.stage,
                                   .code = (uint8_t)st.code,
                                   .text = span_of(st.text),
                                   .hint = span_of(st.hint) };
    struct buf b = BUF_INIT;
    wire_put_change_state(&b, &w);
    peer_send(c, p, &b);
}

void member_on_state(struct cluster *c, struct peer *p, const struct wire_change_state *s)
{
    struct member_ask *a = find(c, s->id);
    if (a != NULL) {
        note_handing(a, s->stage, p->address);
    }
    if (a == NULL || strcmp(status_leader(c), p->address) != 0 || s->stage > STAGE_DONE ||
        s->code >= ERR_COUNT_) {
        return;
    }
    struct cluster_change_state st = { .stage = s->stage,
                                       .code = s->code,
                                       .match = s->match,
                                       .last = s->last,
                                       .sent = s->sent,
                                       .total = s->total };
    (void)snprintf(st.text, sizeof st.text, "%.*s", (int)s->text.len, s->text.data);
    (void)snprintf(st.hint, sizeof st.hint, "%.*s", (int)s->hint.len, s->hint.data);
    take_state(c, a, &st);
}

void member_tick(struct cluster *c)
{
    uint64_t now = now_ms(c);
    c->member_due = true;
    for (struct member_ask **at = &c->asks; *at != NULL;) {
        struct member_ask *a = *at;
        uint64_t silent = now - a->touched_ms;
        if (silent < GONE_MS) {
            at = &a->next;
            continue;
        }
        bool over = a->state.stage == STAGE_DONE || !a->logged || silent >= 2 * GONE_MS;
        if (!over && cluster_leads(c)) {
            judge_here(c, a, true);
        } else if (!over) {
            send_to_leader(c, a, true); /* some times: a frame may be lost */
        }
        if (over) {
            *at = a->next;
            mem_free(a);
        } else {
            at = &a->next;
        }
    }
}

void member_free(struct cluster *c)
{
    while (c->asks != NULL) {
        struct member_ask *a = c->asks;
        c->asks = a->next;
        mem_free(a);
    }
}
