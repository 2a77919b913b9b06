/* Groups, transactions, and how a change is taken back.
 *
 * Every change is an undo record with both versions of one object. Forward puts the
 * new version in, backward the old one; neither takes memory or can fail. So
 *
 *   undo     backward, newest first, then the new versions are freed
 *   commit   the old versions are freed, oldest group first
 *   rewind   backward over all groups: the committed view, in place
 *   replay   forward over the same records
 *
 * Groups lie in a circular list, oldest first; emptied ones keep their memory for the
 * next group, so a steady load allocates nothing here.
 *
 *   1 records are applied backward in exactly the reverse order
 *   2 after undo the digest is what it was before (S6) */
#include <string.h>

#include "base/mem.h"
#include "store/store_impl.h"

/* Memory for a transaction's effects that is kept for the next one. */
#define EFFECTS_KEPT_BYTES (256 * 1024)

struct group *group_nth(const struct store *s, unsigned i)
{
    return &s->groups[(s->groups_first + i) % s->groups_cap];
}

bool undo_reserve(struct store *s, size_t count)
{
    struct group *g = group_newest(s);
    if (g->cap - g->len >= count) {
        return true;
    }
    size_t cap = g->cap < 64 ? 64 : g->cap * 2;
    while (cap - g->len < count) {
        cap *= 2;
    }
    struct undo *records = mem_realloc(g->records, sizeof *records * cap);
    if (records == NULL) {
        return false;
    }
    g->records = records;
    g->cap = cap;
    return true;
}

static void apply_order(struct store *s, const struct undo *u, bool forward, bool first)
{
    struct order *from = forward ? u->old.p : u->new.p, *to = forward ? u->new.p : u->old.p;
    if (u->kind == UNDO_RENUMBER) {
        order_renumber(s, u->number, from, to);
        return;
    }
    order_swap(s, u->number, from, to, first);
    if (u->old.p == NULL) {
        s->next_serial = record_at(s, u->number)->serial + forward;
    }
}

static void apply_event(struct store *s, const struct undo *u, bool forward)
{
    struct event_object *ev = event_at(s, u->number);
    union undo_side to = forward ? u->new : u->old;
    switch (u->kind) {
    case UNDO_SEAT: seat_set(s, ev, u->word, (uint32_t)to.u); break;
    case UNDO_BODY: event_swap_body(s, ev, to.p); break;
    case UNDO_TOUCH: event_set_touch(s, ev, to.u, forward ? u->flags_new : u->flags_old); break;
    default:
        event_link(s, u->old.p != NULL ? u->old.p : u->new.p, to.p != NULL);
        if (u->old.p == NULL) {
            s->next_event = u->number + forward;
        }
    }
}

void undo_apply(struct store *s, const struct undo *u, bool forward, bool first)
{
    void *from = forward ? u->old.p : u->new.p, *to = forward ? u->new.p : u->old.p;
    switch ((enum undo_kind)u->kind) {
    case UNDO_ORDER:
    case UNDO_RENUMBER: apply_order(s, u, forward, first); break;
    case UNDO_SEAT:
    case UNDO_BODY:
    case UNDO_TOUCH:
    case UNDO_EVENT: apply_event(s, u, forward); break;
    case UNDO_CHART:
        if (from != NULL) {
            chart_cell_link(s, from, false);
        }
        if (to != NULL) {
            chart_cell_link(s, to, true);
        }
        break;
    case UNDO_KV:
        if (from != NULL) {
            kv_link(s, from, false);
        }
        if (to != NULL) {
            kv_link(s, to, true);
        }
        break;
    case UNDO_RECORD:
        if (from != NULL) {
            blob_link(s, from, false);
        }
        if (to != NULL) {
            blob_link(s, to, true);
        }
        break;
    case UNDO_RESULT: results_link(s, forward); break;
    case UNDO_RESULT_DROP: (forward ? results_drop : results_restore)(s, u->word); break;
    case UNDO_NAME: name_link(s, u->new.p, forward); break;
    case UNDO_POLICY: (forward ? policy_push : policy_pop)(s, u->new.p, u->old.p); break;
    }
}

