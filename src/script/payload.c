/* The commit hook's payload (docs/lua.md 4), from the entry's transactions and the store's
 * undo records. Runs for every commit while somebody listens, so it only copies: nothing is
 * looked up but events' names and labels.
 *
 * How it fails: out of memory leaves out->failed; an entry that does not decode was refused
 * before it got here. */
#include <string.h>

#include "base/json.h"
#include "script/hook.h"

static void put_raw(struct buf *b, struct span json)
{
    buf_put(b, json.len > 0 ? json.data : "null", json.len > 0 ? json.len : 4);
}

/* Emits become a list, the last judged take gives the policy's version. */
static void put_effects(struct buf *b, struct span effects, uint32_t active, struct buf *scratch)
{
    struct reader r;
    struct effect f;
    struct error e;
    uint32_t policy = active;
    json_put_key(b, "emits");
    buf_put_u8(b, '[');
    reader_init(&r, effects.data, effects.len);
    while (reader_left(&r) > 0 && effect_decode(&r, &f, scratch, &e) == 0) {
        if ((f.kind == EFFECT_TAKE || f.kind == EFFECT_RESEAT) && f.version != 0) {
            policy = f.version;
        } else if (f.kind == EFFECT_EMIT) {
            json_put_comma(b);
            buf_put_u8(b, '{');
            json_field_string(b, "name", f.id);
            json_put_key(b, "data");
            put_raw(b, f.text);
            buf_put_u8(b, '}');
        }
    }
    buf_put_u8(b, ']');
    json_field_int(b, "policy", policy);
}

static void put_transaction(struct buf *b, const struct entry_tx *tx, uint32_t active,
                            struct buf *scratch)
{
    json_put_comma(b);
    buf_put_u8(b, '{');
    json_field_string(b, "command", tx->command);
    json_field_string(b, "user", tx->user);
    if (tx->request.len > 0) {
        json_field_string(b, "request", tx->request);
    }
    if (tx->code != 0) { /* a refusal that is remembered */
        json_field_string(b, "code", span_of(error_wire(tx->code)));
    }
    put_effects(b, tx->effects, active, scratch);
    buf_put_u8(b, '}');
}

static void put_transactions(struct buf *b, struct reader *r, const struct entry_head *head,
                             uint32_t active)
{
    struct buf scratch = BUF_INIT;
    struct entry_tx tx;
    struct error e;
    json_put_key(b, "transactions");
    buf_put_u8(b, '[');
    for (uint32_t i = 0; i < head->transactions && entry_next(r, &tx, &e) == 0; i++) {
        put_transaction(b, &tx, active, &scratch);
    }
    buf_put_u8(b, ']');
    buf_free(&scratch);
}

/* Why a seat changed, where the two states do not say it. */
static struct span reason_of(const struct change *c, const struct store *store)
{
    if (c->order == NULL) {
        return c->to == SEAT_BLOCKED ? store_seat_reason(store, c->event, c->number)
                                     : span_make("", 0);
    }
    if (!order_live(c->order)) {
        return span_of(order_status_name(c->order->status));
    }
    return c->to == SEAT_FREE ? span_of("moved") : span_make("", 0);
}

struct changes {
    struct buf *b;
    const struct store *store;
};

static void put_change(void *arg, const struct change *c)
{
    const struct changes *x = arg;
    struct buf *b = x->b;
    const struct chart *chart = c->event != NULL ? c->event->chart : NULL;
    bool area = (c->number & PLACE_AREA) != 0;
    uint32_t number = c->number & ~PLACE_AREA;
    if (chart == NULL || number >= (area ? chart_areas(chart) : chart_seats(chart))) {
        return; /* the event was removed, or has another chart by now */
    }
    json_put_comma(b);
    buf_put_u8(b, '{');
    json_field_string(b, "event", c->event->id);
    json_field_string(b, area ? "area" : "seat",
                      area ? chart_area(chart, number).name : chart_label(chart, number));
    json_field_int(b, "count", c->count);
    json_field_string(b, "from", span_of(seat_status_name(c->from)));
    json_field_string(b, "to", span_of(seat_status_name(c->to)));
    if (c->order != NULL) {
        json_field_string(b, "order", order_id(c->order));
        json_field_string(b, "customer", order_customer(c->order));
    }
    struct span reason = reason_of(c, x->store);
    if (reason.len > 0) {
        json_field_string(b, "reason", reason);
    }
    buf_put_u8(b, '}');
}

void hook_commit_json(struct store *store, uint64_t index, uint64_t term, struct span entry,
                      struct buf *out)
{
    struct reader r;
    struct entry_head head;
    struct policy_record policy;
    struct error e;
    if (entry_open(&r, entry.data, entry.len, &head, &e) != 0) {
        return;
    }
    uint32_t active = store_policy(store, 0, &policy) ? policy.version : 0;
    buf_put_u8(out, '{');
    json_field_int(out, "index", (int64_t)index);
    json_field_int(out, "term", (int64_t)term);
    json_field_int(out, "time", (int64_t)head.time_ms);
    put_transactions(out, &r, &head, active);
    json_put_key(out, "changes");
    buf_put_u8(out, '[');
    struct changes x = { out, store };
    store_changes(store, put_change, &x);
    buf_put_str(out, "]}");
}