/* Frees the version that nobody can reach any more. */
void undo_discard(struct store *s, const struct undo *u, bool committed)
{
    void *dead = committed ? u->old.p : u->new.p, *kept = committed ? u->new.p : u->old.p;
    switch ((enum undo_kind)u->kind) {
    case UNDO_ORDER:
        if (kept == NULL) {
            pool_put(&s->records, u->number);
        }
        order_free(s, dead);
        break;
    case UNDO_RENUMBER: order_free(s, dead); break;
    case UNDO_EVENT: event_free(s, dead); break;
    case UNDO_BODY: body_free(s, dead, kept); break;
    case UNDO_CHART: chart_cell_unref(s, dead); break;
    case UNDO_KV: kv_free(s, dead); break;
    case UNDO_RECORD: blob_free(s, dead); break;
    case UNDO_POLICY: policy_unref(s, dead); break;
    case UNDO_NAME:
        if (!committed) {
            name_free(s, u->new.p);
        }
        break;
    case UNDO_RESULT_DROP:
        if (committed) {
            s->results.committed += u->word;
            results_forget(s);
        }
        break;
    case UNDO_RESULT:
    case UNDO_SEAT:
    case UNDO_TOUCH: break;
    }
}

/* Also run over records in flight when a snapshot begins: then in the committed view,
 * where an event made by one of them is not there. */
void snapshot_barrier(struct store *s, const struct undo *u)
{
    switch ((enum undo_kind)u->kind) {
    case UNDO_ORDER:
    case UNDO_RENUMBER: snapshot_before_order(s, u->number); break;
    case UNDO_SEAT:
    case UNDO_TOUCH:
    case UNDO_BODY:
    case UNDO_EVENT: {
        struct event_object *ev = event_at(s, u->number);
        if (ev != NULL && u->kind != UNDO_SEAT) {
            snapshot_before_event(s, ev);
        }
        if (ev != NULL && u->kind != UNDO_TOUCH) {
            snapshot_before_blocks(s, ev);
        }
        break;
    }
    case UNDO_KV: snapshot_before_kv(s, u->old.p, u->new.p); break;
    case UNDO_CHART:
    case UNDO_RESULT:
    case UNDO_RESULT_DROP:
    case UNDO_NAME:
    case UNDO_POLICY:
    case UNDO_RECORD: break; /* shared or written at once, see snapshot_write.c */
    }
}

void change(struct store *s, struct undo u)
{
    struct group *g = group_newest(s);
    ASSERT(g->len < g->cap);
    if (s->snapshot != NULL) {
        snapshot_barrier(s, &u);
    }
    u.effects_at = s->effect_start;
    undo_apply(s, &u, true, true);
    g->records[g->len++] = u;
}

void undo_down_to(struct store *s, size_t len)
{
    struct group *g = group_newest(s);
    while (g->len > len) {
        const struct undo *u = &g->records[--g->len];
        undo_apply(s, u, false, false);
        undo_discard(s, u, false);
    }
}

/* ---- Groups ------------------------------------------------------------------------ */

static void grow_groups(struct store *s)
{
    unsigned cap = s->groups_cap == 0 ? 4 : s->groups_cap * 2;
    struct group *groups = mem_must_alloc(sizeof *groups * cap);
    memset(groups, 0, sizeof *groups * cap);
    for (unsigned i = 0; i < s->groups_cap; i++) {
        groups[i] = *group_nth(s, i);
    }
    mem_free(s->groups);
    s->groups = groups;
    s->groups_cap = cap;
    s->groups_first = 0;
}

void store_group_begin(struct store *s, uint64_t time_ms, uint64_t index)
{
    ASSERT(!s->group_open && !s->rewound);
    if (s->groups_len == s->groups_cap) {
        grow_groups(s);
    }
    s->groups_len++;
    struct group *g = group_newest(s);
    g->len = 0;
    g->time_before = s->time_ms;
    g->index_before = s->index;
    g->time_ms = s->time_ms = time_ms > s->time_ms ? time_ms : s->time_ms;
    g->index = s->index = index;
    s->group_open = true;
}

uint64_t store_index_shown(const struct store *s, bool undone)
{
    if (!s->group_open) {
        return s->index;
    }
    const struct group *g = group_newest(s);
    size_t changes = undone && s->tx_open ? s->tx_start : g->len;
    return changes > 0 ? g->index : g->index_before;
}

void store_group_seal(struct store *s)
{
    ASSERT(s->group_open && !s->tx_open);
    s->group_open = false;
}

static void undo_newest_group(struct store *s)
{
    struct group *g = group_newest(s);
    undo_down_to(s, 0);
    s->time_ms = g->time_before;
    s->index = g->index_before;
    s->groups_len--;
}

void store_group_cancel(struct store *s)
{
    ASSERT(s->group_open && !s->rewound);
    undo_newest_group(s);
    s->group_open = s->tx_open = false;
    buf_clear(&s->effects);
}

void store_group_commit(struct store *s)
{
    ASSERT(s->groups_len > (s->group_open ? 1u : 0u) && !s->rewound);
    struct group *g = group_nth(s, 0);
    for (size_t i = 0; i < g->len; i++) {
        undo_discard(s, &g->records[i], true);
    }
    g->len = 0;
    s->groups_first = (s->groups_first + 1) % s->groups_cap;
    s->groups_len--;
}

void store_undo_all(struct store *s)
{
    ASSERT(!s->rewound);
    while (s->groups_len > 0) {
        undo_newest_group(s);
    }
    s->group_open = s->tx_open = false;
    buf_clear(&s->effects);
}

unsigned store_groups_in_flight(const struct store *s)
{
    return s->groups_len - (s->group_open ? 1 : 0);
}

/* ---- Transactions --------------------------------------------------------------------- */

void store_tx_begin(struct store *s)
{
    ASSERT(s->group_open && !s->tx_open && !s->rewound);
    s->tx_open = true;
    s->tx_start = group_newest(s)->len;
    s->effect_start = 0;
    if (s->effects.cap > EFFECTS_KEPT_BYTES) {
        buf_free(&s->effects); /* a chart or a policy went through */
    }
    buf_clear(&s->effects);
}

/* A mark is the length of the effects so far: every record knows where its own began. */
size_t store_tx_mark(const struct store *s)
{
    ASSERT(s->tx_open);
    return s->effects.len;
}

void store_tx_undo_to(struct store *s, size_t mark)
{
    ASSERT(s->tx_open && mark <= s->effects.len);
    struct group *g = group_newest(s);
    size_t len = g->len;
    while (len > s->tx_start && g->records[len - 1].effects_at >= mark) {
        len--;
    }
    undo_down_to(s, len);
    s->effects.len = mark;
}

struct span store_tx_effects(const struct store *s)
{
    return span_make((const char *)s->effects.data, s->effects.len);
}

static void check_touched(struct store *s)
{
    struct group *g = group_newest(s);
    struct error e;
    for (size_t i = s->tx_start; i < g->len; i++) {
        const struct undo *u = &g->records[i];
        if (u->kind == UNDO_ORDER && record_at(s, u->number)->v != NULL) {
            ASSERT(check_order(s, u->number, &e) == 0);
        } else if (u->kind == UNDO_TOUCH && event_at(s, u->number) != NULL) {
            const struct event *ev = &event_at(s, u->number)->pub;
            ASSERT(ev->counts[SEAT_FREE] + ev->counts[SEAT_HELD] + ev->counts[SEAT_BOOKED] +
                       ev->counts[SEAT_BLOCKED] ==
                   chart_seats(ev->chart));
        }
    }
}

void store_tx_end(struct store *s)
{
    ASSERT(s->tx_open && !s->rewound);
    if (STORE_PARANOID) {
        check_touched(s);
    }
    s->tx_open = false;
}

void store_tx_undo(struct store *s)
{
    ASSERT(s->tx_open && !s->rewound);
    undo_down_to(s, s->tx_start);
    buf_clear(&s->effects);
    s->tx_open = false;
}

/* ---- The committed view ----------------------------------------------------------------- */

void store_rewind(struct store *s)
{
    ASSERT(!s->rewound);
    s->time_now = s->time_ms;
    s->index_now = s->index;
    for (unsigned i = s->groups_len; i-- > 0;) {
        struct group *g = group_nth(s, i);
        for (size_t k = g->len; k-- > 0;) {
            undo_apply(s, &g->records[k], false, false);
        }
        s->time_ms = g->time_before;
        s->index = g->index_before;
    }
    s->rewound = true;
}

void store_replay(struct store *s)
{
    ASSERT(s->rewound);
    for (unsigned i = 0; i < s->groups_len; i++) {
        struct group *g = group_nth(s, i);
        for (size_t k = 0; k < g->len; k++) {
            undo_apply(s, &g->records[k], true, false);
        }
    }
    s->time_ms = s->time_now;
    s->index = s->index_now;
    s->rewound = false;
}
